//! A master: a stateless router. It hashes keys onto the ring and asks the auxiliaries that own them; any master can
//! answer any request.
//!
//! [`coordinator`] decides what copies say together, [`fleet`] whom to ask first, [`hop`] carries the question, and the
//! routes are the public REST interface.

mod admission;
pub mod coordinator;
pub mod fleet;
mod follow;
pub mod hop;
mod jobs;
mod metrics;
mod prober;
pub mod route;
mod routes;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use annulus_cluster::{Authority, Layout, MAX_PREFERENCE, Mechanisms, Roster, View, ViewError};
use annulus_protocol::HybridClock;
use annulus_protocol::handshake::{Secret, SecretError};
use annulus_protocol::networks::NetworksError;
use annulus_protocol::rest::{Health, NodeCounts};
use annulus_ring::RingError;
use annulus_service::admin::{self, Admin, Readiness};
use annulus_service::body::{BodyReader, Budget};
use annulus_service::config::{ClusterSettings, Consistency, LimitSettings, Settings};
use annulus_service::net::{Clock, Listener, Net};
use annulus_service::telemetry::TraceIds;
use annulus_service::{Server, error};
use axum::Router;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use admission::Admission;
use coordinator::Coordinator;
use fleet::Fleet;
use hop::http::HttpHops;
use jobs::Jobs;
use metrics::{CopyMetrics, Metrics};

/// Copies of a key where the configuration names no number and there are nodes enough.
pub const DEFAULT_REPLICAS: u32 = 2;

/// Why a master cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The list of auxiliaries is wrong.
    #[error("cluster.auxiliaries: {0}")]
    View(#[from] ViewError),
    /// More copies than there can be.
    #[error(
        "cluster.replicas is {0}, but there are {1} auxiliaries and at most {max} copies of a key: lower it or list more",
        max = MAX_PREFERENCE - 1
    )]
    Replicas(u32, usize),
    /// The ring cannot be laid out.
    #[error("cluster.virtual_nodes: {0}")]
    Ring(#[from] RingError),
    /// The secret is none.
    #[error("cluster.secret: {0}")]
    Secret(#[from] SecretError),
    /// The networks are none.
    #[error("cluster.allowed_networks: {0}")]
    Networks(#[from] NetworksError),
    /// A metric is registered twice: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// The roster of a fixed list of auxiliaries, which never changes.
///
/// # Errors
/// Says what to change where the settings do not make a cluster.
pub fn fixed_list(settings: &ClusterSettings) -> Result<Roster, BuildError> {
    let nodes = View::from_list(&settings.auxiliaries)?.nodes().to_vec();
    let replicas = settings.replicas.unwrap_or(DEFAULT_REPLICAS.min(nodes.len() as u32));
    if replicas == 0 || replicas as usize > nodes.len() || replicas as usize >= MAX_PREFERENCE {
        return Err(BuildError::Replicas(replicas, nodes.len()));
    }
    Ok(Roster::fixed(nodes, Layout { replicas, virtual_nodes: settings.virtual_nodes }))
}

/// What a master is made of beside its settings.
pub struct Parts {
    /// Keeps its versions and trace ids apart from others': take it at random.
    pub seed: u64,
    /// Who knows the members.
    pub authority: Arc<dyn Authority>,
    /// The first roster that it goes by.
    pub roster: Roster,
    /// What is switched on.
    pub mechanisms: Mechanisms,
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
    authority: Arc<dyn Authority>,
    lease_ttl: Duration,
    admission: Admission,
    jobs: Jobs,
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
    /// A master named `name`.
    ///
    /// # Errors
    /// Says what to change where the settings do not make a cluster.
    pub fn build<N: Net>(
        name: String,
        settings: &Settings,
        net: &N,
        parts: Parts,
    ) -> Result<Self, BuildError> {
        let Parts { seed, authority, roster, mechanisms } = parts;
        let cluster = &settings.cluster;
        let clock = net.clock();
        let registry = Registry::new();
        let server = Server::new(settings.server.clone(), Arc::clone(&clock), &registry)?;
        let bodies =
            BodyReader::new(Budget::new(settings.server.in_flight_bytes), settings.server.body_timeout);
        let secret = cluster.secret.as_deref().map(Secret::new).transpose()?;
        let networks = cluster.allowed_networks.join(",").parse()?;
        let admission = Admission::new(net, secret.clone(), networks, seed);
        let max_bytes = settings.limits.max_value_bytes;
        let hops = HttpHops::new(net, bodies.impatient(), max_bytes, secret, &registry)?;
        let fleet = Fleet::new(roster, cluster, Box::new(hops), Arc::clone(&clock), mechanisms)?;
        let metrics = Metrics::new(&registry)?;
        let coordinator = Coordinator {
            fleet: Arc::new(fleet),
            clock: Arc::clone(&clock),
            versions: HybridClock::new(seed),
            hedge_after: cluster.hedge_after,
            metrics: CopyMetrics::new(&registry)?,
        };
        let node = Arc::new(Node {
            name,
            started_ms: clock.now_ms(),
            clock: Arc::clone(&clock),
            coordinator: Arc::new(coordinator),
            metrics,
            registry,
            bodies,
            limits: settings.limits.clone(),
            in_flight_bytes: settings.server.in_flight_bytes,
            consistency: cluster.consistency,
            authority,
            admission,
            jobs: Jobs::new(Arc::clone(&clock)),
            lease_ttl: cluster.lease_ttl,
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
        let follower = tokio::spawn(follow::follow(Arc::clone(&self.node), self.readiness.clone()));
        self.server.run(listener, app, self.readiness, shutdown).await;
        follower.abort();
        prober.abort();
    }
}

impl admin::Node for Node {
    fn health(&self) -> Health {
        let route = self.coordinator.fleet.route();
        let census = route.census();
        let away = census.down;
        let quorum = route.placement().quorum();
        let spare = quorum.preference - quorum.replicas;
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
            settling: None,
        }
    }

    fn refresh_metrics(&self) {
        let route = self.coordinator.fleet.route();
        self.metrics.set_census(route.census());
        self.metrics.set_placement(route.placement());
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
