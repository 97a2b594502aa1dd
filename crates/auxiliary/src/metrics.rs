//! The metrics of an auxiliary.

use annulus_cluster::discovery::DiscoveryCounts;
use annulus_protocol::hop::MissReason;
use annulus_service::metrics::{
    DiscoveryMetrics, OperationMetrics, RequestMetrics, counter, counters, gauge,
};
use annulus_store::{Lookup, Stats};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Registry};

use crate::copies;
use crate::settle::Progress;

pub(crate) struct Metrics {
    pub(crate) get: OperationMetrics,
    pub(crate) put: OperationMetrics,
    pub(crate) delete: OperationMetrics,
    pub(crate) promise: OperationMetrics,
    hits: IntCounter,
    misses: [IntCounter; MissReason::ALL.len()],
    items: IntGauge,
    tombstones: IntGauge,
    bytes: IntGauge,
    max_bytes: IntGauge,
    evicted_for_bytes: IntCounter,
    evicted_for_items: IntCounter,
    expired: IntCounter,
    refused: IntCounter,
    exported: Mutex<Stats>,
    under_replicated: IntGauge,
    settle_sent: IntCounter,
    settle_sent_bytes: IntCounter,
    settle_epoch: IntGauge,
    pub(crate) discovery: DiscoveryMetrics,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = RequestMetrics::new(registry, &["get", "put", "delete", "promise"])?;
        let misses = counters(
            registry,
            "annulus_cache_misses_total",
            "Reads that found no value on this node, by reason; the reason is a good guess where the key was forgotten.",
            &["reason"],
        )?;
        let evictions = counters(
            registry,
            "annulus_cache_evictions_total",
            "Entries that made room for others, by the bound that was reached.",
            &["reason"],
        )?;
        Ok(Self {
            get: requests.operation("get"),
            put: requests.operation("put"),
            delete: requests.operation("delete"),
            promise: requests.operation("promise"),
            discovery: DiscoveryMetrics::new(registry, DiscoveryCounts::KINDS)?,
            hits: counter(registry, "annulus_cache_hits_total", "Reads that found a value on this node.")?,
            misses: MissReason::ALL.map(|reason| misses.with_label_values(&[reason.as_str()])),
            items: gauge(registry, "annulus_cache_items", "Entries held, tombstones left out.")?,
            tombstones: gauge(registry, "annulus_cache_tombstones", "Marks of deleted keys held.")?,
            bytes: gauge(registry, "annulus_cache_bytes", "Bytes in use for entries, overhead included.")?,
            max_bytes: gauge(registry, "annulus_cache_max_bytes", "The bound of annulus_cache_bytes.")?,
            evicted_for_bytes: evictions.with_label_values(&["bytes"]),
            evicted_for_items: evictions.with_label_values(&["items"]),
            expired: counter(
                registry,
                "annulus_cache_expired_total",
                "Entries that left memory because their time had come.",
            )?,
            refused: counter(
                registry,
                "annulus_cache_refused_total",
                "Writes refused because a newer version was known or forgotten here.",
            )?,
            exported: Mutex::default(),
            under_replicated: gauge(
                registry,
                "annulus_under_replicated_keys",
                "Entries of this node that may lack a copy elsewhere, as far as it has not looked at them yet.",
            )?,
            settle_sent: counter(
                registry,
                "annulus_settle_entries_sent_total",
                "Entries that this node has sent to others, so that they hold what they should.",
            )?,
            settle_sent_bytes: counter(
                registry,
                "annulus_settle_sent_bytes_total",
                "Bytes of entries that this node has sent to others, so that they hold what they should.",
            )?,
            settle_epoch: gauge(
                registry,
                "annulus_settle_epoch",
                "The epoch to which this node settles, or has settled.",
            )?,
        })
    }

    pub(crate) fn count_lookup(&self, found: &Lookup) {
        match found {
            Lookup::Hit(_) => self.hits.inc(),
            Lookup::Miss(miss) => self.misses[copies::miss_reason(miss.reason) as usize].inc(),
        }
    }

    /// Adds lookups that were counted elsewhere; misses in the order of their reasons.
    pub(crate) fn add_lookups(&self, hits: u64, misses: [u64; MissReason::ALL.len()]) {
        self.hits.inc_by(hits);
        self.misses.iter().zip(misses).for_each(|(counter, more)| counter.inc_by(more));
    }

    pub(crate) fn refresh_settling(&self, progress: &Progress) {
        // Under the lock of the others: two scrapes at once must not count twice.
        let _exported = self.exported.lock();
        let shown = progress.show();
        self.under_replicated.set(shown.left as i64);
        self.settle_sent.inc_by(shown.sent - self.settle_sent.get());
        self.settle_sent_bytes.inc_by(shown.sent_bytes - self.settle_sent_bytes.get());
        self.settle_epoch.set(shown.epoch as i64);
    }

    /// Brings gauges and the store's own counters up to date.
    pub(crate) fn refresh(&self, stats: impl FnOnce() -> Stats) {
        // Taken under the lock: two scrapes at once must not count backwards.
        let mut exported = self.exported.lock();
        let stats = stats();
        self.items.set(stats.items as i64);
        self.tombstones.set(stats.tombstones as i64);
        self.bytes.set(stats.bytes as i64);
        self.max_bytes.set(stats.max_bytes as i64);
        self.evicted_for_bytes.inc_by(stats.evicted_for_bytes - exported.evicted_for_bytes);
        self.evicted_for_items.inc_by(stats.evicted_for_items - exported.evicted_for_items);
        self.expired.inc_by(stats.expired - exported.expired);
        self.refused.inc_by(stats.refused - exported.refused);
        *exported = stats;
    }
}
