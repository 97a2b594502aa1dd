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
mod memcached;
mod metrics;
mod policy;
mod prober;
mod reload;
pub mod route;
mod routes;
mod routing;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use annulus_cluster::{Authority, Layout, MAX_PREFERENCE, Mechanisms, Roster, View, ViewError};
use annulus_protocol::HybridClock;
use annulus_protocol::Problem;
use annulus_protocol::handshake::{Secret, SecretError};
use annulus_protocol::networks::NetworksError;
use annulus_protocol::rest::{ConfigReloaded, Health, NodeCounts};
use annulus_ring::RingError;
use annulus_service::admin::{self, Admin, Readiness};
use annulus_service::body::{BodyReader, Budget};
use annulus_service::config::{ClusterSettings, Route as RouteName, Settings};
use annulus_service::metrics::node_info;
use annulus_service::net::{Clock, Listener, Net};
use annulus_service::reload::{Reload, Source};
use annulus_service::stream::Protocol;
use annulus_service::telemetry::TraceIds;
use annulus_service::{Doors, Server, ServerLimits, Workers, error};
use arc_swap::ArcSwap;
use axum::Router;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use admission::Admission;
use coordinator::{Coordinator, Doubts};
use fleet::{Fleet, Hops};
use hop::meta::MetaHops;
use jobs::Jobs;
use metrics::{CopyMetrics, Metrics};
use policy::Policy;
use routing::gutter::Gutter;

/// Copies of a key where the configuration names no number and there are nodes enough.
pub const DEFAULT_REPLICAS: u32 = 2;

/// Why a master cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The list of auxiliaries is wrong.
    #[error("cluster.auxiliaries: {0}")]
    View(#[from] ViewError),
    /// The gutter is wrong.
    #[error("cluster.gutter: {0}")]
    Gutter(ViewError),
    /// A node cannot stand in for itself.
    #[error("cluster.gutter: {0} is in cluster.auxiliaries too: a node of the gutter owns no keys")]
    GutterOnRing(String),
    /// More copies than there can be.
    #[error(
        "cluster.replicas is {0}, but there are {1} auxiliaries and at most {max} copies of a key: lower it or list more",
        max = MAX_PREFERENCE - 1
    )]
    Replicas(u32, usize),
    /// More nodes than can all have every key.
    #[error(
        "cluster.route is replicated, which takes at most {max} auxiliaries, but there are {0}: list fewer, or take sharded with cluster.replicas",
        max = MAX_PREFERENCE
    )]
    Replicated(usize),
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
    if settings.route == RouteName::Replicated {
        if nodes.len() > MAX_PREFERENCE {
            return Err(BuildError::Replicated(nodes.len()));
        }
        let layout = Layout { replicas: Layout::ALL, virtual_nodes: settings.virtual_nodes };
        return Ok(Roster::fixed(nodes, layout));
    }
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
    /// What serves its connections.
    pub workers: Workers,
    /// Where its settings come from, to be read again; `None`: they stay as they are.
    pub source: Option<Source>,
}

