//! Writing a key by what is there: read, decide, swap, and again if something came between.

use annulus_protocol::condition::Precondition;
use annulus_protocol::hop::{CopyState, Look};
use annulus_protocol::value::StoredValue;
use annulus_protocol::{Key, Problem, Version};
use annulus_service::config::Consistency;

use super::change::{Change, Written};
use super::read::is_repairable;
use super::swap::{Swap, live_version};
use super::{Context, Coordinator, MAX_ATTEMPTS};

/// How a conditional write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Written(Written),
    /// The condition does not hold; the version there now, if any.
    Failed(Option<Version>),
}

/// What is to become of a key.
#[derive(Debug, Clone)]
pub enum Decision {
    /// Nothing.
    Keep,
    /// This.
    Write(Change),
}

impl Coordinator {
    /// Writes a key if `precondition` holds of it.
    ///
    /// # Errors
    /// As [`Coordinator::write`].
    pub async fn write_if(
        &self,
        key: &Key,
        change: &Change,
        precondition: &Precondition,
        context: &Context,
    ) -> Result<Outcome, Problem> {
        let decide = |current: Option<&StoredValue>| {
            let version = current.map(|stored| stored.version);
            let holds = precondition.holds(version);
            (if holds { Decision::Write(change.clone()) } else { Decision::Keep }, version)
        };
        let (current, written) = self.update(key, context, decide).await?;
        Ok(written.map_or(Outcome::Failed(current), Outcome::Written))
    }

    /// Reads a key, has `decide` say what is to become of it, and does that if nothing came between; else it is asked again.
    /// Gives back what was said last beside the decision, and the write if there was one.
    ///
    /// # Errors
    /// As [`Coordinator::write`].
    pub async fn update<R>(
        &self,
        key: &Key,
        context: &Context,
        mut decide: impl FnMut(Option<&StoredValue>) -> (Decision, R),
    ) -> Result<(R, Option<Written>), Problem> {
        // What a write rests on is never read from one copy alone, and counts as read only where the client reads it.
        let look = if context.look == Look::ShowsUse { Look::ShowsUse } else { Look::Aside };
        let context = &Context { consistency: Consistency::Quorum, look, ..*context };
        let doubt = self.doubts.about(key);
        let mut unclear = false;
        for attempt in 1..=MAX_ATTEMPTS {
            let state = self.read(key, context).await?;
            let current = live_version(&state);
            let (decision, said) = decide(live(&state));
            let Decision::Write(change) = decision else {
                if unclear {
                    return Err(Self::outcome_unknown());
                }
                doubt.dispel();
                return Ok((said, None));
            };
            let version = self.next_version().as_swap();
            match self.swap(key, &change, version, current, context).await? {
                Swap::Written(written) => {
                    doubt.dispel();
                    return Ok((said, Some(written)));
                }
                Swap::Refused => self.back_off(attempt).await,
                Swap::Unclear => {
                    let now = self.read(key, context).await?;
                    if was_made_as(&now, version) {
                        doubt.dispel();
                        let replaced = current.is_some();
                        return Ok((said, Some(Written { version: now.version(), replaced })));
                    }
                    if live_version(&now) != current || now.version() >= version {
                        return Err(Self::outcome_unknown());
                    }
                    unclear = true;
                    self.back_off(attempt).await;
                }
            }
        }
        Err(if unclear { Self::outcome_unknown() } else { Self::contended() })
    }
}

fn live(state: &CopyState) -> Option<&StoredValue> {
    match state {
        CopyState::Value(stored) => Some(stored),
        CopyState::Miss { .. } => None,
    }
}

/// Whether a state was made by the write of this version, which may have been carried on under a newer one since. A floor of
/// this version does not show it: one copy alone may have taken the write and forgotten it, and what the read found was
/// brought to no other.
fn was_made_as(state: &CopyState, version: Version) -> bool {
    let carried_on = matches!(state, CopyState::Value(stored) if stored.origin == Some(version));
    carried_on || is_repairable(state) && state.version() == version
}

#[cfg(test)]
mod tests {
    use annulus_protocol::hop::MissReason;

    use super::*;

    #[test]
    fn a_floor_does_not_show_that_a_write_happened() {
        let version = Version(7);
        let miss = |tombstone| CopyState::Miss { version, reason: MissReason::Cold, tombstone };
        assert!(was_made_as(&miss(true), version));
        assert!(!was_made_as(&miss(false), version));
    }
}
