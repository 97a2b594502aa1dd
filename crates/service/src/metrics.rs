//! Request metrics: labelled handles resolved once, so that counting a request costs two atomic additions.

use std::collections::HashMap;

use annulus_protocol::ErrorCode;
use prometheus::local::LocalHistogram;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry};

/// Upper bounds of the latency buckets, in seconds: 50 µs to 2 s, the longest deadline.
pub const LATENCY_BUCKETS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0];

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Done; a read found the entry.
    Ok,
    /// A read or delete found nothing.
    Miss,
    /// The request was wrong, or its condition did not hold (4xx).
    Rejected,
    /// Too few owners answered, or a limit was reached (503).
    Unavailable,
    /// The deadline passed (504).
    Timeout,
    /// A bug (500).
    Error,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::Ok, Self::Miss, Self::Rejected, Self::Unavailable, Self::Timeout, Self::Error];

    /// The outcome as a label value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Miss => "miss",
            Self::Rejected => "rejected",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Error => "error",
        }
    }
}

impl From<ErrorCode> for Outcome {
    fn from(code: ErrorCode) -> Self {
        match (code, code.status()) {
            (ErrorCode::NotFound, _) => Self::Miss,
            (_, 503) => Self::Unavailable,
            (_, 504) => Self::Timeout,
            (_, 500) => Self::Error,
            _ => Self::Rejected,
        }
    }
}

/// The metrics of one operation.
#[derive(Debug, Clone)]
pub struct OperationMetrics {
    duration: Histogram,
    outcomes: [IntCounter; Outcome::ALL.len()],
}

impl OperationMetrics {
    /// Counts one request that took `micros` microseconds.
    pub fn observe(&self, outcome: Outcome, micros: u64) {
        self.duration.observe(micros as f64 / 1e6);
        self.outcomes[outcome as usize].inc();
    }
}

impl OperationMetrics {
    /// How many requests there were.
    pub fn count(&self) -> u64 {
        self.outcomes.iter().map(IntCounter::get).sum()
    }
}

/// The metrics of one operation as one thread counts them: in memory of its own, handed over when somebody looks.
#[derive(Debug)]
pub struct LocalOperationMetrics {
    shared: OperationMetrics,
    duration: LocalHistogram,
    outcomes: [u64; Outcome::ALL.len()],
}

impl OperationMetrics {
    /// The same for one thread.
    pub fn local(&self) -> LocalOperationMetrics {
        let duration = self.duration.local();
        LocalOperationMetrics { shared: self.clone(), duration, outcomes: [0; Outcome::ALL.len()] }
    }
}

impl LocalOperationMetrics {
    /// Counts some requests that ended in the same way and took `micros` microseconds each.
    pub fn observe(&mut self, outcome: Outcome, requests: u64, micros: u64) {
        for _ in 0..requests {
            self.duration.observe(micros as f64 / 1e6);
        }
        self.outcomes[outcome as usize] += requests;
    }

    /// Hands over what was counted.
    pub fn flush(&mut self) {
        self.duration.flush();
        for (shared, count) in self.shared.outcomes.iter().zip(&mut self.outcomes) {
            shared.inc_by(std::mem::take(count));
        }
    }
}

/// `annulus_requests_total` and `annulus_request_duration_seconds` of one node.
#[derive(Debug, Clone)]
pub struct RequestMetrics {
    operations: HashMap<&'static str, OperationMetrics>,
}

impl RequestMetrics {
    /// Registers both metrics with one handle for each of `operations`.
    ///
    /// # Errors
    /// Where the registry has them already.
    pub fn new(registry: &Registry, operations: &[&'static str]) -> prometheus::Result<Self> {
        let total = IntCounterVec::new(
            Opts::new("annulus_requests_total", "Requests answered, by operation and outcome."),
            &["op", "outcome"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "annulus_request_duration_seconds",
                "Time from a request's header read to its answer ready, by operation.",
            )
            .buckets(LATENCY_BUCKETS.to_vec()),
            &["op"],
        )?;
        registry.register(Box::new(total.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        let handles = |op: &&'static str| {
            let outcomes = Outcome::ALL.map(|outcome| total.with_label_values(&[*op, outcome.as_str()]));
            (*op, OperationMetrics { duration: duration.with_label_values(&[*op]), outcomes })
        };
        Ok(Self { operations: operations.iter().map(handles).collect() })
    }

    /// The handles of one operation.
    ///
    /// # Panics
    /// Where `op` was not among the operations given to [`Self::new`]: resolve handles at construction.
    pub fn operation(&self, op: &str) -> OperationMetrics {
        self.operations[op].clone()
    }
}

/// Makes and registers a counter.
///
/// # Errors
/// Where the registry has it already.
pub fn counter(registry: &Registry, name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

/// Makes and registers a gauge.
///
/// # Errors
/// Where the registry has it already.
pub fn gauge(registry: &Registry, name: &str, help: &str) -> prometheus::Result<prometheus::IntGauge> {
    let gauge = prometheus::IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// Registers `annulus_node_info`, which is always 1: who the node is, for those who know it by its address only.
///
/// # Errors
/// Where the registry has it already.
pub fn node_info(registry: &Registry, role: &str, name: &str, zone: Option<&str>) -> prometheus::Result<()> {
    let help = "Always 1; the labels are the node's name, role, failure zone (empty: none) and version.";
    let info = prometheus::IntGaugeVec::new(
        Opts::new("annulus_node_info", help),
        &["name", "role", "zone", "version"],
    )?;
    let labels = [name, role, zone.unwrap_or_default(), env!("CARGO_PKG_VERSION")];
    info.with_label_values(&labels).set(1);
    registry.register(Box::new(info))
}

/// Makes and registers a counter with labels.
///
/// # Errors
/// Where the registry has it already.
pub fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> prometheus::Result<IntCounterVec> {
    let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

/// `annulus_discovery_peers` and `annulus_discovery_events_total` of one node; all 0 where it learns otherwise who is there.
#[derive(Debug)]
pub struct DiscoveryMetrics {
    peers: prometheus::IntGauge,
    events: [IntCounter; 4],
    exported: parking_lot::Mutex<()>,
}

impl DiscoveryMetrics {
    /// Registers both, with one handle for each kind of event.
    ///
    /// # Errors
    /// Where the registry has them already.
    pub fn new(registry: &Registry, kinds: [&str; 4]) -> prometheus::Result<Self> {
        let help = "Members of which Kubernetes says where they are; 0 where it is not asked.";
        let peers = gauge(registry, "annulus_discovery_peers", help)?;
        let help = "What Kubernetes has told of pods and the StatefulSet, by kind.";
        let events = counters(registry, "annulus_discovery_events_total", help, &["kind"])?;
        let events = kinds.map(|kind| events.with_label_values(&[kind]));
        Ok(Self { peers, events, exported: parking_lot::Mutex::new(()) })
    }

    /// Brings both up to date. `events` are all there were, in the order of the kinds.
    pub fn set(&self, peers: u64, events: [u64; 4]) {
        // Two scrapes at once must not count twice.
        let _one_at_a_time = self.exported.lock();
        self.peers.set(peers as i64);
        for (counter, count) in self.events.iter().zip(events) {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}
