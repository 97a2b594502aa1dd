//! Runs a [`Race`]: asks, listens, hedges.

use std::time::Duration;

use annulus_cluster::Ticket;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use prometheus::IntCounter;

use super::race::{Preference, Race};
use crate::fleet::Fleet;
use crate::hop::HopError;

/// What a race brought.
pub(super) struct Gathered<T> {
    /// Who answered what, in the order of arrival.
    pub(super) answers: Vec<(usize, T)>,
    /// Whether the answers are as many as were needed, or one of them ended the race.
    pub(super) complete: bool,
}

/// How a race is run.
pub(super) struct Rules {
    /// Whom to ask, in order.
    pub(super) preference: Preference,
    /// Answers that end it.
    pub(super) need: usize,
    /// Answers that are worth waiting for where `need` cannot be reached any more.
    pub(super) at_least: usize,
    /// After how long without the end in sight another is asked.
    pub(super) hedge_after: Duration,
    /// Counts those asked because others were slow.
    pub(super) hedges: IntCounter,
}

/// Asks `need` of the preference list with `ask`, the others when one fails or is slow. An answer for which `ends` holds
/// ends the race at once. The caller bounds the time.
pub(super) async fn gather<'a, T>(
    fleet: &Fleet,
    rules: Rules,
    ask: impl Fn(usize) -> BoxFuture<'a, Result<T, HopError>>,
    ends: impl Fn(&T) -> bool,
) -> Gathered<T> {
    let mut race = Race::new(rules.preference, rules.need);
    let mut gathered = Gathered { answers: Vec::with_capacity(rules.need), complete: false };
    let mut waiting = FuturesUnordered::new();
    let mut pending: Vec<(usize, Ticket)> = Vec::with_capacity(rules.need + 1);
    let start = |node: usize, pending: &mut Vec<(usize, Ticket)>| {
        let ticket = fleet.sent(node);
        pending.push((node, ticket));
        let answer = ask(node);
        async move { (node, ticket, answer.await) }
    };
    for node in race.start() {
        waiting.push(start(node, &mut pending));
    }
    while race.can_reach(rules.at_least) {
        let next = if race.has_spare() {
            tokio::select! {
                biased;
                next = waiting.next() => next,
                () = tokio::time::sleep(rules.hedge_after) => {
                    for (_, ticket) in &pending {
                        fleet.overdue(*ticket);
                    }
                    if let Some(spare) = race.on_hedge() {
                        rules.hedges.inc();
                        waiting.push(start(spare, &mut pending));
                    }
                    continue;
                }
            }
        } else {
            waiting.next().await
        };
        let Some((node, ticket, answer)) = next else { break };
        pending.retain(|(waited_for, _)| *waited_for != node);
        match answer {
            Ok(answer) => {
                fleet.answered(ticket);
                let ended = ends(&answer);
                gathered.answers.push((node, answer));
                if race.on_answer() || ended {
                    gathered.complete = true;
                    break;
                }
            }
            Err(error) => {
                fleet.failed(ticket, &error);
                if let Some(spare) = race.on_failure() {
                    waiting.push(start(spare, &mut pending));
                }
            }
        }
    }
    gathered
}
