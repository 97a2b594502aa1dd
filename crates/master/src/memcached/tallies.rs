//! What `stats` counts: each worker for itself, added up when somebody looks.

use std::sync::atomic::{AtomicU64, Ordering};

use annulus_protocol::memcached::stats::{Counts, Prefixes};
use parking_lot::Mutex;

/// Counters of one master.
pub(crate) struct Tallies {
    workers: Box<[Slot]>,
    /// What the counters were when they were last reset.
    zero: Mutex<Counts>,
    connected: AtomicU64,
    accepted: AtomicU64,
    /// For `stats detail`.
    pub(super) prefixes: Prefixes,
}

/// One worker's counters, on cache lines of their own.
#[derive(Default)]
#[repr(align(128))]
struct Slot(Mutex<Counts>);

impl Tallies {
    /// For so many workers.
    pub(crate) fn new(workers: usize) -> Self {
        let workers = (0..workers.max(1)).map(|_| Slot::default()).collect();
        let (connected, accepted) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { workers, zero: Mutex::default(), connected, accepted, prefixes: Prefixes::default() }
    }

    /// Adds what a worker has counted.
    pub(super) fn add(&self, worker: usize, counts: Counts) {
        if let Some(slot) = self.workers.get(worker % self.workers.len()) {
            *slot.0.lock() += counts;
        }
    }

    /// All that was counted since the last reset.
    pub(super) fn counts(&self) -> Counts {
        self.sum().since(&self.zero.lock())
    }

    /// Starts again from zero.
    pub(super) fn reset(&self) {
        *self.zero.lock() = self.sum();
        self.prefixes.reset();
    }

    fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.workers.iter().for_each(|slot| sum += *slot.0.lock());
        sum
    }

    /// A client that is here until the guard is dropped.
    pub(super) fn connect(&self) -> Connected<'_> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connected.fetch_add(1, Ordering::Relaxed);
        Connected(self)
    }

    /// Clients that are here, and those that ever were.
    pub(super) fn connections(&self) -> (u64, u64) {
        (self.connected.load(Ordering::Relaxed), self.accepted.load(Ordering::Relaxed))
    }
}

/// A client's connection.
pub(super) struct Connected<'t>(&'t Tallies);

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_workers_are_added_up_from_the_last_reset_on() {
        let tallies = Tallies::new(2);
        let one = Counts { cmd_get: 1, ..Counts::default() };
        tallies.add(0, one);
        tallies.add(1, one);
        assert_eq!(tallies.counts().cmd_get, 2);
        tallies.reset();
        tallies.add(1, one);
        assert_eq!(tallies.counts().cmd_get, 1);
    }

    #[test]
    fn a_client_counts_while_it_is_here() {
        let tallies = Tallies::new(1);
        let here = tallies.connect();
        assert_eq!(tallies.connections(), (1, 1));
        drop(here);
        assert_eq!(tallies.connections(), (0, 1));
    }
}
