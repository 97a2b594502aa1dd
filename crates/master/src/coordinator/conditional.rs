//! Writing a key if a condition holds: read, decide, swap, and again if something came between.

use annulus_protocol::condition::Precondition;
use annulus_protocol::hop::CopyState;
use annulus_protocol::value::StoredValue;
use annulus_protocol::{Key, Problem, Version};
use annulus_service::config::Consistency;

use super::change::{Change, Written};
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
        // What a write rests on is never read from one copy alone.
        let context = &Context { consistency: Consistency::Quorum, ..*context };
        let mut unclear = false;
        for attempt in 1..=MAX_ATTEMPTS {
            let current = live_version(&self.read(key, context).await?);
            if !precondition.holds(current) {
                return if unclear { Err(Self::outcome_unknown()) } else { Ok(Outcome::Failed(current)) };
            }
            let version = self.next_version().as_swap();
            match self.swap(key, change, version, current, context).await? {
                Swap::Written(written) => return Ok(Outcome::Written(written)),
                Swap::Refused => self.back_off(attempt).await,
                Swap::Unclear => {
                    let now = self.read(key, context).await?;
                    if first_version(&now) == version {
                        let replaced = current.is_some();
                        return Ok(Outcome::Written(Written { version: now.version(), replaced }));
                    }
                    if live_version(&now) != current || now.version() > version {
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

/// The version under which a state was first written.
fn first_version(state: &CopyState) -> Version {
    match state {
        CopyState::Value(StoredValue { origin: Some(origin), .. }) => *origin,
        other => other.version(),
    }
}
