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
    /// Whether as many counted as were needed, or one ended the race.
    pub(super) complete: bool,
    /// How many calls failed in a way that leaves open whether they were carried out, or were still out at the end.
    pub(super) open: usize,
}

/// What an answer means for the race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// One of those needed.
    Counts,
    /// The race is over.
    Ends,
    /// Not one of those needed, but no reason to ask another before all who were asked have spoken.
    Waits,
}

/// Answers count, errors inside them end the race.
pub(super) fn all_or_nothing<T, E>(answer: &Result<T, E>) -> Weight {
    if answer.is_ok() { Weight::Counts } else { Weight::Ends }
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

/// Asks `need` of the preference list with `ask`, the others when one fails or is slow, or when all have answered and too
/// few of the answers count. If none counts and no call is left open, it ends there: nothing was done anywhere. The caller
/// bounds the time.
pub(super) async fn gather<'a, T>(
    fleet: &Fleet,
    rules: Rules,
    ask: impl Fn(usize) -> BoxFuture<'a, Result<T, HopError>>,
    weigh: impl Fn(&T) -> Weight,
) -> Gathered<T> {
    let mut race = Race::new(rules.preference, rules.need);
    let mut gathered = Gathered { answers: Vec::with_capacity(rules.need), complete: false, open: 0 };
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
        if waiting.is_empty() {
            let nothing_done = race.answered() == 0 && gathered.open == 0 && !gathered.answers.is_empty();
            let Some(spare) = race.on_shortage().filter(|_| !nothing_done) else { break };
            waiting.push(start(spare, &mut pending));
        }
        let is_enough = race.answered() >= rules.at_least;
        let next = if race.has_spare() || is_enough {
            tokio::select! {
                biased;
                next = waiting.next() => next,
                () = tokio::time::sleep(rules.hedge_after) => {
                    for (_, ticket) in &pending {
                        fleet.overdue(*ticket);
                    }
                    match race.on_shortage() {
                        Some(spare) => {
                            rules.hedges.inc();
                            waiting.push(start(spare, &mut pending));
                        }
                        None if is_enough => break,
                        None => {}
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
                let weight = weigh(&answer);
                gathered.answers.push((node, answer));
                if weight == Weight::Ends || weight == Weight::Counts && race.on_answer() {
                    gathered.complete = true;
                    break;
                }
            }
            Err(error) => {
                fleet.failed(ticket, &error);
                gathered.open += usize::from(!error.is_unsent());
                if let Some(spare) = race.on_failure() {
                    waiting.push(start(spare, &mut pending));
                }
            }
        }
    }
    gathered.open += pending.len();
    gathered
}
