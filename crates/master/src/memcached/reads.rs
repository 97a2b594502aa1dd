//! Reads of many keys at once.

use std::borrow::Cow;
use std::sync::Arc;

use annulus_cluster::Ticket;
use annulus_protocol::hop::wire::Answer;
use annulus_protocol::hop::{CopyState, Look};
use annulus_protocol::{ErrorCode, Key, Problem};
use annulus_service::config::Consistency;
use bytes::Bytes;
use futures_util::future::{BoxFuture, join, join_all};
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::coordinator::plan::Plan;
use crate::coordinator::{Context, Coordinator};
use crate::hop::batch::{Answered, Batch};
use crate::route::Route;
use crate::routes::At;
use crate::routing::near::Near;

/// One key to be read.
pub(super) type Wanted<'b> = Cow<'b, [u8]>;

/// What is known of a key.
type State = Result<CopyState, Problem>;

/// Reads keys: those of which one copy is enough in one batch for each node, the others each by its own quorum. The answers
/// are in the order of the keys.
pub(super) async fn read_all(at: &At, keys: &[Wanted<'_>], context: &Context) -> Vec<State> {
    if keys.is_empty() {
        return Vec::new();
    }
    let mut states: Vec<Option<State>> = Vec::new();
    // What is near does not know how often its keys were read.
    let near = at.near().filter(|_| context.look == Look::Plain);
    let Some(near) = near else {
        states.resize_with(keys.len(), || None);
        ask_owners(at, keys, &mut states, context).await;
        return or_gutter(at, keys, states, context).await;
    };
    let asked_us = at.clock.now_us();
    states.extend(keys.iter().map(|key| {
        let stored = at.read_near(&near, key, annulus_ring::key_hash(key), asked_us);
        stored.map(|stored| Ok(CopyState::Value(stored)))
    }));
    let lacking: Vec<usize> = (0..keys.len()).filter(|index| states[*index].is_none()).collect();
    if !lacking.is_empty() {
        ask_owners(at, keys, &mut states, context).await;
        fill(&near, keys, &states, &lacking, asked_us);
    }
    or_gutter(at, keys, states, context).await
}

/// Keeps what owners said.
fn fill(near: &Near, keys: &[Wanted<'_>], states: &[Option<State>], asked: &[usize], asked_us: u64) {
    for index in asked {
        if let Some(Ok(CopyState::Value(stored))) = &states[*index] {
            let key = &*keys[*index];
            near.fill(key, annulus_ring::key_hash(key), stored, asked_us);
        }
    }
}

/// Whom a batch asks for one key.
enum Asked {
    /// Nobody: its answer is known, or comes another way.
    Nobody,
    /// The one who has it.
    Owner(usize),
    /// The first of several who have it.
    OneOf(usize, Box<Plan>),
}

/// Asks the owners of all keys whose state is not known.
async fn ask_owners(at: &At, keys: &[Wanted<'_>], states: &mut [Option<State>], context: &Context) {
    let coordinator = &*at.coordinator;
    let route = coordinator.fleet.route();
    let batch = Batch::new(keys.len());
    let mut calls = Calls { started_us: at.clock.now_us(), nodes: Vec::new() };
    let mut asked = Vec::with_capacity(keys.len());
    let mut quorums = FuturesUnordered::new();
    let call = Coordinator::call(context);
    let mut has_others = false;
    for (index, key) in keys.iter().enumerate() {
        let whom = match &states[index] {
            Some(_) => Asked::Nobody,
            None => whom(coordinator, &route, key, context),
        };
        let slot = batch.slot(index);
        match &whom {
            Asked::Owner(node) | Asked::OneOf(node, _) => {
                calls.start(&route, *node, index);
                route.hop().start_get(*node, key, call, slot);
                has_others |= matches!(whom, Asked::OneOf(..));
            }
            Asked::Nobody => {
                slot.fill(Ok(Answer::Noop));
                if states[index].is_none() {
                    let read: BoxFuture<'_, _> =
                        Box::pin(async move { (index, read_one(at, key, context).await) });
                    quorums.push(read);
                }
            }
        }
        asked.push(whom);
    }
    let slow = async {
        while let Some((index, state)) = quorums.next().await {
            states[index] = Some(state);
        }
    };
    if has_others {
        // Whoever is slow is passed over: others have the keys too.
        let hedge_after = coordinator.ways.load().hedge_after;
        let _ = join(tokio::time::timeout(hedge_after, batch.all()), slow).await;
    } else {
        join(batch.all(), slow).await;
    }
    let answers = batch.take();
    calls.end(&route, &asked, &answers, at.clock.now_us());
    let mut later = Vec::new();
    for (index, (asked, answer)) in asked.into_iter().zip(answers).enumerate() {
        match settle(asked, answer) {
            Settled::Known(state) => states[index] = Some(state),
            Settled::Otherwise => {}
            Settled::Later(first) => later.push((index, first)),
        }
    }
    let more = later.into_iter().map(|(index, first)| {
        let (key, route) = (&*keys[index], &route);
        async move { (index, once_more(at, key, first, route, context).await) }
    });
    for (index, state) in join_all(more).await {
        states[index] = Some(state);
    }
}

fn whom(coordinator: &Coordinator, route: &Arc<Route>, key: &[u8], context: &Context) -> Asked {
    let hash = annulus_ring::key_hash(key);
    if let Some(owner) = route.placement().only_owner(hash) {
        return Asked::Owner(owner);
    }
    if context.consistency == Consistency::Quorum {
        return Asked::Nobody;
    }
    match coordinator.plan_for_one(route, hash).map(|plan| (plan.candidates.get(0), plan)) {
        Ok((Some(node), plan)) => Asked::OneOf(node, Box::new(plan)),
        _ => Asked::Nobody,
    }
}

/// What an answer of the batch says.
enum Settled {
    Known(State),
    /// It came another way.
    Otherwise,
    /// The key is to be read on its own, perhaps after what the first copy said.
    Later(Option<(CopyState, usize, Box<Plan>)>),
}

fn settle(asked: Asked, answer: Option<Answered>) -> Settled {
    match (asked, answer) {
        (Asked::Nobody, _) => Settled::Otherwise,
        (Asked::Owner(_), Some(Ok(Answer::State(state))))
        | (Asked::OneOf(..), Some(Ok(Answer::State(state @ CopyState::Value(_))))) => {
            Settled::Known(Ok(state))
        }
        (Asked::OneOf(node, plan), Some(Ok(Answer::State(state)))) => {
            Settled::Later(Some((state, node, plan)))
        }
        (Asked::Owner(_), Some(Err(error))) if error.is_of_the_node() => {
            Settled::Known(Err(Coordinator::too_few_answer_a_read(0, 1)))
        }
        // The node goes by another roster, is busy or slow: that is sorted out one by one.
        _ => Settled::Later(None),
    }
}

async fn once_more(
    at: &At,
    key: &[u8],
    first: Option<(CopyState, usize, Box<Plan>)>,
    route: &Route,
    context: &Context,
) -> State {
    let Some((state, node, plan)) = first else { return read_one(at, key, context).await };
    let key = Key::new(Bytes::copy_from_slice(key))?;
    let looked = at.coordinator.or_elsewhere(&key, state, node, (route, *plan), context);
    at.in_time(context, async { Ok(looked.await) }).await
}

async fn read_one(at: &At, key: &[u8], context: &Context) -> State {
    let key = Key::new(Bytes::copy_from_slice(key))?;
    at.in_time(context, at.coordinator.read(&key, context)).await
}

/// Reads from the gutter what no owner could be asked for.
async fn or_gutter(
    at: &At,
    keys: &[Wanted<'_>],
    states: Vec<Option<State>>,
    context: &Context,
) -> Vec<State> {
    let mut states: Vec<State> =
        states.into_iter().map(|state| state.unwrap_or_else(|| Err(super::writes::no_answer()))).collect();
    let is_unavailable =
        |state: &State| matches!(state, Err(problem) if problem.code == ErrorCode::Unavailable);
    if !states.iter().any(is_unavailable) || at.policy.load().gutter.is_none() {
        return states;
    }
    let unavailable = keys.iter().zip(&mut states).filter(|(_, state)| is_unavailable(state));
    join_all(unavailable.map(|(key, state)| async move {
        let Ok(key) = Key::new(Bytes::copy_from_slice(key)) else { return };
        let failed = std::mem::replace(state, Err(super::writes::no_answer()));
        *state = at.in_time(context, at.or_gutter(&key, context, failed)).await;
    }))
    .await;
    states
}

/// The calls to each node, for what they say of its health.
struct Calls {
    started_us: u64,
    nodes: Vec<OneNode>,
}

struct OneNode {
    node: usize,
    ticket: Ticket,
    /// The first call, which speaks for all.
    first: usize,
    answered: u64,
}

impl Calls {
    fn start(&mut self, route: &Arc<Route>, node: usize, first: usize) {
        if !self.nodes.iter().any(|known| known.node == node) {
            self.nodes.push(OneNode { node, ticket: route.sent(node), first, answered: 0 });
        }
    }

    fn end(mut self, route: &Arc<Route>, asked: &[Asked], answers: &[Option<Answered>], now_us: u64) {
        for (asked, answer) in asked.iter().zip(answers) {
            let (Asked::Owner(node) | Asked::OneOf(node, _)) = asked else { continue };
            match answer {
                Some(Ok(_)) => {
                    if let Some(known) = self.nodes.iter_mut().find(|known| known.node == *node) {
                        known.answered += 1;
                    }
                }
                Some(Err(error)) => route.hop().count_failed(*node, Some(error)),
                None => route.hop().count_failed(*node, None),
            }
        }
        for OneNode { node, ticket, first, answered } in self.nodes {
            route.hop().count_answered(node, answered, now_us - self.started_us);
            match answers.get(first) {
                Some(Some(Err(error))) => route.failed(ticket, error),
                Some(None) => route.overdue(ticket),
                _ => route.answered(ticket),
            }
        }
    }
}
