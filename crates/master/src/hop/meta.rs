//! The hop in meta commands: a few connections a node, one for each worker, shared by all that the worker's clients ask.
//!
//! What is no question about a copy goes over HTTP: health, orders, and a roster for a node that is behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Node, Placement};
use annulus_protocol::handshake::{Purpose, Secret};
use annulus_protocol::hop::wire::{self, Answer};
use annulus_protocol::hop::{CopyState, CopyWrite, Refusal, SEAL_HEADER, Taken};
use annulus_protocol::rest::{Health, Operation};
use annulus_protocol::{Key, Version};
use annulus_service::Workers;
use annulus_service::body::Budget;
use annulus_service::net::{Clock, Net};
use annulus_service::pool::{Pool, PoolError};
use annulus_service::stream::Output;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{HOST, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::task::AbortHandle;

use super::batch::{Batch, Slot};
use super::drive::Driver;
use super::lane::{Lane, Terms};
use super::metrics::{OnePeer, PeerMetrics};
use super::{Call, Hop, HopError};
use crate::fleet::Hops;

/// What an auxiliary may answer beside a value, in bytes.
const SMALL_ANSWER_BYTES: usize = 64 * 1024;

type Peers<N> = BTreeMap<(String, String), Arc<Peer<N>>>;

/// Reaches auxiliaries over connections that outlive a change of the roster.
pub struct MetaHops<N> {
    net: N,
    workers: Workers,
    budget: Budget,
    max_value_bytes: usize,
    metrics: PeerMetrics,
    secret: Option<Secret>,
    /// By name and address.
    peers: Mutex<Peers<N>>,
}

/// The nodes of one placement.
struct MetaHop<N> {
    peers: Vec<(Arc<Peer<N>>, u64)>,
    clock: Arc<dyn Clock>,
    epoch: u64,
    handover: Option<(Bytes, HeaderValue)>,
}

/// One node: a lane for each worker, and what goes over HTTP.
struct Peer<N> {
    lanes: Vec<OwnLane>,
    pool: Pool<N>,
    host: HeaderValue,
    metrics: OnePeer,
}

/// A lane with the task that does its IO, which ends with it.
struct OwnLane {
    lane: Arc<Lane>,
    task: AbortHandle,
}

impl Drop for OwnLane {
    fn drop(&mut self) {
        self.task.abort();
        self.lane.broke(&PoolError::Connect("the node is a member no more".to_owned()), true);
    }
}

impl<N: Net> MetaHops<N> {
    /// Hops whose answers draw on `budget`. With a `secret`, nodes that are behind are handed the roster.
    ///
    /// # Errors
    /// Where `registry` has the hop's metrics already.
    pub fn new(
        net: &N,
        workers: &Workers,
        budget: Budget,
        max_value_bytes: usize,
        secret: Option<Secret>,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let metrics = PeerMetrics::new(registry)?;
        let (net, workers) = (net.clone(), workers.clone());
        Ok(Self { net, workers, budget, max_value_bytes, metrics, secret, peers: Mutex::default() })
    }

    /// Hops of the same kind to nodes that are no members: nobody hands them a roster.
    pub fn without_members(&self) -> Self {
        Self {
            net: self.net.clone(),
            workers: self.workers.clone(),
            budget: self.budget.clone(),
            max_value_bytes: self.max_value_bytes,
            metrics: self.metrics.clone(),
            secret: None,
            peers: Mutex::default(),
        }
    }

    fn peer(&self, Node { name, address, .. }: &Node) -> Arc<Peer<N>> {
        let make = || Peer {
            lanes: (0..self.workers.count()).map(|worker| self.lane(worker, address)).collect(),
            host: HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("auxiliary")),
            pool: Pool::new(self.net.clone(), address.clone()),
            metrics: self.metrics.peer(name),
        };
        let mut peers = self.peers.lock();
        Arc::clone(peers.entry((name.clone(), address.clone())).or_insert_with(|| Arc::new(make())))
    }

    fn lane(&self, worker: usize, address: &str) -> OwnLane {
        let lane = Arc::new(Lane::default());
        let driver = Driver {
            lane: Arc::clone(&lane),
            net: self.net.clone(),
            address: address.to_owned(),
            clock: self.net.clock(),
            budget: self.budget.clone(),
            max_body_bytes: self.max_value_bytes.max(SMALL_ANSWER_BYTES),
        };
        let task = self.workers.spawn(worker, driver.drive()).abort_handle();
        OwnLane { lane, task }
    }
}