/// A master that is built and not yet running.
pub struct Master {
    node: Arc<Node>,
    server: Server,
    workers: Workers,
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
    max_value_bytes: usize,
    in_flight_bytes: usize,
    /// What may change while it runs.
    policy: ArcSwap<Policy>,
    reload: Reload,
    server_limits: ServerLimits,
    /// Ways to the nodes of a gutter.
    gutter_hops: Box<dyn Fn() -> Box<dyn Hops> + Send + Sync>,
    trace_ids: Arc<TraceIds>,
    /// The flush that memcached's clients have asked for and that is not due yet.
    flush_due: Mutex<Option<AbortHandle>>,
    tallies: memcached::Tallies,
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
        let Parts { seed, authority, roster, mechanisms, workers, source } = parts;
        let cluster = &settings.cluster;
        let clock = net.clock();
        let registry = Registry::new();
        let server = Server::new(settings.server.clone(), Arc::clone(&clock), workers.clone(), &registry)?;
        let bodies =
            BodyReader::new(Budget::new(settings.server.in_flight_bytes), settings.server.body_timeout);
        let secret = cluster.secret.as_deref().map(Secret::new).transpose()?;
        let networks = cluster.allowed_networks.join(",").parse()?;
        let admission = Admission::new(net, secret.clone(), networks, seed);
        let max_bytes = settings.limits.max_value_bytes;
        let hops = MetaHops::new(net, &workers, bodies.budget().clone(), max_bytes, secret, &registry)?;
        let gutter_hops = hops.without_members();
        let fleet = Fleet::new(roster, cluster, Box::new(hops), Arc::clone(&clock), mechanisms)?;
        let metrics = Metrics::new(&registry)?;
        let reload = Reload::new(source, policy::is_live, Arc::clone(&clock), &registry)?;
        node_info(&registry, "master", &name, None)?;
        let coordinator = Coordinator {
            fleet: Arc::new(fleet),
            clock: Arc::clone(&clock),
            versions: Arc::new(HybridClock::new(seed)),
            ways: ArcSwap::from_pointee(reload::ways(settings)),
            metrics: CopyMetrics::new(&registry)?,
            doubts: Doubts::default(),
        };
        let gutter_hops: Box<dyn Fn() -> Box<dyn Hops> + Send + Sync> =
            Box::new(move || Box::new(gutter_hops.without_members()));
        let gutter = Gutter::new(cluster, None, &coordinator, &gutter_hops)?;
        let node = Arc::new(Node {
            name,
            started_ms: clock.now_ms(),
            clock: Arc::clone(&clock),
            coordinator: Arc::new(coordinator),
            metrics,
            registry,
            bodies,
            max_value_bytes: max_bytes,
            in_flight_bytes: settings.server.in_flight_bytes,
            policy: ArcSwap::from_pointee(Policy::new(settings, None, gutter, clock.now_us())),
            reload,
            server_limits: server.limits(),
            gutter_hops,
            authority,
            admission,
            jobs: Jobs::new(Arc::clone(&clock)),
            lease_ttl: cluster.lease_ttl,
            trace_ids: Arc::new(TraceIds::new(seed)),
            flush_due: Mutex::default(),
            tallies: memcached::Tallies::new(workers.count()),
            last_failure_logged_ms: AtomicU64::new(0),
            failures_not_logged: AtomicU64::new(0),
        });
        Ok(Self { node, server, workers, readiness: Readiness::default() })
    }

    /// The routes, for tests that need no socket.
    pub fn router(&self) -> Router {
        self.router_of(0)
    }

    /// The routes as one worker serves them.
    fn router_of(&self, worker: usize) -> Router {
        let admin = Admin {
            node: Arc::clone(&self.node) as Arc<dyn admin::Node>,
            registry: self.node.registry.clone(),
            readiness: self.readiness.clone(),
        };
        routes::public(routes::At { node: Arc::clone(&self.node), worker })
            .merge(admin.routes())
            .fallback(error::no_route)
            .method_not_allowed_fallback(error::method_not_allowed)
    }

    /// Serves REST and memcached on `listener`, memcached also on a listener of its own where there is one, until `shutdown`;
    /// then finishes what is under way.
    pub async fn run<L: Listener>(self, listener: L, memcached: Option<L>, shutdown: CancellationToken) {
        let mut doors = Doors::http(listener, self.workers.count(), |worker| self.router_of(worker));
        let at = routes::At { node: Arc::clone(&self.node), worker: 0 };
        let front: Arc<dyn Protocol<L::Io>> = Arc::new(memcached::Front::new(at));
        if let Some(listener) = memcached {
            doors = doors.stream(listener, Arc::clone(&front));
        }
        doors = doors.beside(front);
        let mut tasks = JoinSet::new();
        tasks.spawn(prober::probe(Arc::clone(&self.node)));
        tasks.spawn(prober::reconcile(Arc::clone(&self.node)));
        tasks.spawn(follow::follow(Arc::clone(&self.node), self.readiness.clone()));
        if self.node.reload.is_possible() {
            let node = Arc::clone(&self.node);
            tasks.spawn(reload::at_each_hangup(move || admin::Node::reload(&*node)));
        }
        self.server.run(doors, self.readiness, shutdown).await;
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
        self.metrics.set_doubts(self.coordinator.doubts.len());
        let near = self.near();
        self.metrics.near.set(near.map(|near| near.size()).unwrap_or_default());
        if let Some(counts) = self.authority.discovery() {
            self.metrics.discovery.set(counts.peers, counts.events);
        }
    }

    fn reload(&self) -> Result<ConfigReloaded, Problem> {
        self.reload.run(|settings| self.take_over(settings))
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
