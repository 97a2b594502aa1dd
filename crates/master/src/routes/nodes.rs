//! `/nodes`: who holds the data.

use std::sync::Arc;

use annulus_protocol::rest::{NodeInfo, Nodes, StoreInfo};
use annulus_protocol::{ErrorCode, Key, Problem};
use annulus_service::ApiError;
use annulus_service::telemetry::TraceContext;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use http::{HeaderMap, Uri};

use crate::Node;
use crate::hop::Call;

/// The longest that the list waits for a node's figures.
const FIGURES_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

/// List the nodes
#[utoipa::path(get, path = "/nodes", operation_id = "list_nodes", tag = "nodes",
    responses((status = 200, description = "Every node of the ring", body = Nodes)))]
pub(super) async fn list(State(node): State<Arc<Node>>, headers: HeaderMap) -> Json<Nodes> {
    let trace = TraceContext::from_headers(&headers, &node.trace_ids);
    let shares = node.coordinator.ring.shares();
    let infos = shares.iter().enumerate().map(|(index, share)| node.info(index, *share, trace));
    Json(Nodes {
        epoch: node.coordinator.fleet.view().epoch(),
        replicas: node.coordinator.quorum.replicas as u32,
        virtual_nodes: node.coordinator.ring.virtual_nodes(),
        ring_fingerprint: format!("{:016x}", node.coordinator.ring.fingerprint()),
        nodes: join_all(infos).await,
    })
}

/// Show one node
#[utoipa::path(get, path = "/nodes/{id}", operation_id = "show_node", tag = "nodes",
    params(("id" = String, Path, description = "The node's name", min_length = 1)),
    responses(
        (status = 200, description = "The node", body = NodeInfo),
        (status = 400, description = "The name is badly escaped", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "No such node", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn one(
    State(node): State<Arc<Node>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<NodeInfo>, ApiError> {
    let id =
        Key::from_path_segment(uri.path().strip_prefix("/nodes/").unwrap_or_default()).map_err(|_| {
            Problem::new(ErrorCode::BadRequest, "a node's name is 1 to 250 bytes, percent-encoded once")
        })?;
    let index = id.as_str().and_then(|name| node.coordinator.fleet.view().find(name));
    let Some(index) = index else {
        return Err(ApiError::new(ErrorCode::NotFound, "no node of this name; GET /nodes lists them"));
    };
    let trace = TraceContext::from_headers(&headers, &node.trace_ids);
    Ok(Json(node.info(index, node.coordinator.ring.shares()[index], trace).await))
}

impl Node {
    async fn info(&self, index: usize, ring_share: f64, trace: TraceContext) -> NodeInfo {
        let call = Call { timeout: FIGURES_TIMEOUT, trace: trace.child(&self.trace_ids) };
        let health = self.coordinator.hop.health(index, call).await;
        let store: Option<StoreInfo> = health.ok().and_then(|health| health.store);
        let node = &self.coordinator.fleet.view().nodes()[index];
        NodeInfo {
            id: node.name.clone(),
            address: node.address.clone(),
            zone: node.zone.clone(),
            weight: node.weight,
            state: self.coordinator.fleet.state(index),
            ring_share,
            store,
        }
    }
}

macro_rules! not_yet {
    ($($(#[doc = $doc:literal])+ $name:ident, $method:ident, $path:literal $(($($params:tt)*))?, $detail:literal;)+) => {$(
        $(#[doc = $doc])+
        #[utoipa::path($method, path = $path, tag = "nodes", $(params($($params)*),)?
            responses((status = 501, description = "Not delivered yet", body = Problem, content_type = "application/problem+json")))]
        pub(super) async fn $name() -> Response {
            ApiError::new(ErrorCode::NotImplemented, $detail).into_response()
        }
    )+};
}

not_yet! {
    /// Register a node (not delivered yet)
    not_yet_register, post, "/nodes", "nodes cannot be registered yet: list them in cluster.auxiliaries and restart the masters";
    /// Remove a node (not delivered yet)
    not_yet_remove, delete, "/nodes/{id}" (("id" = String, Path, description = "The node's name", min_length = 1)), "nodes cannot be removed yet: take them out of cluster.auxiliaries and restart the masters";
    /// Write a snapshot on every node (not delivered yet)
    not_yet_backup, post, "/backup", "snapshots are not written yet";
    /// Load the snapshots (not delivered yet)
    not_yet_restore, post, "/restore", "snapshots are not loaded yet";
    /// Settle now (not delivered yet)
    not_yet_rebalance, post, "/rebalance", "the ring does not change yet, so there is nothing to rebalance";
}
