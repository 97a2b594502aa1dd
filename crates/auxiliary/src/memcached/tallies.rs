//! What is counted for each request: by each worker for itself, and added up when somebody looks.

use annulus_protocol::memcached::stats::Counts;
use annulus_service::metrics::{LocalOperationMetrics, OperationMetrics, Outcome};
use annulus_store::{Lookup, MissReason};
use parking_lot::Mutex;

use crate::copies;
use crate::metrics::Metrics;

/// The operations of the node's metrics that memcached's commands count as.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Get,
    Put,
    Delete,
}

/// Operations there are.
const OPERATIONS: usize = 3;

/// What came of the requests of one turn.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) counts: Counts,
    pub(super) stored: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    outcomes: [[u32; Outcome::ALL.len()]; OPERATIONS],
    hits: u64,
    misses: [u64; MISSES],
}

/// Reasons of misses there are.
const MISSES: usize = annulus_protocol::hop::MissReason::ALL.len();

/// Counters since the node started, or since they were last set to zero.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Totals {
    pub(super) counts: Counts,
    pub(super) stored: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    pub(super) evicted: u64,
    pub(super) expired: u64,
    pub(super) connections: u64,
    pub(super) refused: u64,
}

impl Totals {
    /// What was counted since these were the totals.
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            counts: self.counts.since(&before.counts),
            stored: self.stored - before.stored,
            bytes_read: self.bytes_read - before.bytes_read,
            bytes_written: self.bytes_written - before.bytes_written,
            evicted: self.evicted - before.evicted,
            expired: self.expired - before.expired,
            connections: self.connections - before.connections,
            refused: self.refused - before.refused,
        }
    }
}

/// One worker's counters, on cache lines of their own.
#[repr(align(128))]
struct Slot(Mutex<Counted>);

struct Counted {
    totals: Totals,
    operations: [LocalOperationMetrics; OPERATIONS],
    hits: u64,
    misses: [u64; MISSES],
}

pub(super) struct Tallies(Box<[Slot]>);

impl Tally {
    pub(super) fn count(&mut self, operation: Operation, outcome: Outcome) {
        self.outcomes[operation as usize][outcome as usize] += 1;
    }

    pub(super) fn hit(&mut self) {
        self.hits += 1;
    }

    pub(super) fn look(&mut self, found: &Lookup) {
        match found {
            Lookup::Hit(_) => self.hit(),
            Lookup::Miss(miss) => self.miss(miss.reason),
        }
    }

    pub(super) fn miss(&mut self, reason: MissReason) {
        self.misses[copies::miss_reason(reason) as usize] += 1;
    }
}

impl Tallies {
    pub(super) fn new(workers: usize, metrics: &Metrics) -> Self {
        let slot = |_| {
            let operations = [&metrics.get, &metrics.put, &metrics.delete].map(OperationMetrics::local);
            Slot(Mutex::new(Counted { totals: Totals::default(), operations, hits: 0, misses: [0; MISSES] }))
        };
        Self((0..workers.max(1)).map(slot).collect())
    }

    /// Adds a turn of a worker, which took so long.
    pub(super) fn add(&self, worker: usize, tally: &Tally, micros: u64) {
        let mut slot = self.0[worker % self.0.len()].0.lock();
        slot.totals.counts += tally.counts;
        slot.totals.stored += tally.stored;
        slot.totals.bytes_read += tally.bytes_read;
        slot.totals.bytes_written += tally.bytes_written;
        slot.hits += tally.hits;
        slot.misses.iter_mut().zip(tally.misses).for_each(|(sum, more)| *sum += more);
        for (operation, outcomes) in slot.operations.iter_mut().zip(tally.outcomes) {
            for (outcome, requests) in Outcome::ALL.into_iter().zip(outcomes) {
                if requests > 0 {
                    operation.observe(outcome, requests.into(), micros);
                }
            }
        }
    }

    /// All workers' counters together.
    pub(super) fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for slot in &self.0 {
            let totals = slot.0.lock().totals;
            sum.counts += totals.counts;
            sum.stored += totals.stored;
            sum.bytes_read += totals.bytes_read;
            sum.bytes_written += totals.bytes_written;
        }
        sum
    }

    /// Hands what was counted over to the node's metrics.
    pub(super) fn flush(&self, metrics: &Metrics) {
        for slot in &self.0 {
            let mut slot = slot.0.lock();
            slot.operations.iter_mut().for_each(LocalOperationMetrics::flush);
            let (hits, misses) = (std::mem::take(&mut slot.hits), std::mem::take(&mut slot.misses));
            metrics.add_lookups(hits, misses);
        }
    }
}
