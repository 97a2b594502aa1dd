//! `/data`: one entry at a time.

use annulus_protocol::condition::Precondition;
use annulus_protocol::hop::CopyState;
use annulus_protocol::rest::{Deleted, StoreRequest, entry_json, shown_key};
use annulus_protocol::value::{Content, OCTET_STREAM, StoredValue, check_content_type};
use annulus_protocol::{ErrorCode, Key, Problem};
use annulus_service::telemetry::TraceContext;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Uri};
use serde::de::DeserializeOwned;

use super::At;
use super::answer;
use super::openapi::{ReadProblems, StoreProblems, WriteProblems};
use super::query::{self, DataQuery};
use crate::Node;
use crate::coordinator::{Change, Outcome, Written};

/// What JSON adds to a value at most: six characters for each control character, and the rest of the document.
const JSON_BLOW_UP: usize = 6;
const JSON_AROUND_BYTES: usize = 8 * 1024;

/// Read an entry
///
/// As JSON, or as its bytes with `?raw` or `Accept: application/octet-stream`. `HEAD` answers the same without a body.
#[utoipa::path(get, path = "/data/{key}", operation_id = "read_entry", tag = "data",
    params(
        ("key" = String, Path, description = "1 to 250 bytes, any bytes, percent-encoded once; a slash is %2F", min_length = 1),
        ("raw" = Option<bool>, Query, description = "Answer with the bytes"),
        ("consistency" = Option<super::openapi::ConsistencyName>, Query, description = "How many copies to ask"),
        ("If-None-Match" = Option<String>, Header, description = "304 if the entry's ETag is among these"),
        super::openapi::CommonHeaders),
    responses(
        (status = 200, description = "The entry as JSON; raw: its bytes under its own content type, which may be JSON too",
            content((super::openapi::EntryOrJson = "application/json"), (super::openapi::Bytes = "*/*")),
            headers(("ETag" = String, description = "The version, quoted"),
                    ("Cache-Control" = String, description = "max-age from the TTL, no-cache where there is none"),
                    ("Age" = Option<u64>, description = "0, where it has a TTL"))),
        (status = 304, description = "What the client has is current"),
        ReadProblems))]
pub(super) async fn read(State(node): State<At>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    node.serve(&node.metrics.get, &parts.headers, async |trace| node.read_entry(&parts, trace).await).await
}

/// Store an entry as JSON
///
/// A string is stored as its text, any other JSON value as its JSON.
#[utoipa::path(post, path = "/data", operation_id = "store_json", tag = "data", request_body = StoreRequest,
    params(
        ("If-Match" = Option<String>, Header, description = "Write only if the current ETag is among these (compare-and-swap)"),
        ("If-None-Match" = Option<String>, Header, description = "Write only if the current ETag is not among these; * only if there is none (add)"),
        super::openapi::CommonHeaders),
    responses((status = 200, description = "Stored", body = annulus_protocol::rest::Stored), StoreProblems))]
pub(super) async fn store(State(node): State<At>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async |trace| node.store_json(&parts, body, trace).await;
    node.serve(&node.metrics.put, &parts.headers, work).await
}

/// Store bytes
///
/// The body is the value, kept with its content type. The TTL comes from `?ttl=` or `Cache-Control: max-age`.
#[utoipa::path(put, path = "/data/{key}", operation_id = "store_bytes", tag = "data",
    request_body(content = String, content_type = "application/octet-stream", description = "The value"),
    params(
        ("key" = String, Path, description = "1 to 250 bytes, any bytes, percent-encoded once; a slash is %2F", min_length = 1),
        ("ttl" = Option<u64>, Query, description = "Seconds to live; 0: no expiry", maximum = 315_360_000),
        ("Cache-Control" = Option<String>, Header, description = "max-age: seconds to live, where there is no ttl"),
        ("If-Match" = Option<String>, Header, description = "Write only if the current ETag is among these (compare-and-swap)"),
        ("If-None-Match" = Option<String>, Header, description = "Write only if the current ETag is not among these; * only if there is none (add)"),
        super::openapi::CommonHeaders),
    responses((status = 200, description = "Stored", body = annulus_protocol::rest::Stored), WriteProblems))]
pub(super) async fn write(State(node): State<At>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async |trace| node.store_bytes(&parts, body, trace).await;
    node.serve(&node.metrics.put, &parts.headers, work).await
}

/// Remove an entry
#[utoipa::path(delete, path = "/data/{key}", operation_id = "delete_entry", tag = "data",
    params(
        ("key" = String, Path, description = "1 to 250 bytes, any bytes, percent-encoded once; a slash is %2F", min_length = 1),
        ("If-Match" = Option<String>, Header, description = "Remove only if the current ETag is among these"),
        super::openapi::CommonHeaders),
    responses((status = 200, description = "Removed", body = Deleted),
        (status = 404, description = "There was no entry", body = Problem, content_type = "application/problem+json"),
        WriteProblems))]
pub(super) async fn delete(State(node): State<At>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let work = async |trace| node.delete_entry(&parts, trace).await;
    node.serve(&node.metrics.delete, &parts.headers, work).await
}

/// The key of a path `/data/{key}`, still percent-encoded.
fn key_of(uri: &Uri) -> Result<Key, Problem> {
    let path = uri.path();
    Ok(Key::from_path_segment(path.strip_prefix("/data/").unwrap_or(path))?)
}

