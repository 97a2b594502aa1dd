//! `/entries`: one copy as it is, for people who look into a node.

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::hop::{CopyState, INCARNATION_HEADER};
use annulus_protocol::{Key, Problem};
use annulus_service::ApiError;
use annulus_service::body::Share;
use annulus_service::metrics::{OperationMetrics, Outcome};
use annulus_service::telemetry::{TRACEPARENT, TraceContext};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Uri};

use crate::Node;
use crate::wire;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INCARNATION: HeaderName = HeaderName::from_static(INCARNATION_HEADER);
/// How long an answer waits for its share of the bytes under way.
const SHARE_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) fn entries(node: Arc<Node>) -> Router {
    Router::new().route("/entries/{key}", get(read)).with_state(node)
}

/// The key of a path `/entries/{key}`, which is still percent-encoded.
fn key_of(uri: &Uri) -> Result<Key, Problem> {
    let path = uri.path();
    let segment = path.strip_prefix("/entries/").unwrap_or(path);
    Ok(Key::from_path_segment(segment)?)
}

impl Node {
    /// Runs one operation: its metrics, its trace, and the one place where its error becomes an answer.
    async fn serve(
        &self,
        operation: &OperationMetrics,
        trace: Option<&HeaderValue>,
        work: impl Future<Output = Result<(Outcome, Response), Problem>>,
    ) -> Response {
        let started_us = self.clock.now_us();
        let (outcome, mut response) = match work.await {
            Ok(answer) => answer,
            Err(problem) => (Outcome::from(problem.code), ApiError(problem).into_response()),
        };
        let micros = self.clock.now_us() - started_us;
        operation.observe(outcome, micros);
        if let Some(members) = &self.members {
            response.headers_mut().insert(INCARNATION, members.incarnation().into());
        }
        if let Some(trace) = trace.and_then(|header| TraceContext::parse(header.as_bytes())) {
            let id = trace.request_id();
            tracing::debug!(request_id = %id, outcome = outcome.as_str(), micros, "answered");
            if let Ok(id) = HeaderValue::from_str(id.as_str()) {
                response.headers_mut().insert(REQUEST_ID, id);
            }
        }
        response
    }
}

async fn read(State(node): State<Arc<Node>>, uri: Uri, headers: HeaderMap) -> Response {
    node.serve(&node.metrics.get, headers.get(TRACEPARENT), read_copy(&node, &uri)).await
}

async fn read_copy(node: &Node, uri: &Uri) -> Result<(Outcome, Response), Problem> {
    let state = node.copies.look_at(&key_of(uri)?);
    match &state {
        CopyState::Value(stored) => {
            let share = node.bodies.budget().acquire(stored.content.bytes.len(), SHARE_PATIENCE).await?;
            Ok((Outcome::Ok, wire::state_response(state, share)))
        }
        CopyState::Miss { .. } => Ok((Outcome::Miss, wire::state_response(state, Share::default()))),
    }
}
