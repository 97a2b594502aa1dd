//! An auxiliary node: it holds entries in bounded memory and answers masters about its copy of a key.
//!
//! It decides nothing about other copies. Its routes, over HTTP:
//!
//! | route | what it does | answers |
//! | --- | --- | --- |
//! | `GET`, `HEAD /entries/{key}` | this node's copy, its bytes with headers | 200; 404 with the version known of the miss |
//! | `POST /settle/*`, `PUT /roster` | what members hand to each other, under the cluster's seal | 200; 421, 425 other roster |
//! | `POST /registry` | the members, where this node keeps them for all; under the cluster's seal | 200; 403 |
//! | `POST /challenge` | a master asks whether it was this node that registers | 200; 403; 409 |
//! | `POST /backup`, `/restore`, `/rebalance` | write a snapshot; load the last one; settle now | 200; 409; 503; 507 |
//! | `POST /config/reload` | read the configuration again | 200; 400 wrong; 409 there is none |
//! | `GET /health`, `/ready`, `/metrics` | for operators | |
//!
//! The headers are those of [`annulus_protocol::hop`]. On a listener of its own it speaks memcached, on its own store. What masters ask of copies comes over the same port in meta commands:
//! [`annulus_protocol::hop::wire`].

mod authority_http;
mod backup;
mod candidates;
mod challenge;
mod copies;
mod hop;
mod members;
mod membership;
mod memcached;
mod metrics;
mod peers;
mod registry_http;
mod routes;
mod settle;
pub mod snapshots;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::registry::Home;
use annulus_cluster::{Authority, Mechanisms, Node as ClusterNode, Roster};
use annulus_protocol::rest::{ConfigReloaded, Health, StoreInfo};
use annulus_protocol::{Problem, Secret};
use annulus_service::admin::{self, Admin, Readiness};
use annulus_service::body::{BodyReader, Budget};
use annulus_service::config::{Role, Settings, is_live};
use annulus_service::metrics::node_info;
use annulus_service::net::{Clock, Listener, Net};
use annulus_service::reload::{self, IsLive, Reload, Source};
use annulus_service::stream::Pump;
use annulus_service::{Doors, Server, ServerLimits, Workers, error};
use annulus_store::{Entry, FLOOR_BUCKETS, Options, Store};
use axum::Router;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use authority_http::{HttpAuthority, MasterAddressError};
use candidates::Candidates;
use copies::Copies;
use members::Members;
use memcached::Front;
use metrics::Metrics;
use peers::{HttpPeers, Peers};
pub use registry_http::{HttpWire, Keeping};
use settle::{Pace, Progress};
use snapshots::Snapshots;

/// How often entries are looked over for expired ones, and how many one look may take out.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
const EXPIRY_BATCH: usize = 20_000;

/// How long a promise keeps lower writes out: five times the longest deadline, because its own write may come for a fifth
/// of it.
const PROMISE_TTL_MS: u64 = 10_000;

/// How a node becomes a member of a cluster.
pub struct Joining {
    /// Who knows the members.
    pub authority: Arc<dyn Authority>,
    /// The `host:port` at which others reach this node.
    pub address: String,
    /// What shows that a node belongs to the cluster.
    pub secret: Secret,
}

/// What a node is made of beside its settings.
#[derive(Default)]
pub struct Parts {
    /// Keys the hash of the node's index: take it at random, so that no client can choose keys that collide.
    pub seed: u64,
    /// Without it the node stands alone: it holds what masters with a fixed list give it, and a restart forgets everything.
    pub joining: Option<Joining>,
    /// Where one of the nodes keeps the members: it may be this one.
    pub keeping: Option<Keeping>,
    /// Without them none are written or loaded.
    pub snapshots: Option<Snapshots>,
    /// What is switched on.
    pub mechanisms: Mechanisms,
    /// What serves its connections.
    pub workers: Workers,
    /// Where its settings come from, to be read again; `None`: they stay as they are.
    pub source: Option<Source>,
}

/// A node that is built and not yet running.
pub struct Auxiliary {
    node: Arc<Node>,
    server: Server,
    readiness: Readiness,
    keeping: Option<Keeping>,
    lease_ttl: Duration,
    drain_timeout: Duration,
    backup_interval: Duration,
}

/// What handlers and tasks of one node share.
pub(crate) struct Node {
    name: String,
    zone: Option<String>,
    started_ms: u64,
    clock: Arc<dyn Clock>,
    copies: Copies,
    memcached: Front,
    metrics: Metrics,
    registry: Registry,
    bodies: BodyReader,
    max_value_bytes: usize,
    reload: Reload,
    server_limits: ServerLimits,
    workers: Workers,
    members: Option<Members>,
    secret: Option<Secret>,
    peers: Option<Arc<dyn Peers>>,
    authority: Option<Arc<dyn Authority>>,
    home: Option<Arc<Home>>,
    snapshots: Option<Snapshots>,
    backups: backup::Backups,
    progress: Progress,
    pace: Pace,
    /// Told when somebody wants the node to look at once for entries that lie in another's place.
    settle_now: Notify,
    /// What the node held when it was taken off the roster.
    left_behind: Mutex<Vec<Entry>>,
}

