//! Writing a key if a condition holds: compare-and-swap over copies.
//!
//! With one copy its node checks and writes in one step. With more, no single node can say what the current version is,
//! so the write takes two phases, as in CASPaxos (Rystsov, 2018): first the copies promise to refuse whatever is below
//! the new version and say what they hold, then they take it if they still keep the promise.

use annulus_protocol::condition::Precondition;
use annulus_protocol::hop::{Condition, CopyState, Refusal};
use annulus_protocol::{ErrorCode, Key, Problem, Version};

use super::gather::gather;
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
enum Accept {
    Written(Written),
    /// The condition may still hold, but not for this version: nothing happened.
    Refused,
    /// Somebody took it and somebody refused: only a look at the copies can tell.
    Unclear,
}

impl Coordinator {
    /// Writes a key if `precondition` holds of it.
    ///
    /// # Errors
    /// As [`Coordinator::write`]; besides, [`ErrorCode::OutcomeUnknown`] where a concurrent write hides whether this one
    /// happened first.
    pub async fn write_if(
        &self,
        key: &Key,
        change: &Change,
        precondition: &Precondition,
        context: &Context,
    ) -> Result<Outcome, Problem> {
        for attempt in 1..=MAX_ATTEMPTS {
            let current = live_version(&self.read(key, context).await?);
            if !precondition.holds(current) {
                return Ok(Outcome::Failed(current));
            }
            let version = self.next_version();
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
                    return Err(Problem::new(
                        ErrorCode::OutcomeUnknown,
                        "another write of the key came between; read it before trying again",
                    ));
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
        let gathered = gather(&self.fleet, self.rules(self.preference(key), 1), ask, |_| true).await;
        match gathered.answers.first() {
            None => Err(Self::too_few_answer(0, 1)),
            Some((_, Ok(taken))) => Ok(Accept::Written(Written { version, replaced: taken.was_live })),
            Some((_, Err(refusal))) => {
                self.learn(*refusal)?;
                Ok(Accept::Refused)
            }
        }
    }

    async fn promise_and_swap(
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
        let promises = gather(&self.fleet, self.rules(preference, need), ask, Result::is_err).await;
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
        let has_promised = |node: usize| promises.answers.iter().any(|(n, _)| *n == node);
        self.accept(key, change, ballot, preference, has_promised, context).await
    }

    /// The second phase. A copy that promised takes the write only if it still keeps the promise; one that was not asked
    /// before may stand in, because it too refuses what is below a version that it knows.
    async fn accept(
        &self,
        key: &Key,
        change: &Change,
        version: Version,
        mut preference: super::Preference,
        promised: impl Fn(usize) -> bool,
        context: &Context,
    ) -> Result<Accept, Problem> {
        preference.as_mut_slice().sort_by_key(|node| !promised(*node));
        let unconditional = plain(version, change);
        let held =
            annulus_protocol::hop::CopyWrite { condition: Condition::Promised, ..unconditional.clone() };
        let ask = |node| {
            let write = if promised(node) { &held } else { &unconditional };
            self.hop.put(node, key, write, self.call(context))
        };
        let need = self.quorum.replicas;
        let gathered = gather(&self.fleet, self.rules(preference, need), ask, Result::is_err).await;
        let taken = || gathered.answers.iter().filter_map(|(_, answer)| answer.ok());
        let refused = gathered.answers.iter().find_map(|(_, answer)| answer.err());
        match refused {
            None if gathered.complete => {
                Ok(Accept::Written(Written { version, replaced: replaced_live(taken()) }))
            }
            None => Err(Self::too_few_answer(gathered.answers.len(), need)),
            // A race that ended early says nothing of the calls that were still out.
            Some(refusal) => {
                if let Refusal::Newer(_) | Refusal::Promised(_) | Refusal::TooLarge = refusal {
                    self.learn(refusal)?;
                }
                Ok(Accept::Unclear)
            }
        }
    }
}

fn live_version(state: &CopyState) -> Option<Version> {
    match state {
        CopyState::Value(stored) => Some(stored.version),
        CopyState::Miss { .. } => None,
    }
}
