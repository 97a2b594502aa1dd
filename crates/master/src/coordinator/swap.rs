//! Swaps: writes that rest on what is there, in one step on one copy and in two phases on several.
//!
//! With more than one copy no single node can say what the current version is, so a swap takes two phases, as in CASPaxos
//! (Rystsov, 2018): first the copies promise to refuse whatever is below the new version and say what they hold, then they
//! take it if they still keep the promise.

use annulus_protocol::hop::{Condition, CopyState, CopyWrite, Refusal, Taken, TakenBefore};
use annulus_protocol::{Key, Problem, Version};

use super::change::{Change, Written, plain, replaced_live};
use super::gather::{Weight, all_or_nothing, gather};
use super::plan::Plan;
use super::read::newest;
use super::{Context, Coordinator};
use crate::route::Route;

/// How one attempt at a swap ended.
pub(super) enum Swap {
    Written(Written),
    /// What is there is not what it rests on, or it was too old: nothing happened.
    Refused,
    /// Not all that should took it: only a look at the copies can tell.
    Unclear,
}

impl Coordinator {
    /// Writes `change` as `version` if `current` is the version of the live entry, or `None` and there is none.
    pub(super) async fn swap(
        &self,
        key: &Key,
        change: &Change,
        version: Version,
        current: Option<Version>,
        context: &Context,
    ) -> Result<Swap, Problem> {
        let (route, plan) = self.plan(key)?;
        if plan.is_lost() {
            return Err(Self::still_loading());
        }
        if plan.candidates.len() == 1 && route.placement().is_settled() {
            self.swap_only_copy(key, change, version, current, (&route, plan), context).await
        } else {
            self.promise_and_swap(key, change, version, current, (&route, plan), context).await
        }
    }

    async fn swap_only_copy(
        &self,
        key: &Key,
        change: &Change,
        version: Version,
        current: Option<Version>,
        (route, plan): (&Route, Plan),
        context: &Context,
    ) -> Result<Swap, Problem> {
        let mut write = plain(version, change);
        write.condition = current.map_or(Condition::Absent, Condition::VersionIs);
        let ask = |node| route.hop().put(node, key, &write, Self::call(context));
        let mut gathered = gather(route, self.rules(plan), ask, all_or_nothing).await;
        let outdated = self.was_outdated(&mut gathered);
        match gathered.answers.first() {
            None if outdated => Ok(Swap::Refused),
            None => Err(Self::too_few_take_a_write(0, 1)),
            Some((_, Ok(taken))) => Ok(Swap::Written(Written { version, replaced: taken.was_live })),
            Some((_, Err(refusal))) => {
                self.learn(*refusal)?;
                Ok(Swap::Refused)
            }
        }
    }

    async fn promise_and_swap(
        &self,
        key: &Key,
        change: &Change,
        ballot: Version,
        current: Option<Version>,
        (route, plan): (&Route, Plan),
        context: &Context,
    ) -> Result<Swap, Problem> {
        let Some(promises) = self.promises(key, ballot, route, plan, context).await? else {
            return Ok(Swap::Refused);
        };
        if newest(promises.iter().map(|(_, state)| state)).and_then(live_version) != current {
            return Ok(Swap::Refused);
        }
        let keepers = plan.among(promises.iter().map(|(node, _)| *node).collect());
        let write = CopyWrite { condition: Condition::Promised, ..plain(ballot, change) };
        self.accept(key, &write, route, keepers, context).await
    }

    /// The first phase: as many copies as a write needs promise to take nothing below `ballot`, and say what they hold.
    /// `None` where one refuses.
    async fn promises(
        &self,
        key: &Key,
        ballot: Version,
        route: &Route,
        plan: Plan,
        context: &Context,
    ) -> Result<Option<Vec<(usize, CopyState)>>, Problem> {
        let ask = |node| route.hop().promise(node, key, ballot, Self::call(context));
        let mut gathered = gather(route, self.rules(plan), ask, all_or_nothing).await;
        if self.was_outdated(&mut gathered) {
            return Ok(None);
        }
        let answered = gathered.answers.len();
        let promises: Result<Vec<_>, Refusal> =
            gathered.answers.into_iter().map(|(node, answer)| Ok((node, answer?))).collect();
        match promises {
            Ok(_) if !gathered.enough => Err(Self::too_few_take_a_write(answered, plan.parts[0].at_least)),
            Ok(promises) => Ok(Some(promises)),
            Err(refusal) => {
                self.learn(refusal)?;
                Ok(None)
            }
        }
    }

    /// Carries a write that some copy has past promises that stand in its way, if it is still the newest: their master
    /// died, or is slow and will find them gone. It goes on under a newer version, so that no swap that was left behind on
    /// another copy can come up after it, and remembers the one under which it was made, by which whoever made it knows it.
    pub(super) async fn carry_on(
        &self,
        key: &Key,
        write: &CopyWrite,
        context: &Context,
    ) -> Result<Swap, Problem> {
        let version = self.next_version().as_swap();
        let (route, plan) = self.plan(key)?;
        if plan.is_lost() {
            return Err(Self::still_loading());
        }
        let Some(promises) = self.promises(key, version, &route, plan, context).await? else {
            return Ok(Swap::Refused);
        };
        let newest = newest(promises.iter().map(|(_, state)| state)).map(CopyState::version);
        if newest != Some(write.version) {
            return Ok(Swap::Refused);
        }
        let keepers = plan.among(promises.iter().map(|(node, _)| *node).collect());
        let origin = Some(write.origin.unwrap_or(write.version));
        let write = CopyWrite { version, origin, condition: Condition::Promised, ..write.clone() };
        self.accept(key, &write, &route, keepers, context).await
    }

    /// The second phase. Only copies that promised may take the write: another one may have taken something meanwhile
    /// that the promises did not show.
    async fn accept(
        &self,
        key: &Key,
        write: &CopyWrite,
        route: &Route,
        keepers: Plan,
        context: &Context,
    ) -> Result<Swap, Problem> {
        let ask = |node| route.hop().put(node, key, write, Self::call(context));
        // All are heard: where each of them refuses, it is certain that nothing was written.
        let weigh = |answer: &Result<Taken, Refusal>| {
            if answer.is_ok() { Weight::Counts } else { Weight::Waits }
        };
        let mut gathered = gather(route, self.rules(keepers), ask, weigh).await;
        if self.was_outdated(&mut gathered) {
            return Ok(Swap::Unclear);
        }
        let refusals: Vec<_> = gathered.answers.iter().filter_map(|(_, answer)| answer.err()).collect();
        for refusal in &refusals {
            self.learn(*refusal)?;
        }
        let is_certain = |refusal: &Refusal| {
            !matches!(refusal, Refusal::Newer { taken: TakenBefore::Yes, .. } | Refusal::TooLarge)
        };
        let all_refused = refusals.len() == gathered.answers.len() && gathered.open == 0;
        if all_refused && !refusals.is_empty() && refusals.iter().all(is_certain) {
            return Ok(Swap::Refused);
        }
        if !gathered.enough {
            return Ok(Swap::Unclear);
        }
        if !gathered.complete {
            self.doubts.add(key);
        }
        let taken = gathered.answers.iter().filter_map(|(_, answer)| answer.ok());
        Ok(Swap::Written(Written { version: write.version, replaced: replaced_live(taken) }))
    }
}

/// The version of the live entry, if there is one.
pub(super) fn live_version(state: &CopyState) -> Option<Version> {
    match state {
        CopyState::Value(stored) => Some(stored.version),
        CopyState::Miss { .. } => None,
    }
}