impl Auxiliary {
    /// A node named `name`.
    ///
    /// # Errors
    /// Where a metric is registered twice, which is a bug.
    pub fn build<N: Net>(
        name: String,
        settings: &Settings,
        net: &N,
        parts: Parts,
    ) -> prometheus::Result<Self> {
        let Parts { seed, joining, keeping, snapshots, mechanisms, workers, source } = parts;
        let clock = net.clock();
        let registry = Registry::new();
        let own = &settings.auxiliary;
        let store = Store::new(Options {
            max_items: (own.cache_size > 0).then_some(own.cache_size),
            max_entry_bytes: settings.limits.max_value_bytes + 512,
            tombstone_ttl_ms: own.tombstone_ttl.as_millis() as u64,
            promise_ttl_ms: PROMISE_TTL_MS,
            created_ms: clock.now_ms(),
            refuses_older: mechanisms.refusals,
            keeps_floors: mechanisms.floors,
            ..Options::new(own.memory, seed)
        });
        let server = Server::new(settings.server.clone(), Arc::clone(&clock), workers.clone(), &registry)?;
        let metrics = Metrics::new(&registry)?;
        node_info(&registry, "auxiliary", &name, own.zone.as_deref())?;
        let memcached = Front::new(seed, settings, workers.count(), server.refused(), &metrics);
        let bodies =
            BodyReader::new(Budget::new(settings.server.in_flight_bytes), settings.server.body_timeout);
        let place = |address: &str| ClusterNode {
            name: name.clone(),
            address: address.to_owned(),
            zone: own.zone.clone(),
            weight: 1,
        };
        let members =
            joining.as_ref().map(|joining| Members::new(place(&joining.address), clock.now_us(), mechanisms));
        let secret = joining.as_ref().map(|joining| joining.secret.clone());
        let peers = |secret: &Secret| -> Arc<dyn Peers> {
            Arc::new(HttpPeers::new(net.clone(), name.clone(), secret.clone()))
        };
        let peers = secret.as_ref().map(peers);
        let is_live: IsLive = |path, _, _| is_live(Role::Auxiliary, path);
        let reload = Reload::new(source, is_live, Arc::clone(&clock), &registry)?;
        let node = Arc::new(Node {
            reload,
            server_limits: server.limits(),
            workers,
            zone: own.zone.clone(),
            members,
            secret,
            peers,
            authority: joining.map(|joining| joining.authority),
            home: keeping.as_ref().map(|keeping| Arc::clone(&keeping.home)),
            backups: backup::Backups::new(&registry)?,
            snapshots,
            progress: Progress::default(),
            pace: Pace::of(own),
            settle_now: Notify::new(),
            left_behind: Mutex::default(),
            name,
            started_ms: clock.now_ms(),
            copies: Copies::new(store, Arc::clone(&clock), mechanisms.tombstones),
            memcached,
            metrics,
            clock,
            registry,
            bodies,
            max_value_bytes: settings.limits.max_value_bytes,
        });
        Ok(Self {
            node,
            server,
            readiness: Readiness::default(),
            keeping,
            lease_ttl: settings.cluster.lease_ttl,
            drain_timeout: own.drain_timeout,
            backup_interval: own.backup_interval,
        })
    }

    /// The routes, for tests that need no socket.
    pub fn router(&self) -> Router {
        let admin = Admin {
            node: Arc::clone(&self.node) as Arc<dyn admin::Node>,
            registry: self.node.registry.clone(),
            readiness: self.readiness.clone(),
        };
        routes::entries(Arc::clone(&self.node))
            .merge(settle::routes(Arc::clone(&self.node)))
            .merge(backup::routes(Arc::clone(&self.node)))
            .merge(challenge::routes(Arc::clone(&self.node)))
            .merge(registry_http::routes(Arc::clone(&self.node)))
            .merge(admin.routes())
            .fallback(error::no_route)
            .method_not_allowed_fallback(error::method_not_allowed)
    }

    /// The node's metrics.
    pub fn registry(&self) -> &Registry {
        &self.node.registry
    }

