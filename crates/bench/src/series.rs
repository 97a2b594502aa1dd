//! What happened in each second: workers hand in their second once it is over, so they meet at this lock once a second.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::report::Second;
use crate::tally::{MAX_LATENCY_US, percentile_us};

/// Seconds kept open for late workers; beyond, a second's percentiles are final and only its counts still grow.
const OPEN_SECONDS: usize = 120;

/// One worker's, or all workers', second.
#[derive(Clone, Debug)]
pub(crate) struct SecondTally {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) latency_us: Histogram<u32>,
}

impl SecondTally {
    pub(crate) fn new() -> Self {
        // Two digits are enough for a chart and take 10 KiB.
        let latency_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 2).expect("the bounds are valid");
        Self { requests: 0, errors: 0, hits: 0, misses: 0, latency_us }
    }

    pub(crate) fn clear(&mut self) {
        (self.requests, self.errors, self.hits, self.misses) = (0, 0, 0, 0);
        self.latency_us.reset();
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.hits += other.hits;
        self.misses += other.misses;
        self.latency_us.add(&other.latency_us).expect("both have the same bounds");
    }

    fn summary(&self, second: usize) -> Second {
        let reads = self.hits + self.misses;
        Second {
            second: second as u64,
            requests: self.requests,
            rate_per_s: self.requests as f64,
            errors: self.errors,
            hits: self.hits,
            misses: self.misses,
            hit_ratio: (reads > 0).then(|| self.hits as f64 / reads as f64),
            p50_us: percentile_us(&self.latency_us, 50.0),
            p99_us: percentile_us(&self.latency_us, 99.0),
            max_us: percentile_us(&self.latency_us, 100.0),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Series {
    closed: Vec<Second>,
    open: VecDeque<SecondTally>,
}

impl Series {
    /// Adds one worker's second, counted from the start of measuring.
    pub(crate) fn add(&mut self, second: usize, tally: &SecondTally) {
        if let Some(closed) = self.closed.get_mut(second) {
            closed.requests += tally.requests;
            closed.rate_per_s += tally.requests as f64;
            closed.errors += tally.errors;
            closed.hits += tally.hits;
            closed.misses += tally.misses;
            let reads = closed.hits + closed.misses;
            closed.hit_ratio = (reads > 0).then(|| closed.hits as f64 / reads as f64);
            return;
        }
        while self.closed.len() + self.open.len() <= second {
            if self.open.len() == OPEN_SECONDS
                && let Some(oldest) = self.open.pop_front()
            {
                self.closed.push(oldest.summary(self.closed.len()));
            }
            self.open.push_back(SecondTally::new());
        }
        self.open[second - self.closed.len()].add(tally);
    }

    /// All seconds, of which the last may have been cut short: its rate is of its part, from `measured_s` in all.
    pub(crate) fn finish(mut self, measured_s: f64) -> Vec<Second> {
        while let Some(oldest) = self.open.pop_front() {
            self.closed.push(oldest.summary(self.closed.len()));
        }
        let last = self.closed.len().saturating_sub(1);
        // Answers that came after the measured time make a sliver of a second, which would only look like a collapse.
        if last >= 1 && measured_s - (last as f64) < 0.05 {
            self.closed.pop();
        } else if let Some(second) = self.closed.last_mut() {
            second.rate_per_s = second.requests as f64 / (measured_s - last as f64).clamp(0.05, 1.0);
        }
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(latency_us: u64, errors: u64) -> SecondTally {
        let mut tally = SecondTally::new();
        (tally.requests, tally.errors, tally.hits) = (1, errors, 1);
        tally.latency_us.saturating_record(latency_us);
        tally
    }

    #[test]
    fn workers_seconds_add_up_and_gaps_are_empty() {
        let mut series = Series::default();
        series.add(2, &tally(100, 0));
        series.add(0, &tally(10, 1));
        series.add(0, &tally(30, 0));
        let seconds = series.finish(2.5);
        assert_eq!(seconds.iter().map(|second| second.requests).collect::<Vec<_>>(), [2, 0, 1]);
        assert_eq!((seconds[0].errors, seconds[0].max_us, seconds[0].p50_us), (1, 30, 10));
        assert_eq!(seconds[1].hit_ratio, None);
        assert!((seconds[2].rate_per_s - 2.0).abs() < 1e-9, "half a second is measured at twice its count");
    }

    #[test]
    fn a_long_run_keeps_few_seconds_open_and_loses_no_count() {
        let mut series = Series::default();
        series.add(1000, &tally(100, 0));
        series.add(3, &tally(100, 0));
        assert_eq!(series.open.len(), OPEN_SECONDS);
        let seconds = series.finish(1001.0);
        assert_eq!((seconds.len(), seconds[3].requests, seconds[1000].requests), (1001, 1, 1));
    }
}
