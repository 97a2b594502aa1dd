//! `/nodes`: who holds the data.

use annulus_protocol::rest::{MemberState, NodeInfo, Nodes};
use annulus_protocol::{ErrorCode, Key, Problem};
use annulus_service::ApiError;
use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use http::Uri;

use super::At;
use crate::Node;
use crate::route::Route;

/// The longest that the list waits for a node's figures.
const FIGURES_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

/// List the nodes
#[utoipa::path(get, path = "/nodes", operation_id = "list_nodes", tag = "nodes",
    responses((status = 200, description = "Every node of the ring", body = Nodes)))]
pub(super) async fn list(State(At { node, .. }): State<At>) -> Json<Nodes> {
    let route = node.coordinator.fleet.route();
    let placement = route.placement();
    let shares = placement.shares();
    let infos = shares.iter().enumerate().map(|(index, share)| node.info(&route, index, *share));
    Json(Nodes {
        epoch: placement.epoch(),
        settled: placement.is_settled(),
        replicas: placement.quorum().copies as u32,
        virtual_nodes: placement.ring().virtual_nodes(),
        ring_fingerprint: format!("{:016x}", placement.ring().fingerprint()),
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
pub(super) async fn one(State(At { node, .. }): State<At>, uri: Uri) -> Result<Json<NodeInfo>, ApiError> {
    let id = name_of(&uri)?;
    let route = node.coordinator.fleet.route();
    let index = id.as_str().and_then(|name| route.placement().find(name));
    let index = index.ok_or_else(no_such_node)?;
    let share = route.placement().shares()[index];
    Ok(Json(node.info(&route, index, share).await))
}

/// The name in a path `/nodes/{id}`, which is still percent-encoded.
pub(super) fn name_of(uri: &Uri) -> Result<Key, Problem> {
    Key::from_path_segment(uri.path().strip_prefix("/nodes/").unwrap_or_default()).map_err(|_| {
        Problem::new(ErrorCode::BadRequest, "a node's name is 1 to 250 bytes, percent-encoded once")
    })
}

pub(super) fn no_such_node() -> Problem {
    Problem::new(ErrorCode::NotFound, "no node of this name; GET /nodes lists them")
}

impl Node {
    /// What is known of a node, its figures asked for.
    pub(super) async fn info(&self, route: &Route, index: usize, ring_share: f64) -> NodeInfo {
        let placed = &route.placement().nodes()[index];
        let roster = route.placement().roster();
        let health =
            if placed.is_alive { route.hop().health(index, FIGURES_TIMEOUT).await.ok() } else { None };
        let node = &placed.seat.node;
        let member = roster.find(&node.name);
        let role = match member {
            None => MemberState::Gone,
            Some(member) if member.is_going() => MemberState::Leaving,
            Some(_) if placed.in_base => MemberState::Member,
            Some(_) => MemberState::Joining,
        };
        NodeInfo {
            id: node.name.clone(),
            address: node.address.clone(),
            zone: node.zone.clone(),
            weight: node.weight,
            state: route.state(index),
            member: role,
            settled: route.placement().is_settled()
                || member.is_some_and(|member| member.settled == roster.epoch()),
            ring_share,
            store: health.as_ref().and_then(|health| health.store),
            settling: health.and_then(|health| health.settling),
        }
    }
}
