//! `/entries`: what masters ask of this node's copies.

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::hop::{CopyState, EPOCH_HEADER, INCARNATION_HEADER};
use annulus_protocol::{Key, Problem};
use annulus_service::ApiError;
use annulus_service::body::Share;
use annulus_service::metrics::{OperationMetrics, Outcome};
use annulus_service::telemetry::{TRACEPARENT, TraceContext};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Uri};

use crate::Node;
use crate::copies::Incoming;
use crate::members::{Members, Turned};
use crate::settle::turned_away;
use crate::wire::{self, WriteHeaders};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INCARNATION: HeaderName = HeaderName::from_static(INCARNATION_HEADER);
/// How long an answer waits for its share of the bytes under way.
const SHARE_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) fn entries(node: Arc<Node>) -> Router {
    Router::new()
        .route("/entries/{key}", get(read).put(write).delete(write))
        .route("/entries/{key}/promise", post(promise))
        .with_state(node)
}

/// The key of a path `/entries/{key}` or `/entries/{key}/promise`, which is still percent-encoded.
fn key_of(uri: &Uri) -> Result<Key, Problem> {
    let path = uri.path();
    let segment = path.strip_prefix("/entries/").unwrap_or(path);
    let segment = segment.strip_suffix("/promise").unwrap_or(segment);
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

impl Node {
    /// Does something with a key in one step, if the caller goes by the same roster. Otherwise gives the answer that says so.
    fn admitted<T>(&self, headers: &HeaderMap, key: &Key, work: impl FnOnce() -> T) -> Result<T, Turned> {
        let Some(members) = &self.members else { return Ok(work()) };
        let epoch = headers.get(EPOCH_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        let _admitted = members.admit(epoch, annulus_ring::key_hash(key.as_bytes()))?;
        Ok(work())
    }

    fn turn_away(&self, turned: Turned) -> (Outcome, Response) {
        let epoch = self.members.as_ref().and_then(Members::roster).map_or(0, |roster| roster.epoch());
        (Outcome::Rejected, turned_away(turned, epoch))
    }
}

async fn read(State(node): State<Arc<Node>>, uri: Uri, headers: HeaderMap) -> Response {
    node.serve(&node.metrics.get, headers.get(TRACEPARENT), read_copy(&node, &uri, &headers)).await
}

async fn read_copy(node: &Node, uri: &Uri, headers: &HeaderMap) -> Result<(Outcome, Response), Problem> {
    let key = key_of(uri)?;
    let state = match node.admitted(headers, &key, || node.copies.get(&key)) {
        Ok(state) => state,
        Err(turned) => return Ok(node.turn_away(turned)),
    };
    node.metrics.count_lookup(&state);
    match &state {
        CopyState::Value(stored) => {
            let share = node.bodies.budget().acquire(stored.content.bytes.len(), SHARE_PATIENCE).await?;
            Ok((Outcome::Ok, wire::state_response(state, share)))
        }
        CopyState::Miss { .. } => Ok((Outcome::Miss, wire::state_response(state, Share::default()))),
    }
}

async fn write(State(node): State<Arc<Node>>, request: Request) -> Response {
    let deletes = request.method() == http::Method::DELETE;
    let trace = request.headers().get(TRACEPARENT).cloned();
    let operation = if deletes { &node.metrics.delete } else { &node.metrics.put };
    node.serve(operation, trace.as_ref(), write_copy(&node, request, deletes)).await
}

async fn write_copy(node: &Node, request: Request, deletes: bool) -> Result<(Outcome, Response), Problem> {
    let (parts, body) = request.into_parts();
    let key = key_of(&parts.uri)?;
    let write = WriteHeaders::read(&parts.headers, node.clock.now_ms())?;
    let (bytes, _share) = read_body(node, &parts.headers, body, deletes).await?;
    let incoming = Incoming {
        version: write.version,
        value: (!deletes).then_some(&bytes),
        content_type: write.content_type,
        flags: write.flags,
        origin: write.origin,
        ttl_left_ms: write.ttl_left_ms,
        condition: write.condition,
    };
    Ok(match node.admitted(&parts.headers, &key, || node.copies.put(&key, &incoming)) {
        Ok(Ok(taken)) => (Outcome::Ok, wire::taken_response(taken)),
        Ok(Err(refusal)) => (Outcome::Rejected, wire::refusal_response(refusal)),
        Err(turned) => node.turn_away(turned),
    })
}

async fn read_body(
    node: &Node,
    headers: &HeaderMap,
    body: Body,
    deletes: bool,
) -> Result<(bytes::Bytes, Share), Problem> {
    let limit = if deletes { 0 } else { node.max_value_bytes };
    node.bodies.read(headers, body, limit).await
}

async fn promise(State(node): State<Arc<Node>>, uri: Uri, headers: HeaderMap) -> Response {
    let work = async { promise_copy(&node, &uri, &headers) };
    node.serve(&node.metrics.promise, headers.get(TRACEPARENT), work).await
}

fn promise_copy(node: &Node, uri: &Uri, headers: &HeaderMap) -> Result<(Outcome, Response), Problem> {
    let (key, version) = (key_of(uri)?, wire::version(headers, node.clock.now_ms())?);
    Ok(match node.admitted(headers, &key, || node.copies.promise(&key, version)) {
        Err(turned) => node.turn_away(turned),
        Ok(Ok(state)) => (Outcome::Ok, wire::state_response(state, Share::default())),
        Ok(Err(refusal)) => (Outcome::Rejected, wire::refusal_response(refusal)),
    })
}
