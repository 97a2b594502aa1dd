//! The metrics of the hop, by auxiliary.

use annulus_service::metrics::{LATENCY_BUCKETS, counters};
use annulus_service::net::Clock;
use annulus_service::pool::PoolError;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::HopError;

/// How a call ended, as label values; the last one for calls that were given up because others had answered.
const OUTCOMES: [&str; 8] =
    ["ok", "connect", "timeout", "broken", "busy", "unexpected", "outdated", "abandoned"];
const ABANDONED: usize = OUTCOMES.len() - 1;

/// The metrics of all auxiliaries.
#[derive(Clone)]
pub(super) struct PeerMetrics {
    total: IntCounterVec,
    duration: HistogramVec,
}

/// One auxiliary's handles.
pub(super) struct OnePeer {
    outcomes: [IntCounter; OUTCOMES.len()],
    duration: Histogram,
}

impl PeerMetrics {
    /// Registers the metrics.
    pub(super) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let total = counters(
            registry,
            "annulus_upstream_requests_total",
            "Calls to an auxiliary, by node and by how they ended.",
            &["node", "outcome"],
        )?;
        let opts = HistogramOpts::new(
            "annulus_upstream_request_duration_seconds",
            "Time from a call to an auxiliary to its answer, by node.",
        );
        let duration = HistogramVec::new(opts.buckets(LATENCY_BUCKETS.to_vec()), &["node"])?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self { total, duration })
    }

    /// The handles of one auxiliary.
    pub(super) fn peer(&self, node: &str) -> OnePeer {
        OnePeer {
            outcomes: OUTCOMES.map(|outcome| self.total.with_label_values(&[node, outcome])),
            duration: self.duration.with_label_values(&[node]),
        }
    }
}

impl OnePeer {
    /// Counts calls that were made and answered together, as one duration.
    pub(super) fn answered(&self, calls: u64, micros: u64) {
        if calls > 0 {
            self.outcomes[0].inc_by(calls);
            self.duration.observe(micros as f64 / 1e6);
        }
    }

    /// Counts a call that failed, or that was given up.
    pub(super) fn failed(&self, error: Option<&HopError>) {
        self.outcomes[error.map_or(ABANDONED, outcome)].inc();
    }

    /// Starts the watch on one call; dropped before [`Watch::end`], the call counts as abandoned.
    pub(super) fn watch<'a>(&'a self, clock: &'a dyn Clock) -> Watch<'a> {
        Watch { metrics: self, clock, started_us: clock.now_us(), outcome: ABANDONED }
    }
}

/// One call under way.
pub(super) struct Watch<'a> {
    metrics: &'a OnePeer,
    clock: &'a dyn Clock,
    started_us: u64,
    outcome: usize,
}

impl Watch<'_> {
    /// Counts the call by its result.
    pub(super) fn end<T>(mut self, result: &Result<T, HopError>) {
        self.outcome = result.as_ref().err().map_or(0, outcome);
    }
}

/// How a call that failed ended, as a place among the outcomes.
fn outcome(error: &HopError) -> usize {
    match error {
        HopError::Pool(PoolError::Connect(_)) => 1,
        HopError::Pool(PoolError::TimedOut) => 2,
        HopError::Pool(PoolError::Broken(_)) => 3,
        HopError::Busy => 4,
        HopError::Unexpected(_) => 5,
        HopError::Outdated(_) | HopError::AnotherLife => 6,
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.metrics.outcomes[self.outcome].inc();
        if self.outcome == 0 {
            let micros = self.clock.now_us() - self.started_us;
            self.metrics.duration.observe(micros as f64 / 1e6);
        }
    }
}