impl At {
    async fn read_entry(&self, parts: &Parts, trace: TraceContext) -> Result<Response, Problem> {
        let key = key_of(&parts.uri)?;
        let query = DataQuery::parse(parts.uri.query(), &["raw", "consistency"])?;
        let if_none_match = query::precondition(&parts.headers)?.if_none_match;
        let raw = query.raw || query::accepts_bytes(&parts.headers);
        let context = self.context(&parts.headers, &query, trace)?;
        match self.in_time(&context, self.node.read(&key, &context)).await? {
            CopyState::Value(stored) => {
                self.metrics.hits.inc();
                if if_none_match.is_some_and(|tags| tags.matches(Some(stored.version))) {
                    return Ok(answer::not_modified(&stored));
                }
                self.entry_response(&key, &stored, raw).await
            }
            CopyState::Miss { reason, .. } => {
                self.metrics.misses[reason as usize].inc();
                Err(answer::not_found())
            }
        }
    }

    async fn store_json(&self, parts: &Parts, body: Body, trace: TraceContext) -> Result<Response, Problem> {
        let query = DataQuery::parse(parts.uri.query(), &[])?;
        let precondition = query::precondition(&parts.headers)?;
        let limit = self.max_value_bytes * JSON_BLOW_UP + JSON_AROUND_BYTES;
        let (request, _share): (StoreRequest, _) = self.read_json(&parts.headers, body, limit).await?;
        let key = Key::new(request.key.clone())?;
        let ttl_seconds = request.ttl_seconds()?;
        let content = request.content()?;
        self.check_value(&content.bytes)?;
        let change = change(Some(content), ttl_seconds);
        self.change(&key, &change, &precondition, parts, &query, trace).await.map(|written| {
            answer::written(&answer::stored(&key, written.version, ttl_seconds, self.clock.now_ms()))
        })
    }

    async fn store_bytes(&self, parts: &Parts, body: Body, trace: TraceContext) -> Result<Response, Problem> {
        let key = key_of(&parts.uri)?;
        let query = DataQuery::parse(parts.uri.query(), &["ttl"])?;
        let precondition = query::precondition(&parts.headers)?;
        let ttl_seconds = query::put_ttl_seconds(&query, &parts.headers)?;
        let content_type = match parts.headers.get(CONTENT_TYPE) {
            None => OCTET_STREAM,
            Some(value) => check_content_type(value.as_bytes())
                .map_err(|detail| Problem::new(ErrorCode::BadRequest, detail))?,
        };
        let (bytes, _share) = self.bodies.read(&parts.headers, body, self.max_value_bytes).await?;
        let change =
            change(Some(Content { content_type: content_type.to_owned().into(), bytes }), ttl_seconds);
        self.change(&key, &change, &precondition, parts, &query, trace).await.map(|written| {
            answer::written(&answer::stored(&key, written.version, ttl_seconds, self.clock.now_ms()))
        })
    }

    async fn delete_entry(&self, parts: &Parts, trace: TraceContext) -> Result<Response, Problem> {
        let key = key_of(&parts.uri)?;
        let query = DataQuery::parse(parts.uri.query(), &[])?;
        let precondition = query::precondition(&parts.headers)?;
        let written = self.change(&key, &change(None, None), &precondition, parts, &query, trace).await?;
        if !written.replaced {
            return Err(answer::not_found());
        }
        Ok(Json(Deleted { key: shown_key(&key), version: written.version }).into_response())
    }

    async fn change(
        &self,
        key: &Key,
        change: &Change,
        precondition: &Precondition,
        parts: &Parts,
        query: &DataQuery,
        trace: TraceContext,
    ) -> Result<Written, Problem> {
        let context = self.context(&parts.headers, query, trace)?;
        let work = async {
            if precondition.is_empty() {
                return self.node.write(key, change, &context).await;
            }
            match self.node.write_if(key, change, precondition, &context).await? {
                Outcome::Written(written) => Ok(written),
                Outcome::Failed(current) => Err(answer::precondition_failed(current)),
            }
        };
        self.in_time(&context, work).await
    }

    /// An entry as its client wants it. JSON may be several times as long as the bytes, so it draws on the budget itself.
    async fn entry_response(&self, key: &Key, stored: &StoredValue, raw: bool) -> Result<Response, Problem> {
        if raw {
            return Ok(answer::raw_entry(stored));
        }
        let share = self.bodies.budget().acquire(answer::json_bytes(stored), answer::PATIENCE).await?;
        let body = share.attach(entry_json(key, stored).into());
        Ok(answer::json_entry(body, stored))
    }

    pub(super) fn check_value(&self, bytes: &Bytes) -> Result<(), Problem> {
        let max = self.max_value_bytes;
        if bytes.len() <= max {
            return Ok(());
        }
        Err(Problem::new(
            ErrorCode::TooLarge,
            format!("the value is {} bytes; limits.max_value_bytes is {max}", bytes.len()),
        ))
    }
}

impl Node {
    /// Reads a JSON body.
    pub(super) async fn read_json<T: DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Body,
        limit: usize,
    ) -> Result<(T, annulus_service::body::Share), Problem> {
        if !is_json(headers) {
            return Err(Problem::new(
                ErrorCode::UnsupportedMediaType,
                "send Content-Type: application/json, or the bytes themselves with PUT /data/{key}",
            ));
        }
        let (bytes, share) = self.bodies.read(headers, body, limit).await?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(ErrorCode::BadJson, error.to_string()))?;
        Ok((value, share))
    }
}

/// A write of this value, or a delete, that lives `ttl_seconds`.
pub(super) fn change(value: Option<Content>, ttl_seconds: Option<u64>) -> Change {
    Change {
        value,
        ttl_left_ms: ttl_seconds.map(|ttl| ttl * 1000),
        flags: 0,
        marks: 0,
        cas: None,
        fetched: false,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
