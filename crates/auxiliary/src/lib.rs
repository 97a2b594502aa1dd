//! An auxiliary node: it holds entries in bounded memory and answers masters about its copy of a key.
//!
//! It decides nothing about other copies. Its routes, over HTTP:
//!
//! | route | what it does | answers |
//! | --- | --- | --- |
//! | `GET`, `HEAD /entries/{key}` | this node's copy, its bytes with headers | 200; 404 with the version known of the miss |
//! | `PUT`, `DELETE /entries/{key}` | take a value or a tombstone of a version | 200; 409 newer known; 412; 413 |
//! | `POST /entries/{key}/promise` | refuse everything below a version from now on | as `GET`; 409 |
//! | `GET /health`, `/ready`, `/metrics` | for operators | |
//!
//! The headers are those of [`annulus_protocol::hop`].

mod copies;
mod metrics;
mod routes;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::rest::{Health, StoreInfo};
use annulus_service::admin::{self, Admin, Readiness};
use annulus_service::body::{BodyReader, Budget};
use annulus_service::config::Settings;
use annulus_service::net::{Clock, Listener};
use annulus_service::{Server, error};
use annulus_store::{Options, Store};
use axum::Router;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use copies::Copies;
use metrics::Metrics;

/// How often entries are looked over for expired ones, and how many one look may take out.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);
const EXPIRY_BATCH: usize = 20_000;

/// How long a promise keeps lower writes out: five times the longest deadline, because its own write may come for a fifth
/// of it.
const PROMISE_TTL_MS: u64 = 10_000;

/// A node that is built and not yet running.
pub struct Auxiliary {
    node: Arc<Node>,
    server: Server,
    readiness: Readiness,
}

/// What handlers and tasks of one node share.
pub(crate) struct Node {
    name: String,
    zone: Option<String>,
    started_ms: u64,
    clock: Arc<dyn Clock>,
    copies: Copies,
    metrics: Metrics,
    registry: Registry,
    bodies: BodyReader,
    max_value_bytes: usize,
}

impl Auxiliary {
    /// A node named `name`. `seed` keys the hash of its index: take it at random, so that no client can choose keys
    /// that collide.
    ///
    /// # Errors
    /// Where a metric is registered twice, which is a bug.
    pub fn build(
        name: String,
        settings: &Settings,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let own = &settings.auxiliary;
        let store = Store::new(Options {
            max_items: (own.cache_size > 0).then_some(own.cache_size),
            max_entry_bytes: settings.limits.max_value_bytes + 512,
            tombstone_ttl_ms: own.tombstone_ttl.as_millis() as u64,
            promise_ttl_ms: PROMISE_TTL_MS,
            created_ms: clock.now_ms(),
            ..Options::new(own.memory, seed)
        });
        let server = Server::new(settings.server.clone(), Arc::clone(&clock), &registry)?;
        let bodies =
            BodyReader::new(Budget::new(settings.server.in_flight_bytes), settings.server.body_timeout);
        let node = Arc::new(Node {
            name,
            zone: own.zone.clone(),
            started_ms: clock.now_ms(),
            copies: Copies::new(store, Arc::clone(&clock)),
            metrics: Metrics::new(&registry)?,
            clock,
            registry,
            bodies,
            max_value_bytes: settings.limits.max_value_bytes,
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
        routes::entries(Arc::clone(&self.node))
            .merge(admin.routes())
            .fallback(error::no_route)
            .method_not_allowed_fallback(error::method_not_allowed)
    }

    /// The node's metrics.
    pub fn registry(&self) -> &Registry {
        &self.node.registry
    }

    /// Serves on `listener` until `shutdown`, then finishes what is under way.
    pub async fn run<L: Listener>(self, listener: L, shutdown: CancellationToken) {
        let app = self.router();
        let expiry = tokio::spawn(expire(Arc::clone(&self.node)));
        self.readiness.set_ready();
        self.server.run(listener, app, self.readiness, shutdown).await;
        expiry.abort();
    }
}

/// Takes expired entries out of memory without anybody reading them.
async fn expire(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        while node.copies.expire(EXPIRY_BATCH) == EXPIRY_BATCH {
            tokio::task::yield_now().await;
        }
    }
}

impl Node {
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
        }
    }

    fn refresh_metrics(&self) {
        self.metrics.refresh(|| self.copies.stats());
    }
}
