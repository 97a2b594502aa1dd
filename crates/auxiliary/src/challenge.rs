//! `POST /challenge`: a master asks whether it was this node that wants to register.

use std::sync::Arc;

use annulus_protocol::handshake::{Challenge, ChallengeAnswer, Identity, Nonce};
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::ApiError;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};

use crate::Node;

/// The largest challenge: names and addresses are short.
const MAX_BYTES: usize = 16 * 1024;

/// The route. Who is asked for is what the authority waits for at that moment.
pub(crate) fn routes(node: Arc<Node>) -> Router {
    Router::new().route("/challenge", post(challenge)).with_state(node)
}

async fn challenge(State(node): State<Arc<Node>>, request: Request) -> Response {
    match node.answer_challenge(request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(problem) => ApiError(problem).into_response(),
    }
}

impl Node {
    async fn answer_challenge(&self, request: Request) -> Result<ChallengeAnswer, Problem> {
        let (parts, body) = request.into_parts();
        let (bytes, _share) = self.bodies.read(&parts.headers, body, MAX_BYTES).await?;
        let challenge: Challenge = serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(ErrorCode::BadJson, format!("no challenge of a master: {error}"))
        })?;
        let (Some(secret), Some(members)) = (&self.secret, &self.members) else {
            return Err(Problem::new(ErrorCode::Conflict, "this node registers with nobody"));
        };
        let own = Identity {
            name: members.name().to_owned(),
            address: members.address().to_owned(),
            incarnation: members.incarnation(),
        };
        let join = self.authority.as_ref().and_then(|authority| authority.asks_back_for()).map(Nonce);
        Ok(challenge.answer(secret, &own, join)?)
    }
}
