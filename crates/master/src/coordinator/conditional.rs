//! Writing a key if a condition holds: compare-and-swap over copies.
//!
//! With one copy its node checks and writes in one step. With more, no single node can say what the current version is,
//! so the write takes two phases, as in CASPaxos (Rystsov, 2018): first the copies promise to refuse whatever is below
//! the new version and say what they hold, then they take it if they still keep the promise.

use annulus_protocol::condition::Precondition;
use annulus_protocol::hop::{Condition, CopyState, CopyWrite};
use annulus_protocol::{Key, Problem, Version};

use super::gather::{all_or_nothing, gather};
use super::race::Preference;
use super::write::replaced_live;
use super::{Change, Context, Coordinator, MAX_ATTEMPTS, Written, plain};

/// How a conditional write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Written(Written),
    /// The condition does not hold; the version there now, if any.
    Failed(Option<Version>),
}

/// How one attempt at the second phase ended.
pub(super) enum Accept {
    Written(Written),
    /// The condition may still hold, but not for this version: nothing happened.
    Refused,
    /// Not all that should took it: only a look at the copies can tell.
    Unclear,
}

impl Coordinator {
    /// Writes a key if `precondition` holds of it.
    ///
    /// # Errors
    /// As [`Coordinator::write`]; besides, [`annulus_protocol::ErrorCode::OutcomeUnknown`] where a concurrent write hides whether this one
    /// happened first.
    pub async fn write_if(
        &self,
        key: &Key,
        change: &Change,
        precondition: &Precondition,
        context: &Context,
    ) -> Result<Outcome, Problem> {
        let mut unclear = false;
        for attempt in 1..=MAX_ATTEMPTS {
            let current = live_version(&self.read(key, context).await?);
            if !precondition.holds(current) {
                return if unclear { Err(Self::outcome_unknown()) } else { Ok(Outcome::Failed(current)) };
            }
            let version = self.next_version().as_swap();
            let accepted = if self.quorum.preference == 1 {
                self.swap_only_copy(key, change, version, current, context).await?
            } else {
                self.promise_and_swap(key, change, version, current, context).await?
            };
            match accepted {
                Accept::Written(written) => return Ok(Outcome::Written(written)),
                Accept::Refused => self.back_off(attempt).await,
                Accept::Unclear => {
                    let now = self.read(key, context).await?;
                    if now.version() == version {
                        let replaced = current.is_some();
                        return Ok(Outcome::Written(Written { version, replaced }));
                    }
                    if live_version(&now) != current {
                        return Err(Self::outcome_unknown());
                    }
                    unclear = true;
                    self.back_off(attempt).await;
                }
            }
        }
        Err(Self::contended())
    }

    async fn swap_only_copy(
        &self,
        key: &Key,
        change: &Change,
        version: Version,
        current: Option<Version>,
        context: &Context,
    ) -> Result<Accept, Problem> {
        let mut write = plain(version, change);
        write.condition = current.map_or(Condition::Absent, Condition::VersionIs);
        let ask = |node| self.hop.put(node, key, &write, self.call(context));
        let gathered = gather(&self.fleet, self.rules(self.preference(key), 1), ask, all_or_nothing).await;
        match gathered.answers.first() {
            None => Err(Self::too_few_answer(0, 1)),
            Some((_, Ok(taken))) => Ok(Accept::Written(Written { version, replaced: taken.was_live })),
            Some((_, Err(refusal))) => {
                self.learn(*refusal)?;
                Ok(Accept::Refused)
            }
        }
    }

    pub(super) async fn promise_and_swap(
        &self,
        key: &Key,
        change: &Change,
        ballot: Version,
        current: Option<Version>,
        context: &Context,
    ) -> Result<Accept, Problem> {
        let need = self.quorum.replicas.max(self.quorum.reads);
        let preference = self.preference(key);
        let ask = |node| self.hop.promise(node, key, ballot, self.call(context));
        let promises = gather(&self.fleet, self.rules(preference, need), ask, all_or_nothing).await;
        if let Some(refusal) = promises.answers.iter().find_map(|(_, answer)| answer.as_ref().err()) {
            self.learn(*refusal)?;
            return Ok(Accept::Refused);
        }
        if !promises.complete {
            return Err(Self::too_few_answer(promises.answers.len(), need));
        }
        let states =
            promises.answers.iter().filter_map(|(node, answer)| Some((*node, answer.as_ref().ok()?)));
        let newest = states.max_by_key(|(_, state)| state.version()).map(|(_, state)| state);
        if newest.and_then(live_version) != current {
            return Ok(Accept::Refused);
        }
        let keepers = Preference::new(promises.answers.iter().map(|(node, _)| *node));
        self.accept(key, change, ballot, keepers, context).await
    }

    /// The second phase. Only copies that promised may take the write: another one may have taken something meanwhile
    /// that the promises did not show.
    async fn accept(
        &self,
        key: &Key,
        change: &Change,
        version: Version,
        keepers: Preference,
        context: &Context,
    ) -> Result<Accept, Problem> {
        let write = CopyWrite { condition: Condition::Promised, ..plain(version, change) };
        let ask = |node| self.hop.put(node, key, &write, self.call(context));
        let rules = self.rules(keepers, self.quorum.replicas);
        let gathered = gather(&self.fleet, rules, ask, all_or_nothing).await;
        if let Some(refusal) = gathered.answers.iter().find_map(|(_, answer)| answer.err()) {
            self.learn(refusal)?;
            return Ok(Accept::Unclear);
        }
        if !gathered.complete {
            return Ok(Accept::Unclear);
        }
        let taken = gathered.answers.iter().filter_map(|(_, answer)| answer.ok());
        Ok(Accept::Written(Written { version, replaced: replaced_live(taken) }))
    }
}

/// The version of the live entry, if there is one.
pub(super) fn live_version(state: &CopyState) -> Option<Version> {
    match state {
        CopyState::Value(stored) => Some(stored.version),
        CopyState::Miss { .. } => None,
    }
}
