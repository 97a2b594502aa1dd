//! Copies as HTTP: headers in, headers out.

use annulus_protocol::hop::{
    CONDITION_HEADER, Condition, CopyState, FLAGS_HEADER, MEMORY_MS_HEADER, MISS_HEADER, ORIGIN_HEADER,
    PREVIOUS_HEADER, PREVIOUS_LIVE_HEADER, PROMISED_HEADER, Refusal, TAKEN_HEADER, TOMBSTONE_HEADER,
    TTL_LEFT_MS_HEADER, Taken, TakenBefore, VERSION_HEADER,
};
use annulus_protocol::value::{OCTET_STREAM, check_content_type};
use annulus_protocol::{ErrorCode, Problem, Version};
use annulus_service::ApiError;
use annulus_service::body::Share;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

const ORIGIN: HeaderName = HeaderName::from_static(ORIGIN_HEADER);
const TAKEN: HeaderName = HeaderName::from_static(TAKEN_HEADER);
const MEMORY_MS: HeaderName = HeaderName::from_static(MEMORY_MS_HEADER);
const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);
const TTL_LEFT_MS: HeaderName = HeaderName::from_static(TTL_LEFT_MS_HEADER);
const FLAGS: HeaderName = HeaderName::from_static(FLAGS_HEADER);
const MISS: HeaderName = HeaderName::from_static(MISS_HEADER);
const PROMISED: HeaderName = HeaderName::from_static(PROMISED_HEADER);
const TOMBSTONE: HeaderName = HeaderName::from_static(TOMBSTONE_HEADER);
const PREVIOUS: HeaderName = HeaderName::from_static(PREVIOUS_HEADER);
const PREVIOUS_LIVE: HeaderName = HeaderName::from_static(PREVIOUS_LIVE_HEADER);

/// What a write's headers say.
pub(crate) struct WriteHeaders<'a> {
    pub(crate) version: Version,
    pub(crate) content_type: &'a str,
    pub(crate) flags: u32,
    pub(crate) origin: Option<Version>,
    pub(crate) ttl_left_ms: Option<u64>,
    pub(crate) condition: Condition,
}

impl<'a> WriteHeaders<'a> {
    pub(crate) fn read(headers: &'a HeaderMap, now_ms: u64) -> Result<Self, Problem> {
        let content_type = match headers.get(CONTENT_TYPE) {
            None => OCTET_STREAM,
            Some(value) => check_content_type(value.as_bytes()).map_err(bad)?,
        };
        let condition =
            match headers.get(CONDITION_HEADER) {
                None => Condition::Always,
                Some(value) => value.to_str().ok().and_then(Condition::parse).ok_or_else(|| {
                    bad(format!("{CONDITION_HEADER}: absent, present, promised or version=N"))
                })?,
            };
        Ok(Self {
            version: version(headers, now_ms)?,
            content_type,
            flags: number(headers, &FLAGS)?.unwrap_or(0),
            origin: number(headers, &ORIGIN)?.map(Version),
            ttl_left_ms: number(headers, &TTL_LEFT_MS)?,
            condition,
        })
    }
}

/// How far a master's clock may be ahead. A version of the far future could never be written over.
const MAX_AHEAD_MS: u64 = 3_600_000;

/// The version that a write or a promise makes: 1 or more, and of the present.
pub(crate) fn version(headers: &HeaderMap, now_ms: u64) -> Result<Version, Problem> {
    match number(headers, &VERSION)?.map(Version) {
        Some(version) if version.unix_ms() > now_ms + MAX_AHEAD_MS => Err(bad(format!(
            "{VERSION_HEADER} is more than an hour ahead of this node's clock: check the clocks of both"
        ))),
        Some(version) if version > Version::ZERO => Ok(version),
        _ => Err(bad(format!(
            "{VERSION_HEADER} is missing or 0; an auxiliary takes writes of masters, so write through a master"
        ))),
    }
}

fn number<T: std::str::FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<Option<T>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    match value.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(bad(format!("{name}: not a number in range"))),
    }
}

fn bad(detail: String) -> Problem {
    Problem::new(ErrorCode::BadRequest, detail)
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

/// The answer to a write that was taken.
pub(crate) fn taken_response(taken: Taken) -> Response {
    let mut response = Response::new(Body::empty());
    if let Some(previous) = taken.previous {
        response.headers_mut().insert(PREVIOUS, previous.0.into());
    }
    if taken.was_live {
        response.headers_mut().insert(PREVIOUS_LIVE, HeaderValue::from_static("1"));
    }
    response
}

/// The answer to a write or promise that was refused.
pub(crate) fn refusal_response(refusal: Refusal) -> Response {
    let (code, detail, version) = match refusal {
        Refusal::Newer { version, .. } => {
            (ErrorCode::Conflict, "a newer version is known here", Some(version))
        }
        Refusal::Promised(version) => {
            (ErrorCode::Conflict, "a newer version is promised here", Some(version))
        }
        Refusal::Condition(live) => (ErrorCode::PreconditionFailed, "the condition does not hold here", live),
        Refusal::TooLarge => (ErrorCode::TooLarge, "the entry does not fit into this node's memory", None),
        Refusal::Busy => (ErrorCode::Overloaded, "too many promises stand; try again after a moment", None),
    };
    let mut response = ApiError::new(code, detail).into_response();
    if let Some(version) = version {
        response.headers_mut().insert(VERSION, version.0.into());
    }
    match refusal {
        Refusal::Newer { taken: TakenBefore::Yes, .. } => {
            response.headers_mut().insert(TAKEN, HeaderValue::from_static("1"));
        }
        Refusal::Newer { taken: TakenBefore::NotWithin { ms }, .. } => {
            response.headers_mut().insert(MEMORY_MS, ms.into());
        }
        _ => {}
    }
    if matches!(refusal, Refusal::Promised(_)) {
        response.headers_mut().insert(PROMISED, HeaderValue::from_static("1"));
    }
    response
}
