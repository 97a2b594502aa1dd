//! A copy as HTTP, and what a version must be.

use annulus_protocol::Version;
use annulus_protocol::hop::{
    CopyState, FLAGS_HEADER, MARKS_HEADER, MISS_HEADER, ORIGIN_HEADER, TOMBSTONE_HEADER, TTL_LEFT_MS_HEADER,
    VERSION_HEADER,
};
use annulus_service::body::Share;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

const ORIGIN: HeaderName = HeaderName::from_static(ORIGIN_HEADER);
const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);
const TTL_LEFT_MS: HeaderName = HeaderName::from_static(TTL_LEFT_MS_HEADER);
const FLAGS: HeaderName = HeaderName::from_static(FLAGS_HEADER);
const MARKS: HeaderName = HeaderName::from_static(MARKS_HEADER);
const MISS: HeaderName = HeaderName::from_static(MISS_HEADER);
const TOMBSTONE: HeaderName = HeaderName::from_static(TOMBSTONE_HEADER);

/// How far a master's clock may be ahead. A version of the far future could never be written over.
const MAX_AHEAD_MS: u64 = 3_600_000;

/// What is wrong with a version that a write or a promise makes: it must be 1 or more, and of the present.
pub(crate) fn check_version(version: Version, now_ms: u64) -> Result<(), &'static str> {
    if version.unix_ms() > now_ms + MAX_AHEAD_MS {
        return Err("the version is more than an hour ahead of this node's clock: check the clocks of both");
    }
    if version > Version::ZERO { Ok(()) } else { Err("a write needs a version") }
}

/// The answer to a read: the value, or a 404 that says which version the copy knows of.
pub(crate) fn state_response(state: CopyState, share: Share) -> Response {
    match state {
        CopyState::Value(stored) => {
            let mut response = Response::new(Body::from(share.attach(stored.content.bytes)));
            let headers = response.headers_mut();
            headers.insert(VERSION, stored.version.0.into());
            if let Ok(content_type) = HeaderValue::from_str(&stored.content.content_type) {
                headers.insert(CONTENT_TYPE, content_type);
            }
            if let Some(left) = stored.ttl_left_ms {
                headers.insert(TTL_LEFT_MS, left.into());
            }
            if let Some(origin) = stored.origin {
                headers.insert(ORIGIN, origin.0.into());
            }
            if stored.flags != 0 {
                headers.insert(FLAGS, stored.flags.into());
            }
            if stored.marks != 0 {
                headers.insert(MARKS, u16::from(stored.marks).into());
            }
            response
        }
        CopyState::Miss { version, reason, tombstone } => {
            let mut response = StatusCode::NOT_FOUND.into_response();
            let headers = response.headers_mut();
            headers.insert(VERSION, version.0.into());
            headers.insert(MISS, HeaderValue::from_static(reason.as_str()));
            if tombstone {
                headers.insert(TOMBSTONE, HeaderValue::from_static("1"));
            }
            response
        }
    }
}
