//! The hop over HTTP/1.1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Node, Placement};
use annulus_protocol::handshake::{Purpose, Secret};
use annulus_protocol::hop::{
    CONDITION_HEADER, CopyState, CopyWrite, EPOCH_HEADER, FLAGS_HEADER, INCARNATION_HEADER, MEMORY_MS_HEADER,
    MISS_HEADER, MissReason, ORIGIN_HEADER, PREVIOUS_HEADER, PREVIOUS_LIVE_HEADER, PROMISED_HEADER, Refusal,
    SEAL_HEADER, TAKEN_HEADER, TOMBSTONE_HEADER, TTL_LEFT_MS_HEADER, Taken, TakenBefore, VERSION_HEADER,
};
use annulus_protocol::rest::{Health, Operation};
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

use annulus_service::pool::Pool;
use parking_lot::Mutex;

use super::metrics::{OnePeer, PeerMetrics};
use super::{Call, Hop, HopError};
use crate::fleet::Hops;

const VERSION: HeaderName = HeaderName::from_static(VERSION_HEADER);
const EPOCH: HeaderName = HeaderName::from_static(EPOCH_HEADER);
const TTL_LEFT_MS: HeaderName = HeaderName::from_static(TTL_LEFT_MS_HEADER);
const FLAGS: HeaderName = HeaderName::from_static(FLAGS_HEADER);
const ORIGIN: HeaderName = HeaderName::from_static(ORIGIN_HEADER);
const CONDITION: HeaderName = HeaderName::from_static(CONDITION_HEADER);
const TRACE: HeaderName = HeaderName::from_static(TRACEPARENT);

/// What an auxiliary may answer beside a value, in bytes.
const SMALL_ANSWER_BYTES: usize = 64 * 1024;

type Peers<N> = BTreeMap<(String, String), Arc<Peer<N>>>;

/// Reaches auxiliaries over kept-alive HTTP connections, which outlive a change of the roster.
pub struct HttpHops<N> {
    net: N,
    bodies: BodyReader,
    max_value_bytes: usize,
    metrics: PeerMetrics,
    secret: Option<Secret>,
    /// By name and address.
    peers: Mutex<Peers<N>>,
}

/// The nodes of one placement.
struct HttpHop<N> {
    peers: Vec<(Arc<Peer<N>>, u64)>,
    bodies: BodyReader,
    max_value_bytes: usize,
    clock: Arc<dyn Clock>,
    epoch: HeaderValue,
    handover: Option<(Bytes, HeaderValue)>,
}

struct Peer<N> {
    pool: Pool<N>,
    host: HeaderValue,
    metrics: OnePeer,
}

/// An answer, read whole.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl<N: Net> HttpHops<N> {
    /// Hops whose answers draw on the budget of `bodies`. With a `secret`, nodes that are behind are handed the roster.
    ///
    /// # Errors
    /// Where `registry` has the hop's metrics already.
    pub fn new(
        net: &N,
        bodies: BodyReader,
        max_value_bytes: usize,
        secret: Option<Secret>,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let metrics = PeerMetrics::new(registry)?;
        Ok(Self { net: net.clone(), bodies, max_value_bytes, metrics, secret, peers: Mutex::default() })
    }

    fn peer(&self, Node { name, address, .. }: &Node) -> Arc<Peer<N>> {
        let make = || Peer {
            host: HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("auxiliary")),
            pool: Pool::new(self.net.clone(), address.clone()),
            metrics: self.metrics.peer(name),
        };
        let mut peers = self.peers.lock();
        Arc::clone(peers.entry((name.clone(), address.clone())).or_insert_with(|| Arc::new(make())))
    }
}

impl<N: Net> Hops for HttpHops<N> {
    fn reach(&self, placement: &Placement) -> Arc<dyn Hop> {
        let life = |incarnation| if placement.mechanisms().cold_nodes { incarnation } else { 0 };
        let seats = placement.nodes().iter().map(|placed| &placed.seat);
        let peers: Vec<_> = seats.map(|seat| (self.peer(&seat.node), life(seat.incarnation))).collect();
        // Who is in no view any more is let go of, with its connections.
        let is_needed = |known: &Arc<Peer<N>>| peers.iter().any(|(peer, _)| Arc::ptr_eq(peer, known));
        self.peers.lock().retain(|_, known| is_needed(known));
        let handover = self.secret.as_ref().and_then(|secret| {
            let json = serde_json::to_vec(&**placement.roster()).ok()?;
            let seal = secret.sign(Purpose::Roster, &[&json]).to_string();
            Some((Bytes::from(json), HeaderValue::try_from(seal).ok()?))
        });
        Arc::new(HttpHop {
            peers,
            bodies: self.bodies.clone(),
            max_value_bytes: self.max_value_bytes,
            clock: self.net.clock(),
            epoch: placement.epoch().into(),
            handover,
        })
    }
}

