//! A refresher: any number of replicas keep any number of upstream datasets fresh, and one of them asks the upstreams.
//!
//! The replicas elect a leader through the store that they share ([`annulus_cluster::lease`],
//! [`annulus_cluster::fenced`]). The leader asks each upstream when its [`schedule`] says so, makes a snapshot of the body
//! ([`split`]), publishes it in the store, and writes its entries into the cache through a master. All replicas follow
//! ([`annulus_client::follower`]) and serve what they have in memory:
//!
//! | route | what it does | answers |
//! | --- | --- | --- |
//! | `GET /datasets` | what there is, with revisions and ages | 200 |
//! | `GET /datasets/{name}` | the body; `ETag` is the revision, `Age` since it was last found up to date | 200, 304, 404, 503 |
//! | `GET /datasets/{name}/{item}` | one item, as JSON | 200, 304, 404, 503 |
//! | `GET /datasets/{name}/events` | each new revision as an event; `Last-Event-ID` resumes | 200, 404, 503 |
//! | `POST /config/reload` | read the configuration again | 200; 400 wrong; 409 there is none |
//! | `GET /health`, `/ready`, `/metrics` | for operators | |

mod cache;
mod datasets;
pub mod example;
mod leadership;
mod metrics;
mod refresh;
mod routes;
pub mod schedule;
pub mod split;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_client::Client;
use annulus_client::follower::Follower;
use annulus_cluster::fenced::{FencedStore, MemoryStore, RedisStore};
use annulus_cluster::{LeaseSettings, RedisSettings, StoreError};
use annulus_protocol::Problem;
use annulus_protocol::rest::{ConfigReloaded, Health, RefresherHealth};
use annulus_service::admin::{self, Admin, Readiness};
use annulus_service::config::{RefresherSettings, Role, Settings, is_live};
use annulus_service::metrics::node_info;
use annulus_service::net::{Clock, Listener, Net};
use annulus_service::reload::{self, IsLive, Reload, Source};
use annulus_service::{Doors, Server, ServerLimits, Workers, error};
use axum::Router;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use datasets::Datasets;
use leadership::Leadership;
use metrics::{DatasetFamilies, Metrics};
use refresh::Worker;
use split::{Rule, SplitError};
use upstream::{HttpUpstream, NoRoots, TlsRoots, Upstream};

