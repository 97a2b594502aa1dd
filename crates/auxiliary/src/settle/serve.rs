//! `/settle/*` and `/roster`: what other members ask of this node and bring to it.

use std::sync::Arc;

use annulus_cluster::Roster;
use annulus_protocol::handshake::{Purpose, Tag};
use annulus_protocol::hop::{EPOCH_HEADER, SEAL_HEADER};
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::ApiError;
use annulus_service::body::Share;
use annulus_service::workers::give_way;
use annulus_store::{Condition, Holding, Lookup, PutError};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{post, put};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::LONGEST_WRITE_MS;
use super::judge::Said;
use super::wire::{self, Pushed};
use crate::Node;
use crate::members::{Admitted, Members, Turned};

/// The largest roster, in bytes: some thousand nodes.
const MAX_ROSTER_BYTES: usize = 1 << 20;
/// The largest body beside one value.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Bytes of a batch that are answered without a break, about: a tenth of a millisecond of work.
const STEP_BYTES: usize = 2 << 10;

pub(crate) fn routes(node: Arc<Node>) -> Router {
    Router::new()
        .route("/settle/ask", post(ask))
        .route("/settle/push", post(push))
        .route("/settle/floors", post(floors))
        .route("/roster", put(roster))
        .with_state(node)
}

/// The answer to one who goes by another roster.
fn turned_away(turned: Turned, epoch: u64) -> Response {
    let mut response = match turned {
        Turned::Outdated(roster) => (StatusCode::MISDIRECTED_REQUEST, axum::Json(&*roster)).into_response(),
        Turned::Behind => StatusCode::TOO_EARLY.into_response(),
        Turned::Loading => {
            ApiError::new(ErrorCode::Unavailable, "putting away what an earlier roster left behind")
                .into_response()
        }
    };
    response.headers_mut().insert(EPOCH_HEADER, epoch.into());
    response
}

async fn ask(State(node): State<Arc<Node>>, request: Request) -> Response {
    answer(&node, request, Kind::Ask).await
}

/// Says what this node knows of the next key.
fn say(node: &Node, by: &Admitted<'_>, asked: &mut &[u8], answer: &mut Vec<u8>) -> Option<()> {
    let key = wire::next_key(asked)?;
    let hash = annulus_ring::key_hash(key);
    let found = node.copies.store().peek(key, hash, node.clock.now_ms());
    let said = match found {
        Lookup::Hit(entry) => Said::Holds(entry.version()),
        Lookup::Miss(miss) if miss.tombstone => Said::Holds(miss.version),
        Lookup::Miss(miss) => Said::Lacks(miss.version_as(by.role(hash))),
    };
    wire::put_said(said, answer);
    Some(())
}

async fn push(State(node): State<Arc<Node>>, request: Request) -> Response {
    answer(&node, request, Kind::Push).await
}

/// Takes the next record of a push that was begun at `begun_ms`.
fn take(
    node: &Node,
    by: &Admitted<'_>,
    begun_ms: u64,
    pushed: &mut &[u8],
    answer: &mut Vec<u8>,
) -> Option<()> {
    let now_ms = node.clock.now_ms();
    let (record, is_newest) = wire::next_record(pushed, begun_ms)?;
    let hash = annulus_ring::key_hash(record.key);
    let holding = Holding { fetched: false, role: by.role(hash) };
    let store = node.copies.store();
    let condition =
        if is_newest { Condition::Newest { quiet_ms: LONGEST_WRITE_MS } } else { Condition::Always };
    let put = store.put_as(record.key, hash, &record.write(), condition, holding, now_ms);
    answer.push(match put {
        Ok(_) | Err(PutError::Refused { .. } | PutError::ConditionFailed { .. }) => Pushed::Settled,
        Err(PutError::Promised { .. } | PutError::Busy) => Pushed::Later,
        Err(PutError::TooLarge { .. }) => Pushed::TooLarge,
    } as u8);
    Some(())
}

async fn floors(State(node): State<Arc<Node>>, request: Request) -> Response {
    match read_batch(&node, request).await {
        Err(refused) => refused,
        Ok((members, epoch, bytes, _share)) => match members.inherit(epoch, &wire::floors(&bytes)) {
            Ok(()) => StatusCode::OK.into_response(),
            Err(turned) => refuse(members, turned),
        },
    }
}

/// What a batch is about.
#[derive(Clone, Copy)]
enum Kind {
    Ask,
    Push,
}

impl Kind {
    /// Takes the head off a batch that arrived at this time, and says what time its items go by; `None` where it cannot be read.
    fn head(self, batch: &mut &[u8], arrived_ms: u64) -> Option<u64> {
        match self {
            Self::Ask => Some(arrived_ms),
            Self::Push => wire::begun_ms(batch, arrived_ms),
        }
    }

