//! The hop over HTTP/1.1.

use std::sync::Arc;

use annulus_cluster::{Node, View};
use annulus_protocol::hop::{
    CONDITION_HEADER, CopyState, CopyWrite, FLAGS_HEADER, MEMORY_MS_HEADER, MISS_HEADER, MissReason,
    ORIGIN_HEADER, PREVIOUS_HEADER, PREVIOUS_LIVE_HEADER, PROMISED_HEADER, Refusal, TAKEN_HEADER,
    TOMBSTONE_HEADER, TTL_LEFT_MS_HEADER, Taken, TakenBefore, VERSION_HEADER,
};
use annulus_protocol::rest::Health;
use annulus_protocol::value::{Content, OCTET_STREAM, StoredValue};
use annulus_protocol::{Key, Version};
use annulus_service::body::BodyReader;
use annulus_service::net::{Clock, Net};
use annulus_service::telemetry::TRACEPARENT;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Full;
use prometheus::Registry;

use super::metrics::PeerMetrics;
use super::pool::Pool;
use super::{Call, Hop, HopError};

const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);
const TTL_LEFT_MS: HeaderName = HeaderName::from_static(TTL_LEFT_MS_HEADER);
const FLAGS: HeaderName = HeaderName::from_static(FLAGS_HEADER);
const ORIGIN: HeaderName = HeaderName::from_static(ORIGIN_HEADER);
const CONDITION: HeaderName = HeaderName::from_static(CONDITION_HEADER);
const TRACE: HeaderName = HeaderName::from_static(TRACEPARENT);

/// What an auxiliary may answer beside a value, in bytes.
const SMALL_ANSWER_BYTES: usize = 64 * 1024;

/// Reaches auxiliaries over kept-alive HTTP connections.
pub struct HttpHop<N> {
    peers: Vec<Peer<N>>,
    bodies: BodyReader,
    max_value_bytes: usize,
    clock: Arc<dyn Clock>,
}

struct Peer<N> {
    pool: Pool<N>,
    host: HeaderValue,
    metrics: PeerMetrics,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl<N: Net> HttpHop<N> {
    /// A hop to the nodes of `view`. Answers draw on the budget of `bodies`.
    ///
    /// # Errors
    /// Where `registry` has the hop's metrics already.
    pub fn new(
        net: &N,
        view: &View,
        bodies: BodyReader,
        max_value_bytes: usize,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let names = view.nodes().iter().map(|node| node.name.as_str());
        let metrics = PeerMetrics::for_nodes(registry, names)?;
        let peer = |(node, metrics): (&Node, PeerMetrics)| Peer {
            host: HeaderValue::from_str(&node.address).unwrap_or(HeaderValue::from_static("auxiliary")),
            pool: Pool::new(net.clone(), node.address.clone()),
            metrics,
        };
        let peers = view.nodes().iter().zip(metrics).map(peer).collect();
        Ok(Self { peers, bodies, max_value_bytes, clock: net.clock() })
    }

    async fn exchange(
        &self,
        node: usize,
        mut request: Request<Full<Bytes>>,
        call: Call,
    ) -> Result<Answer, HopError> {
        let peer = &self.peers[node];
        request.headers_mut().insert(HOST, peer.host.clone());
        request.headers_mut().insert(TRACE, call.trace.header_value());
        let watch = peer.metrics.watch(&*self.clock);
        let exchange = async {
            let (response, lent) = peer.pool.send(request).await?;
            let (parts, body) = response.into_parts();
            let limit = self.max_value_bytes.max(SMALL_ANSWER_BYTES);
            let (body, share) = self.bodies.read(&parts.headers, body, limit).await.map_err(|problem| {
                match problem.status {
                    503 => HopError::Busy,
                    _ => HopError::Broken(problem.detail),
                }
            })?;
            lent.give_back();
            Ok(Answer { status: parts.status, headers: parts.headers, body: share.attach(body) })
        };
        let result = tokio::time::timeout(call.timeout, exchange).await.unwrap_or(Err(HopError::TimedOut));
        watch.end(&result);
        result
    }
}

impl<N: Net> Hop for HttpHop<N> {
    fn get<'a>(
        &'a self,
        node: usize,
        key: &'a Key,
        call: Call,
    ) -> BoxFuture<'a, Result<CopyState, HopError>> {
        Box::pin(async move {
            let request = request(Method::GET, format!("/entries/{key}"), Bytes::new())?;
            self.exchange(node, request, call).await?.into_state()
        })
    }

    fn put<'a>(
        &'a self,
        node: usize,
        key: &'a Key,
        write: &'a CopyWrite,
        call: Call,
    ) -> BoxFuture<'a, Result<Result<Taken, Refusal>, HopError>> {
        Box::pin(async move {
            let method = if write.value.is_some() { Method::PUT } else { Method::DELETE };
            let mut request = request(method, format!("/entries/{key}"), write.body())?;
            write_headers(request.headers_mut(), write);
            let answer = self.exchange(node, request, call).await?;
            match answer.status {
                StatusCode::OK => Ok(Ok(Taken {
                    previous: number(&answer.headers, PREVIOUS_HEADER).map(Version),
                    was_live: answer.headers.contains_key(PREVIOUS_LIVE_HEADER),
                })),
                _ => answer.into_refusal().map(Err),
            }
        })
    }

    fn promise<'a>(
        &'a self,
        node: usize,
        key: &'a Key,
        ballot: Version,
        call: Call,
    ) -> BoxFuture<'a, Result<Result<CopyState, Refusal>, HopError>> {
        Box::pin(async move {
            let mut request = request(Method::POST, format!("/entries/{key}/promise"), Bytes::new())?;
            request.headers_mut().insert(VERSION, ballot.0.into());
            let answer = self.exchange(node, request, call).await?;
            match answer.status {
                StatusCode::OK | StatusCode::NOT_FOUND => answer.into_state().map(Ok),
                _ => answer.into_refusal().map(Err),
            }
        })
    }

    fn health(&self, node: usize, call: Call) -> BoxFuture<'_, Result<Health, HopError>> {
        Box::pin(async move {
            let request = request(Method::GET, "/health".to_owned(), Bytes::new())?;
            let answer = self.exchange(node, request, call).await?;
            serde_json::from_slice(&answer.body).map_err(|_| answer.unexpected())
        })
    }
}

