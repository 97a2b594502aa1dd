//! A master: a stateless router. It hashes keys onto the ring and asks the auxiliaries that own them; any master can
//! answer any request.
//!
//! [`coordinator`] decides what copies say together, [`fleet`] whom to ask first, [`hop`] carries the question, and the
//! routes are the public REST interface.

pub mod coordinator;
pub mod fleet;
pub mod hop;
mod metrics;
mod prober;
mod routes;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use annulus_cluster::{View, ViewError};
use annulus_protocol::HybridClock;
use annulus_protocol::rest::{Health, NodeCounts};
use annulus_ring::RingError;
use annulus_service::admin::{self, Admin, Readiness};
use annulus_service::body::{BodyReader, Budget};
use annulus_service::config::{Consistency, LimitSettings, Settings};
use annulus_service::net::{Clock, Listener, Net};
use annulus_service::telemetry::TraceIds;
use annulus_service::{Server, error};
use axum::Router;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use coordinator::race::MAX_PREFERENCE;
use coordinator::{Coordinator, Quorum};
use fleet::Fleet;
use hop::http::HttpHop;
use metrics::{CopyMetrics, Metrics};

/// Copies of a key where the configuration names no number and there are nodes enough.
const DEFAULT_REPLICAS: usize = 2;

/// Why a master cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The list of auxiliaries is wrong.
    #[error("cluster.auxiliaries: {0}")]
    View(#[from] ViewError),
    /// The ring cannot be laid out.
    #[error("cluster.virtual_nodes: {0}")]
    Ring(#[from] RingError),
    /// More copies than there can be.
    #[error(
        "cluster.replicas is {0}, but there are {1} auxiliaries and at most {max} copies of a key: lower it or list more",
        max = MAX_PREFERENCE - 1
    )]
    Replicas(u32, usize),
    /// A metric is registered twice: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// A master that is built and not yet running.
pub struct Master {
    node: Arc<Node>,
    server: Server,
    readiness: Readiness,
}

/// What handlers and tasks of one master share.
pub(crate) struct Node {
    name: String,
    started_ms: u64,
    clock: Arc<dyn Clock>,
    coordinator: Arc<Coordinator>,
    metrics: Metrics,
    registry: Registry,
    bodies: BodyReader,
    limits: LimitSettings,
    in_flight_bytes: usize,
    consistency: Consistency,
    trace_ids: Arc<TraceIds>,
    last_failure_logged_ms: AtomicU64,
    failures_not_logged: AtomicU64,
}

impl Master {
    /// A master named `name` for the auxiliaries that `settings` lists. `seed` keeps its versions and trace ids apart from
    /// others': take it at random.
    ///
    /// # Errors
    /// Says what to change where the settings do not make a cluster.
    pub fn build<N: Net>(name: String, settings: &Settings, net: &N, seed: u64) -> Result<Self, BuildError> {
        let cluster = &settings.cluster;
        let view = View::from_list(&cluster.auxiliaries)?;
        let nodes = view.nodes().len();
        let replicas = cluster.replicas.map_or(DEFAULT_REPLICAS.min(nodes), |replicas| replicas as usize);
        if replicas == 0 || replicas > nodes || replicas >= MAX_PREFERENCE {
            return Err(BuildError::Replicas(cluster.replicas.unwrap_or_default(), nodes));
        }
        let clock = net.clock();
        let registry = Registry::new();
        let server = Server::new(settings.server.clone(), Arc::clone(&clock), &registry)?;
        let bodies =
            BodyReader::new(Budget::new(settings.server.in_flight_bytes), settings.server.body_timeout);
        let hop = HttpHop::new(net, &view, bodies.impatient(), settings.limits.max_value_bytes, &registry)?;
        let ring = view.ring(cluster.virtual_nodes)?;
        let metrics = Metrics::new(&registry, ring.fingerprint())?;
        let coordinator = Coordinator {
            ring,
            quorum: Quorum::new(replicas, nodes),
            fleet: Fleet::new(view, cluster, Arc::clone(&clock)),
            hop: Arc::new(hop),
            clock: Arc::clone(&clock),
            versions: HybridClock::new(seed),
            hedge_after: cluster.hedge_after,
            metrics: CopyMetrics::new(&registry)?,
        };
        let node = Arc::new(Node {
            name,
            started_ms: clock.now_ms(),
            clock,
            coordinator: Arc::new(coordinator),
            metrics,
            registry,
            bodies,
            limits: settings.limits.clone(),
            in_flight_bytes: settings.server.in_flight_bytes,
            consistency: cluster.consistency,
            trace_ids: Arc::new(TraceIds::new(seed)),
            last_failure_logged_ms: AtomicU64::new(0),
            failures_not_logged: AtomicU64::new(0),
        });
        Ok(Self { node, server, readiness: Readiness::default() })
    }

    /// The routes, for tests that need no socket.
    pub fn router(&self) -> Router {
        let admin = Admin {
            node: Arc::clone(&self.node) as Arc<dyn admin::Node>,
            registry: self.node.registry.clone(),
            readiness: self.readiness.clone(),
        };
        routes::public(Arc::clone(&self.node))
            .merge(admin.routes())
            .fallback(error::no_route)
            .method_not_allowed_fallback(error::method_not_allowed)
    }

    /// Serves on `listener` until `shutdown`, then finishes what is under way.
    pub async fn run<L: Listener>(self, listener: L, shutdown: CancellationToken) {
        let app = self.router();
        let coordinator = Arc::clone(&self.node.coordinator);
        let prober = tokio::spawn(prober::probe(coordinator, Arc::clone(&self.node.trace_ids)));
        self.readiness.set_ready();
        self.server.run(listener, app, self.readiness, shutdown).await;
        prober.abort();
    }
}

impl admin::Node for Node {
    fn health(&self) -> Health {
        let census = self.coordinator.fleet.census();
        let away = census.down;
        let spare = self.coordinator.quorum.preference - self.coordinator.quorum.replicas;
        Health {
            status: if away > spare { "degraded" } else { "ok" }.to_owned(),
            role: "master".to_owned(),
            name: self.name.clone(),
            zone: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: (self.clock.now_ms() - self.started_ms) / 1000,
            nodes: Some(NodeCounts {
                up: census.up as u32,
                suspect: census.suspect as u32,
                down: census.down as u32,
            }),
            store: None,
        }
    }

    fn refresh_metrics(&self) {
        self.metrics.set_census(self.coordinator.fleet.census());
    }
}

#[cfg(test)]
mod tests {
    use annulus_service::config::Settings;

    #[test]
    fn the_documented_default_of_virtual_nodes_is_the_rings() {
        assert_eq!(Settings::default().cluster.virtual_nodes, annulus_ring::DEFAULT_VIRTUAL_NODES);
    }
}
