//! `POST /nodes` and `DELETE /nodes/{id}`: who comes, and who has to go.

use std::sync::Arc;

use annulus_cluster::{AuthorityError, Beat, BeatError, Roster};
use annulus_protocol::handshake::{JoinRequest, Nonce, Refusal, Registration};
use annulus_protocol::hop::SEAL_HEADER;
use annulus_protocol::problem::PROBLEM_JSON;
use annulus_protocol::rest::NodeInfo;
use annulus_protocol::value::JSON;
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::ApiError;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, StatusCode, Uri};

use super::At;
use super::nodes::name_of;
use super::openapi::{RegisterProblems, RemoveProblems};
use crate::Node;

/// The largest request: it carries a roster, as text within text.
const MAX_BYTES: usize = 2 << 20;
const BY_HAND: &str = "nodes register themselves: start one with auxiliary.master_address (MASTER_ADDRESS) and the \
                       cluster's secret";

/// Register a node
///
/// Auxiliaries send this themselves, again and again, sealed with the cluster's secret; it cannot be sent by hand. A node that
/// is new here is called back at the address that it gives. The answer carries the roster, sealed in the header
/// `annulus-seal`.
#[utoipa::path(post, path = "/nodes", operation_id = "register_node", tag = "nodes",
    request_body = super::openapi::Join,
    responses(
        (status = 200, description = "Known, or waiting to be let in: the roster", body = serde_json::Value),
        (status = 201, description = "Has become a member: the roster", body = serde_json::Value),
        (status = 204, description = "Has said farewell"),
        RegisterProblems))]
pub(super) async fn register(State(At { node, .. }): State<At>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match node.take_registration(&parts.headers, body).await {
        Ok(response) => response,
        Err(problem) => ApiError(problem).into_response(),
    }
}

/// Remove a node
///
/// It hands over what it holds, and then its process ends. `GET /nodes` shows how far it is; named again, it answers the same.
#[utoipa::path(delete, path = "/nodes/{id}", operation_id = "remove_node", tag = "nodes",
    params(("id" = String, Path, description = "The node's name", min_length = 1)),
    responses((status = 202, description = "It leaves: the node", body = NodeInfo), RemoveProblems))]
pub(super) async fn remove(
    State(At { node, .. }): State<At>,
    uri: Uri,
) -> Result<(StatusCode, Json<NodeInfo>), ApiError> {
    let id = name_of(&uri)?;
    let Some(name) = id.as_str() else { return Err(super::nodes::no_such_node().into()) };
    let roster = node.authority.retire(name).await.map_err(explain)?;
    let fleet = &node.coordinator.fleet;
    fleet.adopt(&roster);
    tracing::info!(node = name, "told to leave: it hands over what it holds");
    let route = fleet.route();
    let index = route.placement().find(name).ok_or_else(super::nodes::no_such_node)?;
    let share = route.placement().shares()[index];
    Ok((StatusCode::ACCEPTED, Json(node.info(&route, index, share).await)))
}

impl Node {
    async fn take_registration(&self, headers: &HeaderMap, body: Body) -> Result<Response, Problem> {
        let secret = self.admission.secret()?;
        let (join, _share): (JoinRequest, _) =
            self.read_json(headers, body, MAX_BYTES).await.map_err(|problem| match problem.code {
                ErrorCode::BadJson | ErrorCode::UnsupportedMediaType => {
                    Problem::new(problem.code, format!("no request of a node: {BY_HAND}"))
                }
                _ => problem,
            })?;
        let nonce = join.nonce();
        match join.open::<Registration<Beat, Roster>>(secret)? {
            Registration::Farewell { name, incarnation } => {
                self.authority.release(&name, incarnation).await.map_err(explain)?;
                sealed(secret.roster_tag(nonce, &name, b""), StatusCode::NO_CONTENT, JSON, Vec::new())
            }
            Registration::Beat { beat, known, previous } => {
                let name = beat.seat.node.name.clone();
                let (status, content_type, json) = match self.take_beat(nonce, beat, known, previous).await? {
                    Ok((status, roster)) => (status, JSON, serde_json::to_vec(&*roster)),
                    Err(refusal) => (StatusCode::CONFLICT, PROBLEM_JSON, serde_json::to_vec(&refusal)),
                };
                let json = json.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
                sealed(secret.roster_tag(nonce, &name, &json), status, content_type, json)
            }
        }
    }

    /// The inner error is what the authority has against the beat: the node goes by it, so it is sealed as rosters are.
    async fn take_beat(
        &self,
        nonce: Nonce,
        beat: Beat,
        known: Option<Roster>,
        previous: Option<Nonce>,
    ) -> Result<Result<(StatusCode, Arc<Roster>), Refusal<BeatError>>, Problem> {
        let seat = beat.seat.clone();
        seat.node.check().map_err(|error| explain(error.into()))?;
        let fleet = &self.coordinator.fleet;
        let is_member = |roster: &Roster| {
            roster.find(&seat.node.name).is_some_and(|member| {
                let known = &member.seat;
                known.incarnation == seat.incarnation && known.node.address == seat.node.address
            })
        };
        let route = fleet.route();
        let roster = route.placement().roster();
        // Lives are numbered but in a fixed list, to which nobody can be added.
        if roster.members().iter().any(|member| member.seat.incarnation == 0) {
            return Err(explain(AuthorityError::StaticList));
        }
        let was_member = is_member(roster);
        if !was_member || !self.admission.continues(&seat, previous) {
            self.admission.call_back(&seat, nonce, self.clock.now_us()).await?;
        }
        match self.authority.beat(beat, known.map(Arc::new)).await {
            Ok(roster) => {
                self.admission.answered(&seat, nonce);
                let is_new = !was_member && is_member(&roster);
                if is_new {
                    tracing::info!(node = seat.node.name, address = seat.node.address, "has registered");
                }
                fleet.adopt(&roster);
                Ok(Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, roster)))
            }
            Err(AuthorityError::Beat(beat)) => {
                Ok(Err(Refusal { problem: Problem::new(ErrorCode::Conflict, beat.to_string()), beat }))
            }
            Err(error) => Err(explain(error)),
        }
    }
}

fn sealed(
    tag: annulus_protocol::handshake::Tag,
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
) -> Result<Response, Problem> {
    let seal = HeaderValue::try_from(tag.to_string());
    let seal = seal.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?;
    let mut response = (status, body).into_response();
    response.headers_mut().insert(SEAL_HEADER, seal);
    if status == StatusCode::NO_CONTENT {
        response.headers_mut().remove(CONTENT_TYPE);
    } else {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    Ok(response)
}

/// What the authority says, as an answer.
#[expect(clippy::needless_pass_by_value, reason = "so that it fits map_err")]
fn explain(error: AuthorityError) -> Problem {
    let code = match error {
        AuthorityError::NotFound => return super::nodes::no_such_node(),
        AuthorityError::Node(_) => ErrorCode::BadRequest,
        AuthorityError::Beat(_)
        | AuthorityError::Unsettled
        | AuthorityError::Last
        | AuthorityError::Wanted(_)
        | AuthorityError::NoPod(_)
        | AuthorityError::StaticList => ErrorCode::Conflict,
        AuthorityError::Unreachable(_) | AuthorityError::Contended => ErrorCode::MembershipUnavailable,
    };
    Problem::new(code, error.to_string())
}
