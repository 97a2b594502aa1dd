//! One worker's counters. Nobody else touches them while it runs, but for the progress bar's glance.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use parking_lot::Mutex;

use crate::clock::Instant;
use crate::protocol::{ErrorKind, Failure, Operation};
use crate::series::{SecondTally, Series};

/// Longer latencies count as this one: 60 seconds.
pub(crate) const MAX_LATENCY_US: u64 = 60_000_000;
/// Distinct messages of failures kept for the report.
pub(crate) const KEPT_MESSAGES: usize = 3;

/// The value at a percentile (0 to 100), 0 where nothing was recorded.
pub(crate) fn percentile_us<C: Counter>(histogram: &Histogram<C>, percentile: f64) -> u64 {
    if histogram.is_empty() {
        0
    } else {
        histogram.value_at_quantile(percentile / 100.0).min(histogram.max())
    }
}

pub(crate) fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are valid")
}

/// What one request came to.
#[derive(Debug, Default)]
pub(crate) struct Sample {
    /// Keys that a read found.
    pub(crate) hits: u64,
    /// Keys that a read, answered to its end, found nothing under.
    pub(crate) misses: u64,
    /// Misses where a value should have been.
    pub(crate) lost: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) failure: Option<Failure>,
}

/// One kind of operation.
#[derive(Debug)]
pub(crate) struct OperationTally {
    pub(crate) requests: u64,
    /// Of answered requests and those that timed out: what broke at once would only flatter.
    pub(crate) latency_us: Histogram<u64>,
}

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) operations: [OperationTally; 3],
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) lost: u64,
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
    pub(crate) errors: Vec<(ErrorKind, u64)>,
    pub(crate) messages: Vec<String>,
    pub(crate) reconnects: u64,
    pub(crate) last_end: Option<Instant>,
    second: usize,
    current: SecondTally,
    series: Arc<Mutex<Series>>,
}

impl Tally {
    pub(crate) fn new(series: Arc<Mutex<Series>>) -> Self {
        let operation = |_| OperationTally { requests: 0, latency_us: latency_histogram() };
        Self {
            operations: [0, 1, 2].map(operation),
            hits: 0,
            misses: 0,
            lost: 0,
            read_bytes: 0,
            written_bytes: 0,
            errors: Vec::new(),
            messages: Vec::new(),
            reconnects: 0,
            last_end: None,
            second: 0,
            current: SecondTally::new(),
            series,
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.operations.iter().map(|operation| operation.requests).sum()
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    /// Counts a request that was meant to start at `start` and ended at `end`, in a run measured since `since`.
    pub(crate) fn record(
        &mut self,
        operation: Operation,
        sample: &Sample,
        start: Instant,
        end: Instant,
        since: Instant,
    ) {
        let second = end.saturating_duration_since(since).as_secs() as usize;
        if second != self.second {
            self.hand_in();
            self.second = second;
        }
        let tally = &mut self.operations[operation as usize];
        tally.requests += 1;
        self.current.requests += 1;
        if sample.failure.as_ref().is_none_or(|failure| failure.kind.has_latency()) {
            let latency_us = micros(end.saturating_duration_since(start));
            tally.latency_us.saturating_record(latency_us);
            self.current.latency_us.saturating_record(latency_us);
        }
        self.hits += sample.hits;
        self.misses += sample.misses;
        self.current.hits += sample.hits;
        self.current.misses += sample.misses;
        self.lost += sample.lost;
        self.read_bytes += sample.read_bytes;
        self.written_bytes += sample.written_bytes;
        self.last_end = Some(end);
        if let Some(failure) = &sample.failure {
            self.current.errors += 1;
            self.count_error(failure);
        }
    }

    fn count_error(&mut self, failure: &Failure) {
        match self.errors.iter_mut().find(|(kind, _)| *kind == failure.kind) {
            Some((_, count)) => *count += 1,
            None => self.errors.push((failure.kind, 1)),
        }
        if self.messages.len() < KEPT_MESSAGES {
            let message = format!("{}: {}", failure.kind, failure.detail);
            if !failure.detail.is_empty() && !self.messages.contains(&message) {
                self.messages.push(message);
            }
        }
    }

    /// Gives the second under way to the series; at the end of the run too.
    pub(crate) fn hand_in(&mut self) {
        if self.current.requests > 0 {
            self.series.lock().add(self.second, &self.current);
            self.current.clear();
        }
    }
}

fn micros(duration: Duration) -> u64 {
    (duration.as_micros() as u64).clamp(1, MAX_LATENCY_US)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::protocol::Effect;

    #[test]
    fn latencies_of_refused_connections_do_not_count_and_time_outs_do() {
        let series = Arc::new(Mutex::new(Series::default()));
        let mut tally = Tally::new(series.clone());
        let start = clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let failed = |kind| {
            let failure = Failure { kind, detail: "no".to_owned(), effect: Effect::None };
            Sample { failure: Some(failure), ..Sample::default() }
        };
        tally.record(Operation::Get, &Sample { hits: 1, ..Sample::default() }, at(0), at(10), start);
        tally.record(Operation::Get, &failed(ErrorKind::Connect), at(0), at(20), start);
        tally.record(Operation::Get, &failed(ErrorKind::Timeout), at(0), at(1500), start);
        tally.hand_in();
        assert_eq!((tally.requests(), tally.errors(), tally.hits), (3, 2, 1));
        let latency = &tally.operations[Operation::Get as usize].latency_us;
        assert_eq!((latency.len(), latency.max() / 100_000), (2, 15));
        assert_eq!(tally.messages, ["connect: no", "timeout: no"]);
        drop(tally);
        let seconds = Arc::into_inner(series).unwrap().into_inner().finish(2.0);
        assert_eq!(seconds.iter().map(|second| second.errors).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn latency_saturates_at_a_minute() {
        assert_eq!((micros(Duration::from_secs(3600)), micros(Duration::ZERO)), (MAX_LATENCY_US, 1));
    }
}
