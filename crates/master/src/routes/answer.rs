//! Entries as HTTP answers.

use annulus_protocol::condition::etag;
use annulus_protocol::duration::deadline_ms;
use annulus_protocol::problem::ErrorCode;
use annulus_protocol::rest::{Stored, entry_json, shown_key};
use annulus_protocol::value::StoredValue;
use annulus_protocol::{Key, Problem, Version};
use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};

/// An entry as JSON or as its bytes.
pub(super) fn entry(key: &Key, stored: &StoredValue, raw: bool, now_ms: u64) -> Response {
    let (body, content_type) = if raw {
        let content_type = HeaderValue::from_str(&stored.content.content_type);
        (Body::from(stored.content.bytes.clone()), content_type.unwrap_or(OCTET_STREAM))
    } else {
        (Body::from(entry_json(key, stored)), JSON)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    describe(response.headers_mut(), stored, now_ms);
    response
}

const OCTET_STREAM: HeaderValue = HeaderValue::from_static("application/octet-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// 304: what the client has is current.
pub(super) fn not_modified(stored: &StoredValue, now_ms: u64) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    describe(response.headers_mut(), stored, now_ms);
    response
}

/// `ETag`, and how long others may keep the entry: as long as it lives, or only with asking again where it lives on.
fn describe(headers: &mut HeaderMap, stored: &StoredValue, now_ms: u64) {
    insert_etag(headers, stored.version);
    headers.insert(VARY, HeaderValue::from_static("accept"));
    let Some(left_ms) = stored.ttl_left_ms else {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        return;
    };
    // What is left is max-age minus Age (RFC 9111 §4.2); rounded down, so that nobody keeps it too long.
    let age = now_ms.saturating_sub(stored.version.unix_ms()) / 1000;
    let max_age = age + left_ms / 1000;
    if let Ok(value) = HeaderValue::from_str(&format!("max-age={max_age}")) {
        headers.insert(CACHE_CONTROL, value);
    }
    headers.insert(AGE, age.into());
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