impl<N: Net> Hops for MetaHops<N> {
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
        Arc::new(MetaHop { peers, clock: self.net.clock(), epoch: placement.epoch(), handover })
    }
}

impl<N: Net> MetaHop<N> {
    /// Puts a call on its way.
    fn submit(
        &self,
        node: usize,
        call: Call,
        to: Slot,
        encode: impl FnOnce(&mut Output),
    ) -> Result<(), (Slot, HopError)> {
        let (peer, life) = &self.peers[node];
        let now_us = self.clock.now_us();
        let terms = Terms { epoch: self.epoch, life: *life, now_us, deadline_us: call.deadline_us };
        peer.lanes[call.worker % peer.lanes.len()].lane.submit(terms, to, encode)
    }

    /// Makes a call about a copy. A node that goes by an older roster is handed this one first.
    async fn exchange(
        &self,
        node: usize,
        call: Call,
        encode: impl Fn(&mut Output) + Sync,
    ) -> Result<Answer, HopError> {
        let peer = &self.peers[node].0;
        let watch = peer.metrics.watch(&*self.clock);
        let exchange = async {
            let mut answer = self.ask(node, call, &encode).await?;
            if answer == Answer::Behind
                && let Some((json, seal)) = &self.handover
            {
                self.hand_over(peer, json, seal, call).await?;
                answer = self.ask(node, call, &encode).await?;
            }
            check(answer)
        };
        let result = exchange.await;
        watch.end(&result);
        result
    }

    async fn ask(&self, node: usize, call: Call, encode: impl Fn(&mut Output)) -> Result<Answer, HopError> {
        let batch = Batch::new(1);
        self.submit(node, call, batch.slot(0), encode).map_err(|(_, error)| error)?;
        batch.all().await;
        batch.take().pop().flatten().unwrap_or(Err(HopError::Busy))
    }

    async fn hand_over(
        &self,
        peer: &Peer<N>,
        json: &Bytes,
        seal: &HeaderValue,
        call: Call,
    ) -> Result<(), HopError> {
        let left = Duration::from_micros(call.deadline_us.saturating_sub(self.clock.now_us()));
        let mut request = peer.request(Method::PUT, "/roster", json.clone())?;
        request.headers_mut().insert(SEAL_HEADER, seal.clone());
        let (status, body) = peer.exchange(request, left).await?;
        if status.is_success() { Ok(()) } else { Err(unexpected(status, &body)) }
    }
}

impl<N: Net> Peer<N> {
    fn request(
        &self,
        method: Method,
        path: &'static str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, HopError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() =
            path.try_into().map_err(|_| HopError::Unexpected("a path that is none".to_owned()))?;
        request.headers_mut().insert(HOST, self.host.clone());
        Ok(request)
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), HopError> {
        let (parts, body) = self.pool.exchange(request, SMALL_ANSWER_BYTES, timeout).await?;
        Ok((parts.status, body))
    }
}

