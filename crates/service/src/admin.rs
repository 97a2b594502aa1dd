//! The routes that every server has for its operators: `/health`, `/ready`, `/metrics`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annulus_protocol::rest::{Health, Ready};
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus::{Registry, TextEncoder};

/// Readiness: false until the node takes traffic, then true until it shuts down.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// From now on the node takes traffic.
    pub fn set_ready(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The node is leaving: whoever balances load should look elsewhere.
    pub fn set_leaving(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether it takes traffic.
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the routes need of a node.
pub trait Node: Send + Sync + 'static {
    /// The answer to `/health`: liveness with detail, 200 for as long as the process serves.
    fn health(&self) -> Health;

    /// Brings gauges up to date before `/metrics` is written.
    fn refresh_metrics(&self);
}

/// The state of the routes.
pub struct Admin {
    /// The node.
    pub node: Arc<dyn Node>,
    /// Its metrics.
    pub registry: Registry,
    /// Whether it takes traffic.
    pub readiness: Readiness,
}

impl Admin {
    /// The routes, to be merged with a service's own.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self))
    }
}

async fn health(State(admin): State<Arc<Admin>>) -> Json<Health> {
    Json(admin.node.health())
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let ready = admin.readiness.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready })).into_response()
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    admin.node.refresh_metrics();
    match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(text) => ([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
