//! The metrics of the hop, by auxiliary.

use annulus_service::metrics::{LATENCY_BUCKETS, counters};
use annulus_service::net::Clock;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, Registry};

use super::HopError;

/// How a call ended, as label values; the last one for calls that were given up because others had answered.
const OUTCOMES: [&str; 7] = ["ok", "connect", "timeout", "broken", "busy", "unexpected", "abandoned"];
const ABANDONED: usize = OUTCOMES.len() - 1;

/// One auxiliary's handles.
pub(super) struct PeerMetrics {
    outcomes: [IntCounter; OUTCOMES.len()],
    duration: Histogram,
}

impl PeerMetrics {
    /// Registers the metrics with handles for each of `nodes`.
    pub(super) fn for_nodes<'a>(
        registry: &Registry,
        nodes: impl Iterator<Item = &'a str>,
    ) -> prometheus::Result<Vec<Self>> {
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
        let handles = |node: &str| Self {
            outcomes: OUTCOMES.map(|outcome| total.with_label_values(&[node, outcome])),
            duration: duration.with_label_values(&[node]),
        };
        Ok(nodes.map(handles).collect())
    }

    /// Starts the watch on one call; dropped before [`Watch::end`], the call counts as abandoned.
    pub(super) fn watch<'a>(&'a self, clock: &'a dyn Clock) -> Watch<'a> {
        Watch { metrics: self, clock, started_us: clock.now_us(), outcome: ABANDONED }
    }
}

/// One call under way.
pub(super) struct Watch<'a> {
    metrics: &'a PeerMetrics,
    clock: &'a dyn Clock,
    started_us: u64,
    outcome: usize,
}

impl Watch<'_> {
    /// Counts the call by its result.
    pub(super) fn end<T>(mut self, result: &Result<T, HopError>) {
        self.outcome = match result {
            Ok(_) => 0,
            Err(HopError::Connect(_)) => 1,
            Err(HopError::TimedOut) => 2,
            Err(HopError::Broken(_)) => 3,
            Err(HopError::Busy) => 4,
            Err(HopError::Unexpected(_)) => 5,
        };
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