impl<N: Net> Hop for MetaHop<N> {
    fn get<'a>(
        &'a self,
        node: usize,
        key: &'a Key,
        call: Call,
    ) -> BoxFuture<'a, Result<CopyState, HopError>> {
        Box::pin(async move {
            let encode = |output: &mut Output| {
                wire::encode_get(output.tail(), key.as_bytes(), call.look, trace(&call).as_deref());
            };
            match self.exchange(node, call, encode).await? {
                Answer::State(state) => Ok(state),
                Answer::Loading => Err(HopError::Busy),
                other => Err(strange(&other)),
            }
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
            let encode = |output: &mut Output| {
                wire::encode_put(output.tail(), key.as_bytes(), write, trace(&call).as_deref());
                if let Some(content) = &write.value {
                    output.put(&content.bytes);
                    output.tail().extend_from_slice(b"\r\n");
                }
            };
            match self.exchange(node, call, encode).await? {
                Answer::Taken(taken) => Ok(Ok(taken)),
                Answer::Refused(refusal) => Ok(Err(refusal)),
                Answer::Loading => Ok(Err(Refusal::Busy)),
                other => Err(strange(&other)),
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
            let encode = |output: &mut Output| {
                wire::encode_promise(output.tail(), key.as_bytes(), ballot, trace(&call).as_deref());
            };
            match self.exchange(node, call, encode).await? {
                Answer::State(state) => Ok(Ok(state)),
                Answer::Refused(refusal) => Ok(Err(refusal)),
                Answer::Loading => Ok(Err(Refusal::Busy)),
                other => Err(strange(&other)),
            }
        })
    }

    fn flush(&self, node: usize, version: Version, call: Call) -> BoxFuture<'_, Result<(), HopError>> {
        Box::pin(async move {
            let encode = |output: &mut Output| wire::encode_flush(output.tail(), version);
            match self.exchange(node, call, encode).await? {
                Answer::Taken(_) => Ok(()),
                other => Err(strange(&other)),
            }
        })
    }

    fn start_get(&self, node: usize, key: &[u8], call: Call, to: Slot) {
        let encode =
            |output: &mut Output| wire::encode_get(output.tail(), key, call.look, trace(&call).as_deref());
        if let Err((slot, error)) = self.submit(node, call, to, encode) {
            slot.fill(Err(error));
        }
    }

    fn count_answered(&self, node: usize, calls: u64, micros: u64) {
        self.peers[node].0.metrics.answered(calls, micros);
    }

    fn count_failed(&self, node: usize, error: Option<&HopError>) {
        self.peers[node].0.metrics.failed(error);
    }

    fn health(&self, node: usize, timeout: Duration) -> BoxFuture<'_, Result<Health, HopError>> {
        Box::pin(async move {
            let peer = &self.peers[node].0;
            let request = peer.request(Method::GET, "/health", Bytes::new())?;
            let (status, body) = peer.exchange(request, timeout).await?;
            serde_json::from_slice(&body).map_err(|_| unexpected(status, &body))
        })
    }

    fn order(
        &self,
        node: usize,
        operation: Operation,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<(u16, Bytes), HopError>> {
        Box::pin(async move {
            let peer = &self.peers[node].0;
            let request = peer.request(Method::POST, operation.path(), Bytes::new())?;
            let (status, body) = peer.exchange(request, timeout).await?;
            Ok((status.as_u16(), body))
        })
    }
}

/// Whether the life answers that the roster names, by the roster that this master goes by.
fn check(answer: Answer) -> Result<Answer, HopError> {
    match answer {
        Answer::AnotherLife => Err(HopError::AnotherLife),
        Answer::Outdated(json) => {
            let roster = serde_json::from_slice(&json)
                .map_err(|_| HopError::Unexpected("a roster that is none".to_owned()))?;
            Err(HopError::Outdated(roster))
        }
        other => Ok(other),
    }
}

/// What says to which trace a call belongs, where somebody records it.
fn trace(call: &Call) -> Option<Vec<u8>> {
    call.trace.is_sampled().then(|| call.trace.header_value().as_bytes().to_vec())
}

fn strange(answer: &Answer) -> HopError {
    HopError::Unexpected(match answer {
        Answer::Failed(why) => why.chars().take(120).collect(),
        Answer::Behind => "the node goes by an older roster".to_owned(),
        _ => "an answer to another question".to_owned(),
    })
}

fn unexpected(status: StatusCode, body: &Bytes) -> HopError {
    let shown: String = String::from_utf8_lossy(body).chars().take(120).collect();
    HopError::Unexpected(format!("{status} {}", shown.escape_debug()))
}
