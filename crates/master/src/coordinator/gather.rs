//! Runs a [`Race`]: asks, listens, hedges.

use std::time::Duration;

use annulus_cluster::{Roster, Ticket};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use prometheus::IntCounter;

use super::plan::Plan;
use super::race::Race;
use crate::hop::HopError;
use crate::route::Route;

/// What a race brought.
pub(super) struct Gathered<T> {
    /// Who answered what, in the order of arrival.
    pub(super) answers: Vec<(usize, T)>,
    /// Whether as many counted as were needed, or one ended the race.
    pub(super) complete: bool,
    /// Whether there are as many that count as are enough.
    pub(super) enough: bool,
    /// How many calls failed in a way that leaves open whether they were carried out, or were still out at the end.
    pub(super) open: usize,
    /// A later roster, by which one of them goes: the race is off.
    pub(super) outdated: Option<Box<Roster>>,
}

impl<T> Gathered<T> {
    fn with_capacity(capacity: usize) -> Self {
        let answers = Vec::with_capacity(capacity);
        Self { answers, complete: false, enough: false, open: 0, outdated: None }
    }

    /// The nodes whose answers fulfil a condition.
    pub(super) fn nodes_where(
        &self,
        holds: impl Fn(&T) -> bool + Clone,
    ) -> impl Iterator<Item = usize> + Clone {
        self.answers.iter().filter(move |(_, answer)| holds(answer)).map(|(node, _)| *node)
    }
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
    /// Whom to ask, and how many answers end it.
    pub(super) plan: Plan,
    /// After how long without the end in sight another is asked.
    pub(super) hedge_after: Duration,
    /// Counts those asked because others were slow.
    pub(super) hedges: IntCounter,
}

/// Asks as many as the plan needs with `ask`, the others when one fails or is slow, or when all have answered and too
/// few of the answers count. If none counts and no call is left open, it ends there: nothing was done anywhere. The caller
/// bounds the time.
pub(super) async fn gather<'a, T>(
    route: &Route,
    rules: Rules,
    ask: impl Fn(usize) -> BoxFuture<'a, Result<T, HopError>>,
    weigh: impl Fn(&T) -> Weight,
) -> Gathered<T> {
    let mut race = Race::new(rules.plan);
    let capacity = rules.plan.candidates.len();
    let mut gathered = Gathered::with_capacity(capacity);
    let mut waiting = FuturesUnordered::new();
    let mut pending: Vec<(usize, Ticket)> = Vec::with_capacity(capacity);
    let start = |node: usize, pending: &mut Vec<(usize, Ticket)>| {
        let ticket = route.sent(node);
        pending.push((node, ticket));
        let answer = ask(node);
        async move { (node, ticket, answer.await) }
    };
    while race.can_reach() {
        waiting.extend(race.top_up().iter().map(|node| start(node, &mut pending)));
        if waiting.is_empty() {
            let nothing_done = !race.has_answers() && gathered.open == 0 && !gathered.answers.is_empty();
            let spares = race.on_shortage();
            if nothing_done || spares.is_empty() {
                break;
            }
            waiting.extend(spares.iter().map(|node| start(node, &mut pending)));
        }
        let next = if race.has_spare() || race.is_enough() {
            tokio::select! {
                biased;
                next = waiting.next() => next,
                () = tokio::time::sleep(rules.hedge_after) => {
                    for (_, ticket) in &pending {
                        route.overdue(*ticket);
                    }
                    let spares = race.on_shortage();
                    if spares.is_empty() && race.is_enough() {
                        break;
                    }
                    rules.hedges.inc_by(spares.len() as u64);
                    waiting.extend(spares.iter().map(|node| start(node, &mut pending)));
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
                route.answered(ticket);
                let weight = weigh(&answer);
                gathered.answers.push((node, answer));
                if weight == Weight::Ends || weight == Weight::Counts && race.on_answer(node) {
                    gathered.complete = true;
                    break;
                }
            }
            Err(HopError::Outdated(roster)) => {
                route.answered(ticket);
                gathered.outdated = Some(roster);
                break;
            }
            Err(error) => {
                route.failed(ticket, &error);
                gathered.open += usize::from(!error.is_unsent());
                race.on_failure(node);
            }
        }
    }
    gathered.enough = race.is_enough();
    gathered.open += pending.len();
    gathered
}