    /// Serves on `listener`, and memcached's clients on one of their own, until `shutdown`. A member hands everything over
    /// before it stops; then it finishes what is under way, and writes a last snapshot.
    pub async fn run<L: Listener>(self, listener: L, memcached: Option<L>, shutdown: CancellationToken) {
        let node = Arc::clone(&self.node);
        let hop = Pump::new(
            move |_| hop::HopSession::new(Arc::clone(&node)),
            self.node.bodies.budget().clone(),
            hop::AT_LIMIT,
        );
        let mut doors =
            Doors::http(listener, self.node.workers.count(), |_| self.router()).beside(Arc::new(hop));
        if let Some(listener) = memcached {
            let port = listener.local_addr().map_or(0, |address| address.port());
            doors = doors.stream(listener, Arc::new(Front::protocol(&self.node, port)));
        }
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(expire(Arc::clone(&self.node)));
        if let Some(keeping) = self.keeping {
            tasks.spawn(registry_http::keep(keeping));
        }
        let snapshot = backup::load(&self.node);
        let stop = CancellationToken::new();
        let peers = self.node.peers.clone();
        match self.node.authority.clone().zip(peers) {
            None => {
                backup::put_all(&self.node, snapshot);
                self.readiness.set_ready();
                tasks.spawn({
                    let stop = stop.clone();
                    async move {
                        shutdown.cancelled().await;
                        stop.cancel();
                    }
                });
            }
            Some((authority, peers)) => {
                let settling = settle::settle(Arc::clone(&self.node), peers, Candidates::new(snapshot));
                tasks.spawn_on(settling, &self.node.workers.background());
                tasks.spawn({
                    let member = membership::Member {
                        node: Arc::clone(&self.node),
                        authority,
                        readiness: self.readiness.clone(),
                        lease_ttl: self.lease_ttl,
                        drain_timeout: self.drain_timeout,
                    };
                    let stop = stop.clone();
                    async move {
                        member.run(shutdown).await;
                        stop.cancel();
                    }
                });
            }
        }
        tasks.spawn(backup::back_up(Arc::clone(&self.node), self.backup_interval));
        if self.node.reload.is_possible() {
            let node = Arc::clone(&self.node);
            tasks.spawn(reload::at_each_hangup(move || admin::Node::reload(&*node)));
        }
        self.server.run(doors, self.readiness, stop).await;
        tasks.shutdown().await;
        backup::last(&self.node);
    }
}

/// Takes expired entries out of memory without anybody reading them, and all of them where a flush is due.
async fn expire(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        node.memcached.flush_if_due(&node, node.clock.now_ms());
        while node.copies.expire(EXPIRY_BATCH) == EXPIRY_BATCH {
            tokio::task::yield_now().await;
        }
    }
}

impl Node {
    /// Goes by a later roster from now on.
    fn adopt(&self, roster: &Arc<Roster>) {
        let Some(members) = &self.members else { return };
        let Some(adopted) = members.adopt(roster, self.clock.now_ms()) else { return };
        if let Some(floors) = adopted.floors {
            let (all, of_spares) = floors.split_at(FLOOR_BUCKETS);
            self.raise_floors(all);
            for (bucket, floor) in of_spares.iter().enumerate() {
                self.copies.store().raise_spare_floor(bucket, *floor);
            }
        }
        // Whoever handed the roster over: the next one may be without this node already.
        if !members.is_leaving() && members.is_told_to_leave(roster) {
            tracing::info!("told to leave: handing over what this node holds");
            members.leave();
        }
        if adopted.is_expelled && !members.is_leaving() {
            tracing::warn!(
                "this node was taken off the roster while it was silent: it joins again, and what it held is judged by others"
            );
            members.start_new_life(self.clock.now_us());
            self.left_behind.lock().extend(self.copies.store().take());
        }
    }

    fn raise_floors(&self, floors: &[u64]) {
        for (bucket, floor) in floors.iter().enumerate() {
            self.copies.store().raise_floor(bucket, *floor);
        }
    }

    /// Whether this node counts: it speaks for its keys, or there is nobody else who could.
    fn holds_what_it_should(&self) -> bool {
        let Some(members) = &self.members else { return true };
        members.roster().is_some_and(|roster| roster.is_warm(&self.name, members.incarnation()))
    }

    /// Whether what it holds when it stops is worth keeping: it counts, or did until all others had what it held.
    fn held_what_it_should(&self) -> bool {
        self.holds_what_it_should() || self.members.as_ref().is_some_and(Members::has_left)
    }

    fn store_info(&self) -> StoreInfo {
        let stats = self.copies.stats();
        StoreInfo { items: stats.items as u64, bytes: stats.bytes as u64, max_bytes: stats.max_bytes as u64 }
    }
}

impl admin::Node for Node {
    fn health(&self) -> Health {
        Health {
            status: "ok".to_owned(),
            role: "auxiliary".to_owned(),
            name: self.name.clone(),
            zone: self.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: (self.clock.now_ms() - self.started_ms) / 1000,
            nodes: None,
            store: Some(self.store_info()),
            settling: self.members.as_ref().map(|_| self.progress.show()),
        }
    }

    fn refresh_metrics(&self) {
        self.memcached.flush_metrics(&self.metrics);
        self.metrics.refresh(|| self.copies.stats());
        self.metrics.refresh_settling(&self.progress);
        if let Some(counts) = self.authority.as_ref().and_then(|authority| authority.discovery()) {
            self.metrics.discovery.set(counts.peers, counts.events);
        }
    }

    fn reload(&self) -> Result<ConfigReloaded, Problem> {
        self.reload.run(|settings| {
            self.server_limits.set(&settings.server);
            self.bodies.set_timeout(settings.server.body_timeout);
            Ok(())
        })
    }
}