impl<N: Net> HttpHop<N> {
    /// Makes a call about a copy. A node that goes by an older roster is handed this one first.
    async fn exchange(
        &self,
        node: usize,
        make: impl Fn() -> Result<Request<Full<Bytes>>, HopError> + Sync,
        call: Call,
    ) -> Result<Answer, HopError> {
        let (peer, incarnation) = &self.peers[node];
        let make = || {
            let mut request = make()?;
            request.headers_mut().insert(EPOCH, self.epoch.clone());
            request.headers_mut().insert(TRACE, call.trace.header_value());
            Ok::<_, HopError>(request)
        };
        let watch = peer.metrics.watch(&*self.clock);
        let exchange = async {
            let mut answer = self.send(peer, make()?).await?;
            if answer.status == StatusCode::TOO_EARLY
                && let Some((json, seal)) = &self.handover
            {
                self.hand_over(peer, json, seal).await?;
                answer = self.send(peer, make()?).await?;
            }
            answer.check_life(*incarnation)?;
            Ok(answer)
        };
        let result = tokio::time::timeout(call.timeout, exchange).await.unwrap_or(Err(HopError::TimedOut));
        watch.end(&result);
        result
    }

    async fn hand_over(&self, peer: &Peer<N>, json: &Bytes, seal: &HeaderValue) -> Result<(), HopError> {
        let mut request = request(Method::PUT, "/roster".to_owned(), json.clone())?;
        request.headers_mut().insert(SEAL_HEADER, seal.clone());
        let answer = self.send(peer, request).await?;
        if answer.status.is_success() { Ok(()) } else { Err(answer.unexpected()) }
    }

    async fn send(&self, peer: &Peer<N>, mut request: Request<Full<Bytes>>) -> Result<Answer, HopError> {
        request.headers_mut().insert(HOST, peer.host.clone());
        let (response, lent) = peer.pool.send(request).await?;
        let (parts, body) = response.into_parts();
        let limit = self.max_value_bytes.max(SMALL_ANSWER_BYTES);
        let (body, share) =
            self.bodies.read(&parts.headers, body, limit).await.map_err(|problem| match problem.status {
                503 => HopError::Busy,
                _ => HopError::Broken(problem.detail),
            })?;
        lent.give_back();
        Ok(Answer { status: parts.status, headers: parts.headers, body: share.attach(body) })
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
            let make = || request(Method::GET, format!("/entries/{key}"), Bytes::new());
            self.exchange(node, make, call).await?.into_state()
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
            let make = || {
                let mut request = request(method.clone(), format!("/entries/{key}"), write.body())?;
                write_headers(request.headers_mut(), write);
                Ok(request)
            };
            let answer = self.exchange(node, make, call).await?;
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
            let make = || {
                let mut request = request(Method::POST, format!("/entries/{key}/promise"), Bytes::new())?;
                request.headers_mut().insert(VERSION, ballot.0.into());
                Ok(request)
            };
            let answer = self.exchange(node, make, call).await?;
            match answer.status {
                StatusCode::OK | StatusCode::NOT_FOUND => answer.into_state().map(Ok),
                _ => answer.into_refusal().map(Err),
            }
        })
    }

    fn health(&self, node: usize, call: Call) -> BoxFuture<'_, Result<Health, HopError>> {
        Box::pin(async move {
            let request = request(Method::GET, "/health".to_owned(), Bytes::new())?;
            let exchange = self.send(&self.peers[node].0, request);
            let answer =
                tokio::time::timeout(call.timeout, exchange).await.unwrap_or(Err(HopError::TimedOut))?;
            serde_json::from_slice(&answer.body).map_err(|_| answer.unexpected())
        })
    }

    fn order(
        &self,
        node: usize,
        operation: Operation,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<(u16, Bytes), HopError>> {
        Box::pin(async move {
            let request = request(Method::POST, operation.path().to_owned(), Bytes::new())?;
            let exchange = self.send(&self.peers[node].0, request);
            let answer = tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(HopError::TimedOut))?;
            Ok((answer.status.as_u16(), answer.body))
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
    /// Whether the life answers that the roster names. Another one has forgotten what this one knew.
    fn check_life(&self, incarnation: u64) -> Result<(), HopError> {
        match self.status {
            StatusCode::MISDIRECTED_REQUEST => {
                let roster = serde_json::from_slice(&self.body).map_err(|_| self.unexpected())?;
                return Err(HopError::Outdated(roster));
            }
            StatusCode::TOO_EARLY => return Err(self.unexpected()),
            _ => {}
        }
        if incarnation == 0 || number(&self.headers, INCARNATION_HEADER) == Some(incarnation) {
            return Ok(());
        }
        Err(HopError::AnotherLife)
    }

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
            StatusCode::SERVICE_UNAVAILABLE => Err(HopError::Busy),
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