/// Why a refresher cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// There is nothing that the replicas share.
    #[error(
        "a refresher needs the Redis that all replicas share: set refresher.redis (REDIS_ADDR, --redis); or let this one refresh \
         for itself, with ENABLE_LEADER_ELECTION=false"
    )]
    NoRedis,
    /// The settings of Redis are wrong.
    #[error("refresher.redis: {0}")]
    Redis(#[from] StoreError),
    /// A dataset's key is no pattern.
    #[error("datasets.{0}.key: {1}")]
    Key(String, SplitError),
    /// A dataset's URL is none.
    #[error("datasets.{0}.url: {1}")]
    Url(String, String),
    /// A master's URL is none.
    #[error("refresher.masters: {0}")]
    Masters(#[from] annulus_client::Error),
    /// A metric is registered twice: a bug.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// What a refresher is made of beside its settings.
pub struct Parts {
    /// Names it in the lease: `hostname-pid-timestamp`, or another name that no other process ever has.
    pub id: String,
    /// Spreads the pauses of replicas: take it at random.
    pub seed: u64,
    /// Where lease and datasets lie; see [`store`].
    pub store: Arc<dyn FencedStore>,
    /// The authorities that are trusted where an upstream has `https://`.
    pub roots: Result<TlsRoots, NoRoots>,
    /// Where its settings come from, to be read again; `None`: they stay as they are.
    pub source: Option<Source>,
}

/// The store that the settings name.
///
/// # Errors
/// Where they name none, or a Redis that there cannot be.
pub fn store(
    settings: &RefresherSettings,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<dyn FencedStore>, BuildError> {
    if !settings.enable_leader_election {
        return Ok(Arc::new(memory_store(clock)));
    }
    let url = settings.redis.as_ref().ok_or(BuildError::NoRedis)?;
    let defaults = RedisSettings::new(url);
    let redis = RedisSettings {
        user: settings.redis_user.clone(),
        password: settings.redis_password.clone(),
        database: settings.redis_database,
        prefix: settings.redis_prefix.clone().unwrap_or(defaults.prefix),
        connect_timeout: settings.redis_connect_timeout,
        write_timeout: settings.redis_write_timeout,
        read_timeout: settings.redis_read_timeout,
        url: defaults.url,
    };
    Ok(Arc::new(RedisStore::new(&redis, settings.redis_pool_size)?))
}

/// A store in this process.
pub fn memory_store(clock: &Arc<dyn Clock>) -> MemoryStore {
    let clock = Arc::clone(clock);
    MemoryStore::new(Arc::new(move || clock.now_ms()))
}

/// A refresher that is built and not yet running.
pub struct Refresher {
    node: Arc<Node>,
    server: Server,
    readiness: Readiness,
}

/// What handlers and tasks of one replica share.
pub(crate) struct Node {
    name: String,
    started_ms: u64,
    clock: Arc<dyn Clock>,
    store: Arc<dyn FencedStore>,
    datasets: Arc<Datasets>,
    follower: Follower,
    leadership: Leadership,
    upstream: Box<dyn Upstream>,
    cache: Option<Client>,
    metrics: Arc<Metrics>,
    registry: Registry,
    reload: Reload,
    server_limits: ServerLimits,
    streams: Arc<Semaphore>,
    idle_timeout: Duration,
    poll_interval: Duration,
    random: AtomicU64,
}

impl Refresher {
    /// A replica named `name`. It follows from now on, so this is to be called inside a tokio runtime.
    ///
    /// # Errors
    /// Says what to change where the settings make no refresher.
    pub fn build<N: Net>(
        name: String,
        settings: &Settings,
        net: &N,
        parts: Parts,
    ) -> Result<Self, BuildError> {
        let Parts { id, seed, store, roots, source } = parts;
        let own = &settings.refresher;
        let clock = net.clock();
        let registry = Registry::new();
        let server = Server::new(settings.server.clone(), Arc::clone(&clock), Workers::ambient(), &registry)?;
        let metrics = Arc::new(Metrics::new(&registry)?);
        node_info(&registry, "refresher", &name, None)?;
        let mut rules = Vec::with_capacity(settings.datasets.len());
        for dataset in &settings.datasets {
            let named = |why| BuildError::Url(dataset.name.clone(), why);
            upstream::check_url(&dataset.url.0).map_err(named)?;
            let rule = Rule::new(dataset).map_err(|why| BuildError::Key(dataset.name.clone(), why))?;
            rules.push((dataset.clone(), rule));
        }
        let datasets = Arc::new(Datasets::new(rules, &DatasetFamilies::new(&registry)?));
        let cache = if own.masters.is_empty() {
            None
        } else {
            Some(Client::builder().masters(&own.masters).build()?)
        };
        let observer = Arc::clone(&datasets) as Arc<dyn annulus_client::follower::Observer>;
        let names = datasets.names();
        let follower = Follower::start(Arc::clone(&store), &names, own.poll_interval, observer);
        let lease = LeaseSettings { ttl: own.leadership_ttl, check_interval: own.leadership_check_interval };
        let leadership =
            Leadership::new(id, lease, Arc::clone(&store), Arc::clone(&clock), Arc::clone(&metrics));
        let is_live: IsLive = |path, _, _| is_live(Role::Refresher, path);
        let node = Arc::new(Node {
            reload: Reload::new(source, is_live, Arc::clone(&clock), &registry)?,
            server_limits: server.limits(),
            name,
            started_ms: clock.now_ms(),
            store,
            datasets,
            follower,
            leadership,
            upstream: Box::new(HttpUpstream::new(net.clone(), roots)),
            cache,
            metrics,
            registry,
            streams: Arc::new(Semaphore::new(own.max_streams)),
            idle_timeout: settings.server.idle_timeout,
            poll_interval: own.poll_interval,
            random: AtomicU64::new(seed),
            clock,
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

    /// Serves on `listener` until `shutdown`; then it gives the lease back and finishes what is under way.
    pub async fn run<L: Listener>(self, listener: L, shutdown: CancellationToken) {
        let app = self.router();
        let mut tasks = JoinSet::new();
        for dataset in self.node.datasets.iter() {
            let worker = Worker::new(Arc::clone(&self.node), Arc::clone(dataset));
            tasks.spawn(worker.run(self.node.leadership.terms()));
        }
        tasks.spawn(get_ready(Arc::clone(&self.node), self.readiness.clone()));
        tasks.spawn(hear_of_terms(Arc::clone(&self.node)));
        if self.node.reload.is_possible() {
            let node = Arc::clone(&self.node);
            tasks.spawn(reload::at_each_hangup(move || admin::Node::reload(&*node)));
        }
        let election = tokio::spawn({
            let (node, shutdown) = (Arc::clone(&self.node), shutdown.clone());
            async move { node.leadership.run(shutdown).await }
        });
        self.server.run(Doors::http(listener, 1, |_| app.clone()), self.readiness, shutdown).await;
        // It ends by itself, once the lease is given back.
        let _ = election.await;
        tasks.shutdown().await;
    }
}

/// A replica is ready once it has every dataset in memory.
async fn get_ready(node: Arc<Node>, readiness: Readiness) {
    for name in node.datasets.names() {
        let Some(mut changes) = node.follower.changes(&name) else { continue };
        if changes.wait_for(|revision| *revision > 0).await.is_err() {
            return;
        }
    }
    readiness.set_ready();
}

/// Passes on what followers hear of other leaders.
async fn hear_of_terms(node: Arc<Node>) {
    let mut heard = node.datasets.heard();
    while heard.changed().await.is_ok() {
        let token = *heard.borrow_and_update();
        node.leadership.heard_of(token);
    }
}

impl Node {
    /// From 0 to 1: SplitMix64, as in [`annulus_service::telemetry::TraceIds`].
    fn random(&self) -> f64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.random.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64 / u64::MAX as f64
    }
}

impl admin::Node for Node {
    fn health(&self) -> Health {
        let is_fresh = |dataset: &Arc<datasets::DatasetNode>| {
            dataset.health(&self.follower, self.poll_interval).data_fresh
        };
        let is_well = self.store.is_connected() && self.datasets.iter().all(is_fresh);
        Health {
            status: if is_well { "ok" } else { "degraded" }.to_owned(),
            role: "refresher".to_owned(),
            name: self.name.clone(),
            zone: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: (self.clock.now_ms() - self.started_ms) / 1000,
            nodes: None,
            store: None,
            settling: None,
        }
    }

    fn health_json(&self) -> serde_json::Result<Vec<u8>> {
        let datasets: std::collections::BTreeMap<_, _> = self
            .datasets
            .iter()
            .map(|dataset| (dataset.name().to_owned(), dataset.health(&self.follower, self.poll_interval)))
            .collect();
        serde_json::to_vec(&RefresherHealth {
            node: self.health(),
            is_leader: self.leadership.leads(),
            redis_connected: self.store.is_connected(),
            data_fresh: datasets.values().all(|dataset| dataset.data_fresh),
            datasets,
        })
    }

    fn refresh_metrics(&self) {
        self.metrics.leader.set(self.leadership.leads().into());
        self.metrics.redis_connected.set(self.store.is_connected().into());
        self.datasets.iter().for_each(|dataset| dataset.refresh_metrics(&self.follower, self.poll_interval));
    }

    fn reload(&self) -> Result<ConfigReloaded, Problem> {
        self.reload.run(|settings| {
            self.server_limits.set(&settings.server);
            Ok(())
        })
    }
}