    /// Takes the next item off a batch and answers it; `None` where it cannot be read.
    fn item(
        self,
        node: &Node,
        by: &Admitted<'_>,
        time_ms: u64,
        batch: &mut &[u8],
        answer: &mut Vec<u8>,
    ) -> Option<()> {
        match self {
            Self::Ask => say(node, by, batch, answer),
            Self::Push => take(node, by, time_ms, batch, answer),
        }
    }
}

/// Answers a batch of a member that goes by the same roster, in the background: clients' requests go first.
async fn answer(node: &Arc<Node>, request: Request, kind: Kind) -> Response {
    let arrived_ms = node.clock.now_ms();
    let (members, epoch, batch, share) = match read_batch(node, request).await {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    let answering = {
        let node = Arc::clone(node);
        async move {
            let _share = share;
            let mut items = &batch[..];
            match kind.head(&mut items, arrived_ms) {
                Some(time_ms) => answer_items(&node, epoch, time_ms, items, kind).await,
                None => Ok(None),
            }
        }
    };
    match node.workers.background().spawn(answering).await {
        Ok(Ok(Some(answer))) => Response::new(Body::from(answer)),
        Ok(Ok(None)) => ApiError::new(ErrorCode::BadRequest, "a batch that cannot be read").into_response(),
        Ok(Err(turned)) => refuse(members, turned),
        Err(stopped) => ApiError::new(ErrorCode::Unavailable, stopped.to_string()).into_response(),
    }
}

/// `None` where an item cannot be read.
async fn answer_items(
    node: &Node,
    epoch: u64,
    time_ms: u64,
    mut rest: &[u8],
    kind: Kind,
) -> Result<Option<Vec<u8>>, Turned> {
    let Some(members) = &node.members else { return Ok(None) };
    let mut answer = Vec::new();
    loop {
        let step_end = rest.len().saturating_sub(STEP_BYTES);
        // Each step by itself, because a new roster has to wait for it.
        {
            let admitted = members.admit_peer(epoch)?;
            while !rest.is_empty() && rest.len() >= step_end {
                if kind.item(node, &admitted, time_ms, &mut rest, &mut answer).is_none() {
                    return Ok(None);
                }
            }
        }
        if rest.is_empty() {
            return Ok(Some(answer));
        }
        give_way().await;
    }
}

async fn read_batch(node: &Node, request: Request) -> Result<(&Members, u64, Bytes, Share), Response> {
    let (parts, body) = request.into_parts();
    let epoch = sender(node, &parts.headers).map_err(|problem| ApiError(problem).into_response())?;
    let limit = MAX_BATCH_BYTES + node.max_value_bytes;
    let (bytes, share) = node
        .bodies
        .read(&parts.headers, body, limit)
        .await
        .map_err(|problem| ApiError(problem).into_response())?;
    let members = node.members.as_ref().ok_or_else(|| no_cluster().into_response())?;
    Ok((members, epoch, bytes, share))
}

fn refuse(members: &Members, turned: Turned) -> Response {
    turned_away(turned, members.roster().map_or(0, |roster| roster.epoch()))
}

/// The epoch by which the sender goes, if it shows that it knows the secret.
fn sender(node: &Node, headers: &HeaderMap) -> Result<u64, Problem> {
    let secret = node.secret.as_ref().ok_or_else(|| no_cluster().0)?;
    let epoch = headers.get(EPOCH_HEADER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let seal = headers.get(SEAL_HEADER).and_then(|value| value.to_str().ok()?.rsplit_once(':'));
    if let (Some(epoch), Some((from, seal))) = (epoch, seal)
        && seal.parse::<Tag>().is_ok_and(|tag| tag == secret.settle_tag(epoch, from, &node.name))
    {
        return Ok(epoch);
    }
    Err(not_sealed())
}

/// Takes a roster that somebody hands over who is ahead.
async fn roster(State(node): State<Arc<Node>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match take_roster(&node, &parts.headers, body).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(problem) => ApiError(problem).into_response(),
    }
}

async fn take_roster(node: &Arc<Node>, headers: &HeaderMap, body: Body) -> Result<(), Problem> {
    let secret = node.secret.as_ref().ok_or_else(|| no_cluster().0)?;
    let (bytes, _share) = node.bodies.read(headers, body, MAX_ROSTER_BYTES).await?;
    let seal = headers.get(SEAL_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !seal.parse::<Tag>().is_ok_and(|tag| secret.verify(Purpose::Roster, &[&bytes], &tag)) {
        return Err(not_sealed());
    }
    let roster: Roster = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::new(ErrorCode::BadRequest, format!("no roster: {error}")))?;
    node.adopt(&Arc::new(roster));
    Ok(())
}

fn not_sealed() -> Problem {
    Problem::new(
        ErrorCode::NotSealed,
        "not sealed with this cluster's secret: cluster.secret must be the same on all nodes",
    )
}

fn no_cluster() -> ApiError {
    ApiError::new(ErrorCode::BadRequest, "this node is in no cluster of which it knows")
}
