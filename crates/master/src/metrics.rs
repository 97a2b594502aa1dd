//! The metrics of a master.

use annulus_cluster::discovery::DiscoveryCounts;
use annulus_cluster::{Census, Placement};
use annulus_service::metrics::{
    DiscoveryMetrics, OperationMetrics, RequestMetrics, counter, counters, gauge,
};
use prometheus::{GaugeVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use crate::routing::near::Fill;

/// Operations by what a client asked for.
pub(crate) struct Metrics {
    pub(crate) get: OperationMetrics,
    pub(crate) put: OperationMetrics,
    pub(crate) delete: OperationMetrics,
    pub(crate) bulk_get: OperationMetrics,
    pub(crate) bulk_put: OperationMetrics,
    pub(crate) hits: IntCounter,
    pub(crate) misses: [IntCounter; 5],
    up: IntGauge,
    suspect: IntGauge,
    down: IntGauge,
    fingerprint: IntGaugeVec,
    shares: GaugeVec,
    epoch: IntGauge,
    settled: IntGauge,
    doubts: IntGauge,
    pub(crate) near: NearMetrics,
    pub(crate) gutter_get: GutterMetrics,
    pub(crate) gutter_put: GutterMetrics,
    pub(crate) discovery: DiscoveryMetrics,
}

/// The near store.
pub(crate) struct NearMetrics {
    pub(crate) hits: IntCounter,
    pub(crate) misses: IntCounter,
    items: IntGauge,
    bytes: IntGauge,
}

impl NearMetrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let lookups = counters(
            registry,
            "annulus_near_lookups_total",
            "Reads that looked into the near store first.",
            &["outcome"],
        )?;
        Ok(Self {
            hits: lookups.with_label_values(&["hit"]),
            misses: lookups.with_label_values(&["miss"]),
            items: gauge(registry, "annulus_near_items", "Slots of the near store in use.")?,
            bytes: gauge(registry, "annulus_near_bytes", "Bytes that the near store takes, about.")?,
        })
    }

    pub(crate) fn set(&self, fill: Fill) {
        self.items.set(fill.items as i64);
        self.bytes.set(fill.bytes as i64);
    }
}

/// What became of requests that the gutter took over.
pub(crate) struct GutterMetrics {
    ok: IntCounter,
    failed: IntCounter,
}

impl GutterMetrics {
    fn of<const N: usize>(registry: &Registry, operations: [&str; N]) -> prometheus::Result<[Self; N]> {
        let total = counters(
            registry,
            "annulus_gutter_requests_total",
            "Requests that went to the gutter because no owner of their key was in reach.",
            &["op", "outcome"],
        )?;
        Ok(operations.map(|op| Self {
            ok: total.with_label_values(&[op, "ok"]),
            failed: total.with_label_values(&[op, "failed"]),
        }))
    }

    pub(crate) fn count<T, E>(&self, result: &Result<T, E>) {
        if result.is_ok() { self.ok.inc() } else { self.failed.inc() }
    }
}

/// What happens between copies.
#[derive(Clone)]
pub(crate) struct CopyMetrics {
    pub(crate) repairs: IntCounter,
    pub(crate) refusals: IntCounter,
    pub(crate) hedges: IntCounter,
}

impl Metrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let requests = RequestMetrics::new(registry, &["get", "put", "delete", "bulk_get", "bulk_put"])?;
        let nodes = IntGaugeVec::new(
            Opts::new("annulus_nodes", "Auxiliaries of the ring by state, as this master sees them."),
            &["state"],
        )?;
        registry.register(Box::new(nodes.clone()))?;
        let fingerprint = IntGaugeVec::new(
            Opts::new(
                "annulus_ring_fingerprint_info",
                "Always 1; the label is a hash of the ring, equal on masters that agree.",
            ),
            &["fingerprint"],
        )?;
        registry.register(Box::new(fingerprint.clone()))?;
        let shares = GaugeVec::new(
            Opts::new(
                "annulus_ring_share_ratio",
                "Share of the keys that a node of the ring owns first, from 0 to 1.",
            ),
            &["node"],
        )?;
        registry.register(Box::new(shares.clone()))?;
        let misses = counters(
            registry,
            "annulus_cache_misses_total",
            "Reads through this master that found no entry, by the reason that the newest copy gives.",
            &["reason"],
        )?;
        let [gutter_get, gutter_put] = GutterMetrics::of(registry, ["get", "put"])?;
        Ok(Self {
            near: NearMetrics::new(registry)?,
            gutter_get,
            gutter_put,
            discovery: DiscoveryMetrics::new(registry, DiscoveryCounts::KINDS)?,
            get: requests.operation("get"),
            put: requests.operation("put"),
            delete: requests.operation("delete"),
            bulk_get: requests.operation("bulk_get"),
            bulk_put: requests.operation("bulk_put"),
            hits: counter(
                registry,
                "annulus_cache_hits_total",
                "Reads through this master that found an entry.",
            )?,
            misses: annulus_protocol::hop::MissReason::ALL
                .map(|reason| misses.with_label_values(&[reason.as_str()])),
            up: nodes.with_label_values(&["up"]),
            suspect: nodes.with_label_values(&["suspect"]),
            down: nodes.with_label_values(&["down"]),
            fingerprint,
            shares,
            epoch: gauge(registry, "annulus_epoch", "The epoch of the roster by which this node goes.")?,
            settled: gauge(
                registry,
                "annulus_settled",
                "1 where all members hold what they should; 0 while data moves.",
            )?,
            doubts: gauge(
                registry,
                "annulus_keys_in_doubt",
                "Keys that this master will look at again because a write of them ended without an answer.",
            )?,
        })
    }

    pub(crate) fn set_doubts(&self, keys: usize) {
        self.doubts.set(keys as i64);
    }

    pub(crate) fn set_census(&self, census: Census) {
        self.up.set(census.up as i64);
        self.suspect.set(census.suspect as i64);
        self.down.set(census.down as i64);
    }

    pub(crate) fn set_placement(&self, placement: &Placement) {
        self.fingerprint.reset();
        self.fingerprint.with_label_values(&[format!("{:016x}", placement.ring().fingerprint())]).set(1);
        self.shares.reset();
        for (node, share) in placement.nodes().iter().zip(placement.shares()) {
            self.shares.with_label_values(&[node.seat.node.name.as_str()]).set(share);
        }
        self.epoch.set(placement.epoch() as i64);
        self.settled.set(i64::from(placement.is_settled()));
    }
}

impl CopyMetrics {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(Self {
            repairs: counter(
                registry,
                "annulus_read_repairs_total",
                "Reads that brought a copy up to the newest version before they answered.",
            )?,
            refusals: counter(
                registry,
                "annulus_write_refusals_total",
                "Writes that a copy refused as too old and that were tried again above what it knew.",
            )?,
            hedges: counter(
                registry,
                "annulus_hedges_total",
                "Calls to a spare copy because another was slower than cluster.hedge_after.",
            )?,
        })
    }
}
