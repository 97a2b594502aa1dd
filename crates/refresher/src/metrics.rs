//! The metrics of a refresher.

use std::collections::BTreeMap;

use annulus_service::metrics::{OperationMetrics, RequestMetrics, counters, gauge};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::upstream::OUTCOMES;

/// Upper bounds of the lag buckets, in seconds.
const LAG_BUCKETS: &[f64] =
    &[0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Upper bounds of the buckets of calls to upstreams, in seconds.
const CALL_BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How a refresh ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// A new revision is out.
    Published,
    /// The upstream had nothing new.
    Unchanged,
    /// The upstream or Redis did not do what it should.
    Failed,
    /// Redis refused it: another leads.
    Refused,
}

const REFRESH_OUTCOMES: [(Outcome, &str); 4] = [
    (Outcome::Published, "published"),
    (Outcome::Unchanged, "unchanged"),
    (Outcome::Failed, "failed"),
    (Outcome::Refused, "refused"),
];

/// What became of a cache entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Written {
    Stored,
    Deleted,
    Failed,
}

const WRITTEN: [(Written, &str); 3] =
    [(Written::Stored, "stored"), (Written::Deleted, "deleted"), (Written::Failed, "failed")];

/// Of the whole replica.
pub(crate) struct Metrics {
    pub(crate) list: OperationMetrics,
    pub(crate) dataset: OperationMetrics,
    pub(crate) item: OperationMetrics,
    pub(crate) events: OperationMetrics,
    pub(crate) leader: IntGauge,
    pub(crate) elected: IntCounter,
    pub(crate) deposed: IntCounter,
    pub(crate) redis_connected: IntGauge,
    pub(crate) streams: IntGauge,
}

/// Of one dataset.
pub(crate) struct DatasetMetrics {
    refreshes: BTreeMap<Outcome, IntCounter>,
    calls: BTreeMap<&'static str, IntCounter>,
    pub(crate) call_duration: Histogram,
    entries: BTreeMap<Written, IntCounter>,
    pub(crate) revision: IntGauge,
    pub(crate) age: IntGauge,
    pub(crate) fresh: IntGauge,
    pub(crate) items: IntGauge,
    pub(crate) bytes: IntGauge,
    pub(crate) lag: Histogram,
    pub(crate) sync_failures: IntCounter,
}

/// The metrics with a dataset as their label, from which those of each are made.
pub(crate) struct DatasetFamilies {
    refreshes: IntCounterVec,
    calls: IntCounterVec,
    call_duration: HistogramVec,
    entries: IntCounterVec,
    revision: IntGaugeVec,
    age: IntGaugeVec,
    fresh: IntGaugeVec,
    items: IntGaugeVec,
    bytes: IntGaugeVec,
    lag: HistogramVec,
    sync_failures: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = RequestMetrics::new(registry, &["list", "dataset", "item", "events"])?;
        let changes = counters(
            registry,
            "annulus_leadership_changes_total",
            "Terms that began or ended on this replica.",
            &["event"],
        )?;
        Ok(Self {
            list: requests.operation("list"),
            dataset: requests.operation("dataset"),
            item: requests.operation("item"),
            events: requests.operation("events"),
            leader: gauge(registry, "annulus_leader", "1 while this replica refreshes for all.")?,
            elected: changes.with_label_values(&["elected"]),
            deposed: changes.with_label_values(&["deposed"]),
            redis_connected: gauge(
                registry,
                "annulus_redis_connected",
                "1 where Redis answered when it was last asked, or where there is none.",
            )?,
            streams: gauge(registry, "annulus_event_streams", "Open streams of events.")?,
        })
    }
}

impl DatasetFamilies {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let by_outcome = |name, help| counters(registry, name, help, &["dataset", "outcome"]);
        let gauges = |name, help| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["dataset"])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let histograms = |name, help, buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let histograms = HistogramVec::new(options, &["dataset"])?;
            registry.register(Box::new(histograms.clone()))?;
            Ok::<_, prometheus::Error>(histograms)
        };
        Ok(Self {
            refreshes: by_outcome(
                "annulus_refresh_total",
                "Refreshes by this replica, by what came of them.",
            )?,
            calls: by_outcome("annulus_upstream_calls_total", "Calls to the upstream, by how they ended.")?,
            call_duration: histograms(
                "annulus_upstream_call_duration_seconds",
                "Time from a call to the upstream to the end of its answer.",
                CALL_BUCKETS,
            )?,
            entries: by_outcome(
                "annulus_dataset_entries_total",
                "Cache entries written by this replica, by what came of them.",
            )?,
            revision: gauges("annulus_refresh_revision", "The revision in this replica's memory.")?,
            age: gauges(
                "annulus_refresh_age_seconds",
                "Time since a leader last found the data in this replica's memory up to date.",
            )?,
            fresh: gauges(
                "annulus_dataset_fresh",
                "1 while a leader has found the data up to date recently enough, as data_fresh in /health.",
            )?,
            items: gauges("annulus_dataset_items", "Items in memory.")?,
            bytes: gauges("annulus_dataset_bytes", "Bytes in memory.")?,
            lag: histograms(
                "annulus_sync_lag_seconds",
                "Time from a publication until it is in this replica's memory.",
                LAG_BUCKETS,
            )?,
            sync_failures: counters(
                registry,
                "annulus_sync_failures_total",
                "Times that this replica could not bring a dataset up to date.",
                &["dataset"],
            )?,
        })
    }

    pub(crate) fn of(&self, dataset: &str) -> DatasetMetrics {
        let outcome = |counters: &IntCounterVec, outcome| counters.with_label_values(&[dataset, outcome]);
        DatasetMetrics {
            refreshes: REFRESH_OUTCOMES.map(|(key, label)| (key, outcome(&self.refreshes, label))).into(),
            calls: OUTCOMES.map(|label| (label, outcome(&self.calls, label))).into(),
            call_duration: self.call_duration.with_label_values(&[dataset]),
            entries: WRITTEN.map(|(key, label)| (key, outcome(&self.entries, label))).into(),
            revision: self.revision.with_label_values(&[dataset]),
            age: self.age.with_label_values(&[dataset]),
            fresh: self.fresh.with_label_values(&[dataset]),
            items: self.items.with_label_values(&[dataset]),
            bytes: self.bytes.with_label_values(&[dataset]),
            lag: self.lag.with_label_values(&[dataset]),
            sync_failures: self.sync_failures.with_label_values(&[dataset]),
        }
    }
}

impl DatasetMetrics {
    pub(crate) fn refreshed(&self, outcome: Outcome) {
        self.refreshes[&outcome].inc();
    }

    pub(crate) fn called(&self, outcome: &'static str) {
        if let Some(calls) = self.calls.get(outcome) {
            calls.inc();
        }
    }

    pub(crate) fn written(&self, what: Written, count: usize) {
        self.entries[&what].inc_by(count as u64);
    }
}