fn request(method: Method, path: String, body: Bytes) -> Result<Request<Full<Bytes>>, HopError> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() =
        path.try_into().map_err(|_| HopError::Unexpected("a path that is none".to_owned()))?;
    Ok(request)
}

fn write_headers(headers: &mut HeaderMap, write: &CopyWrite) {
    headers.insert(VERSION, write.version.0.into());
    if let Some(left) = write.ttl_left_ms {
        headers.insert(TTL_LEFT_MS, left.into());
    }
    if let Some(origin) = write.origin {
        headers.insert(ORIGIN, origin.0.into());
    }
    if write.flags != 0 {
        headers.insert(FLAGS, write.flags.into());
    }
    if let Some(condition) = write.condition.to_header().and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(CONDITION, condition);
    }
    if let Some(content_type) =
        write.value.as_ref().and_then(|content| HeaderValue::from_str(&content.content_type).ok())
    {
        headers.insert(CONTENT_TYPE, content_type);
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}

impl Answer {
    fn into_state(self) -> Result<CopyState, HopError> {
        let Some(version) = number(&self.headers, VERSION_HEADER).map(Version) else {
            return Err(self.unexpected());
        };
        match self.status {
            StatusCode::OK => {
                let content_type =
                    self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or(OCTET_STREAM);
                Ok(CopyState::Value(StoredValue {
                    version,
                    origin: number(&self.headers, ORIGIN_HEADER).map(Version),
                    ttl_left_ms: number(&self.headers, TTL_LEFT_MS_HEADER),
                    flags: number(&self.headers, FLAGS_HEADER).unwrap_or(0) as u32,
                    content: Content { content_type: content_type.to_owned(), bytes: self.body },
                }))
            }
            StatusCode::NOT_FOUND => {
                let reason = self.headers.get(MISS_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default();
                Ok(CopyState::Miss {
                    version,
                    reason: MissReason::parse(reason).unwrap_or(MissReason::Cold),
                    tombstone: self.headers.contains_key(TOMBSTONE_HEADER),
                })
            }
            _ => Err(self.unexpected()),
        }
    }

    fn into_refusal(self) -> Result<Refusal, HopError> {
        let version = number(&self.headers, VERSION_HEADER).map(Version);
        match (self.status, version) {
            (StatusCode::CONFLICT, Some(version)) if self.headers.contains_key(PROMISED_HEADER) => {
                Ok(Refusal::Promised(version))
            }
            (StatusCode::CONFLICT, Some(version)) => {
                let taken = if self.headers.contains_key(TAKEN_HEADER) {
                    TakenBefore::Yes
                } else {
                    TakenBefore::NotWithin { ms: number(&self.headers, MEMORY_MS_HEADER).unwrap_or(0) }
                };
                Ok(Refusal::Newer { version, taken })
            }
            (StatusCode::PRECONDITION_FAILED, live) => Ok(Refusal::Condition(live)),
            (StatusCode::PAYLOAD_TOO_LARGE, _) => Ok(Refusal::TooLarge),
            (StatusCode::SERVICE_UNAVAILABLE, _) => Ok(Refusal::Busy),
            _ => Err(self.unexpected()),
        }
    }

    fn unexpected(&self) -> HopError {
        let shown: String = String::from_utf8_lossy(&self.body).chars().take(120).collect();
        HopError::Unexpected(format!("{} {}", self.status, shown.escape_debug()))
    }
}
