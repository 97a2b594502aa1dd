//! The routes that every server has for its operators: `/health`, `/ready`, `/metrics`, `/config/reload`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annulus_protocol::rest::{ConfigReloaded, Health, Ready};
use annulus_protocol::{ErrorCode, Problem};
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use prometheus::{Registry, TextEncoder};

use crate::ApiError;

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

    /// The same as JSON, with whatever else the service says.
    ///
    /// # Errors
    /// Where something in it has no JSON form, which is a bug.
    fn health_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&self.health())
    }

    /// Brings gauges up to date before `/metrics` is written.
    fn refresh_metrics(&self);

    /// Reads the configuration again; see [`crate::reload`]. It may block its thread for a moment.
    ///
    /// # Errors
    /// Says what is wrong with it; then nothing has changed.
    fn reload(&self) -> Result<ConfigReloaded, Problem>;
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
            .route("/config/reload", post(reload))
            .with_state(Arc::new(self))
    }
}

async fn health(State(admin): State<Arc<Admin>>) -> Response {
    match admin.node.health_json() {
        Ok(json) => ([(CONTENT_TYPE, annulus_protocol::value::JSON)], json).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the health");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn reload(State(admin): State<Arc<Admin>>) -> Result<Json<ConfigReloaded>, ApiError> {
    let reloaded = tokio::task::spawn_blocking(move || admin.node.reload()).await;
    let reloaded = reloaded.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    Ok(Json(reloaded?))
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
