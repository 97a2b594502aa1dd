//! Entries as HTTP answers.

use std::time::Duration;

use annulus_protocol::condition::etag;
use annulus_protocol::duration::deadline_ms;
use annulus_protocol::problem::ErrorCode;
use annulus_protocol::rest::{Stored, shown_key};
use annulus_protocol::value::StoredValue;
use annulus_protocol::{Key, Problem, Version};
use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};

/// How long an answer waits for its share of the bytes under way.
pub(super) const PATIENCE: Duration = Duration::from_millis(100);

/// The most that an entry takes as JSON: values may grow by escapes sixfold, where they are text.
pub(super) fn json_bytes(stored: &StoredValue) -> usize {
    let len = stored.content.bytes.len();
    let escapes =
        stored.content.bytes.iter().filter(|byte| **byte < b' ' || matches!(byte, b'"' | b'\\')).count();
    len + len / 3 + 5 * escapes + 1024
}

/// An entry as JSON.
pub(super) fn json_entry(body: Bytes, stored: &StoredValue) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    describe(response.headers_mut(), stored);
    response
}

/// An entry as its bytes. What a client stored must not run as a page of this server's.
pub(super) fn raw_entry(stored: &StoredValue) -> Response {
    let mut response = Response::new(Body::from(stored.content.bytes.clone()));
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_str(&stored.content.content_type);
    headers.insert(CONTENT_TYPE, content_type.unwrap_or(OCTET_STREAM));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    describe(headers, stored);
    response
}

const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 304: what the client has is current.
pub(super) fn not_modified(stored: &StoredValue) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    describe(response.headers_mut(), stored);
    response
}

/// `ETag`, and how long others may keep the entry: as long as it lives, or only with asking again where it lives on.
fn describe(headers: &mut HeaderMap, stored: &StoredValue) {
    insert_etag(headers, stored.version);
    headers.insert(VARY, HeaderValue::from_static("accept"));
    let Some(left_ms) = stored.ttl_left_ms else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return;
    };
    // What is left to live, rounded down. An honest Age beside the whole TTL would say the same (RFC 9111 §4.2), but nginx
    // does not take Age off max-age and would keep the entry too long.
    let max_age = left_ms / 1000;
    if let Ok(value) = HeaderValue::from_str(&format!("max-age={max_age}")) {
        headers.insert(CACHE_CONTROL, value);
    }
    headers.insert(AGE, HeaderValue::from_static("0"));
}

fn insert_etag(headers: &mut HeaderMap, version: Version) {
    if let Ok(value) = HeaderValue::from_str(&etag(version)) {
        headers.insert(ETAG, value);
    }
}

/// What a write's answer says.
pub(super) fn stored(key: &Key, version: Version, ttl_seconds: Option<u64>, now_ms: u64) -> Stored {
    Stored { key: shown_key(key), version, expires_at: deadline_ms(now_ms, ttl_seconds) }
}

/// A write's answer, with its `ETag`.
pub(super) fn written(stored: &Stored) -> Response {
    let mut response = Json(stored).into_response();
    insert_etag(response.headers_mut(), stored.version);
    response
}

pub(super) fn not_found() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is no entry under this key")
}

pub(super) fn precondition_failed(current: Option<Version>) -> Problem {
    let detail = match current {
        Some(version) => format!("the current version is \"{version}\""),
        None => "there is no entry under this key".to_owned(),
    };
    Problem::new(ErrorCode::PreconditionFailed, detail)
}
