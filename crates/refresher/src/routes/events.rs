//! Changes of a dataset as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! A stream holds no queue: it sends the newest revision whenever the client has taken what was sent before, so a client that
//! is slow misses revisions and costs no memory, and one that takes nothing is closed by the server's limit on writing.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::rest::DatasetEvent;
use annulus_protocol::{ErrorCode, Problem};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::no_dataset;
use crate::Node;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The longest silence: proxies close what is silent for longer, and so does this server.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub(super) async fn events(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    node.serve(&node.metrics.events, || {
        let changes = node.follower.changes(&name).ok_or_else(no_dataset)?;
        let seen = last_event_id(&headers)?;
        let permit = Arc::clone(&node.streams).try_acquire_owned().map_err(|_| {
            let detail = "too many streams of events; try again, or raise refresher.max_streams";
            Problem::new(ErrorCode::Overloaded, detail)
        })?;
        let heartbeat = HEARTBEAT.min(node.idle_timeout / 2);
        let open = Open::new(node.metrics.streams.clone(), permit);
        let stream = Stream { node: Arc::clone(&node), name, seen, changes, heartbeat, _open: open };
        let mut response = Body::from_stream(stream::unfold(stream, next)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx would hold events back until a buffer is full.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        Ok(response)
    })
}

/// The revision that the client has, as it was told in an event; 0: none.
fn last_event_id(headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(given) = headers.get(LAST_EVENT_ID) else { return Ok(0) };
    let number = given.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| {
        Problem::new(ErrorCode::BadRequest, "Last-Event-ID is the id of an event of this stream: a revision")
    })
}

struct Stream {
    node: Arc<Node>,
    name: String,
    seen: u64,
    changes: watch::Receiver<u64>,
    heartbeat: Duration,
    _open: Open,
}

/// The next bytes: an event where there is a revision that the client has not seen, or else, after a while, a comment.
async fn next(mut stream: Stream) -> Option<(Result<Bytes, Infallible>, Stream)> {
    let seen = stream.seen;
    let waited = timeout(stream.heartbeat, stream.changes.wait_for(|revision| *revision > seen)).await;
    let text = match waited.map(|changed| changed.map(|revision| *revision)) {
        Err(_) => ":\n\n".to_owned(),
        Ok(Err(_)) => return None,
        Ok(Ok(_)) => {
            let dataset = stream.node.follower.get(&stream.name)?;
            let (revision, updated_at) = (dataset.revision(), dataset.updated_ms() / 1000);
            stream.seen = revision;
            let event = DatasetEvent { dataset: stream.name.clone(), revision, updated_at };
            let data = serde_json::to_string(&event).ok()?;
            format!("id: {revision}\nevent: updated\ndata: {data}\n\n")
        }
    };
    Some((Ok(Bytes::from(text)), stream))
}

/// Counts a stream as open.
struct Open {
    streams: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(streams: IntGauge, permit: OwnedSemaphorePermit) -> Self {
        streams.inc();
        Self { streams, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.streams.dec();
    }
}
