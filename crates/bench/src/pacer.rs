//! Releases the open loop's requests when they are due.
//!
//! The runtime's timers tick in milliseconds, which would show in every latency; a thread that sleeps is exact to some
//! tens of microseconds. How late it was is measured and reported, because that part of the latency is ours.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::Semaphore;

use crate::clock::{self, Instant};
use crate::schedule::Schedule;
use crate::tally::latency_histogram;

/// What Linux adds to a sleep by default.
const TIMER_SLACK: Duration = Duration::from_micros(50);
/// How soon a sleeping pacer notices that the run was stopped.
const STOP_CHECK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Pacer {
    schedule: Schedule,
    start: Instant,
    /// How many requests the schedule has.
    total: u64,
    released: Semaphore,
    /// The next request to take.
    next: AtomicU64,
    /// Taken, but too late to be sent.
    abandoned: AtomicU64,
    /// Requests there will ever be: known once the pacer has ended.
    end: AtomicU64,
}

impl Pacer {
    /// Paces `total` requests from `start` on.
    pub(crate) fn new(schedule: Schedule, start: Instant, total: u64) -> Self {
        let (next, abandoned, end) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Self { schedule, start, total, released: Semaphore::new(0), next, abandoned, end }
    }

    /// Waits for a request to be due and takes it: its intended start, or `None` once there are no more.
    pub(crate) async fn take(&self) -> Option<Instant> {
        self.released.acquire().await.ok()?.forget();
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        (index < self.end.load(Ordering::Acquire)).then(|| self.start + self.schedule.intended(index))
    }

    /// Takes a request that is due already.
    pub(crate) fn try_take(&self) -> Option<Instant> {
        self.released.try_acquire().ok()?.forget();
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let intended =
            (index < self.end.load(Ordering::Acquire)).then(|| self.start + self.schedule.intended(index));
        if intended.is_none() {
            // It was released for somebody to notice the end.
            self.released.add_permits(1);
        }
        intended
    }

    /// A request was taken, but will not be sent.
    pub(crate) fn abandon(&self) {
        self.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests meant to start between `from` and the pacer's end that were not sent.
    pub(crate) fn unsent(&self, from: Duration) -> u64 {
        let first_counted = self.schedule.before(from);
        let untaken = self
            .end
            .load(Ordering::Acquire)
            .saturating_sub(self.next.load(Ordering::Relaxed).max(first_counted));
        untaken + self.abandoned.load(Ordering::Relaxed)
    }

    /// Releases all requests in time, then lets `workers` waiting takers go. Blocks its thread. Returns how late the
    /// releases were, in microseconds.
    pub(crate) fn run(&self, workers: usize, stop: &AtomicBool) -> Histogram<u64> {
        let mut late_us = latency_histogram();
        let mut released = 0;
        while released < self.total && !stop.load(Ordering::Relaxed) {
            let elapsed = clock::now().saturating_duration_since(self.start);
            let due = self.schedule.due(elapsed).min(self.total);
            if due > released {
                let late = elapsed.saturating_sub(self.schedule.intended(released));
                late_us.saturating_record(late.as_micros() as u64);
                self.released.add_permits((due - released) as usize);
                released = due;
            }
            let wait =
                (self.start + self.schedule.intended(released)).saturating_duration_since(clock::now());
            let nap = wait.saturating_sub(TIMER_SLACK).max(Duration::from_micros(1));
            std::thread::sleep(nap.min(STOP_CHECK));
        }
        self.end.store(released, Ordering::Release);
        self.released.add_permits(workers);
        late_us
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn requests_are_released_when_due_and_then_takers_go() {
        let start = clock::now();
        let pacer = Arc::new(Pacer::new(Schedule::new(1000.0), start, 50));
        let run = tokio::task::spawn_blocking({
            let pacer = pacer.clone();
            move || pacer.run(1, &AtomicBool::new(false))
        });
        let mut taken = 0;
        while let Some(intended) = pacer.take().await {
            let more = std::iter::from_fn(|| pacer.try_take());
            for intended in std::iter::once(intended).chain(more) {
                assert!(clock::now() >= intended, "request {taken} came early");
                assert_eq!(intended, start + Duration::from_millis(taken));
                taken += 1;
            }
        }
        assert_eq!((taken, pacer.unsent(Duration::ZERO)), (50, 0));
        assert_ne!(run.await.unwrap().len(), 0);
    }

    #[test]
    fn what_nobody_takes_is_counted_but_for_the_warm_up() {
        let pacer = Pacer::new(Schedule::new(10_000.0), clock::now(), 100);
        pacer.run(1, &AtomicBool::new(false));
        assert_eq!(pacer.unsent(Duration::ZERO), 100);
        assert_eq!(pacer.unsent(Duration::from_millis(5)), 50);
    }
}
