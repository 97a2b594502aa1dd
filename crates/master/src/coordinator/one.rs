//! Reading one copy, and looking at others where it has none.

use annulus_protocol::hop::{CopyState, MissReason};
use annulus_protocol::{Key, Problem};
use annulus_service::config::Consistency;

use super::gather::{Weight, all_or_nothing, gather};
use super::plan::Plan;
use super::read::{is_repairable, repair_write};
use super::{Context, Coordinator, MAX_ATTEMPTS};
use crate::route::Route;

impl Coordinator {
    /// Reads the nearest copy that holds what it should, another one where that fails or is slow.
    pub(super) async fn read_one(&self, key: &Key, context: &Context) -> Result<CopyState, Problem> {
        for _ in 0..MAX_ATTEMPTS {
            let (route, hash) = self.way_to(key);
            if let Some(owner) = route.placement().only_owner(hash) {
                match self.read_only_copy(&route, owner, key, context).await? {
                    Some(state) => return Ok(state),
                    None => continue,
                }
            }
            let plan = self.plan_for_one(&route, hash)?;
            let ask = |node| route.hop().get(node, key, Self::call(context));
            let mut gathered = gather(&route, self.rules(plan), ask, |_| Weight::Counts).await;
            if self.was_outdated(&mut gathered) {
                continue;
            }
            let Some((node, state)) = gathered.answers.pop() else {
                return Err(Self::too_few_answer_a_read(0, 1));
            };
            return Ok(self.or_elsewhere(key, state, node, (&route, plan), context).await);
        }
        Err(Self::contended())
    }

    /// Whom a read of one copy asks, the nearest in front.
    pub(crate) fn plan_for_one(&self, route: &Route, hash: u64) -> Result<Plan, Problem> {
        let plan = route.plan_for_one(hash, self.ways.load().zone.as_deref());
        if plan.is_empty() {
            return Err(Self::nobody_has_joined());
        }
        if plan.is_lost() {
            return Err(Self::still_loading());
        }
        Ok(plan.for_one())
    }

    /// What a copy says, or, where it has nothing and that need not mean that there is nothing, what the others say: it may
    /// have started empty, or made room. It is brought what they have.
    pub(crate) async fn or_elsewhere(
        &self,
        key: &Key,
        state: CopyState,
        node: usize,
        (route, plan): (&Route, Plan),
        context: &Context,
    ) -> CopyState {
        if !may_be_elsewhere(&state) || plan.candidates.len() < 2 {
            return state;
        }
        let quorum = Context { consistency: Consistency::Quorum, ..*context };
        // Where too few of the others answer, the word of the one has to do.
        let Ok(found) = self.read_quorum(key, &quorum).await else { return state };
        if is_repairable(&found) && found.version() > state.version() {
            self.metrics.repairs.inc();
            let write = repair_write(&found);
            let ask = |node| route.hop().put(node, key, &write, Self::call(context));
            let mut gathered = gather(route, self.rules(plan.only(node)), ask, all_or_nothing).await;
            self.was_outdated(&mut gathered);
        }
        found
    }
}

/// Whether another copy may well hold what this one does not.
fn may_be_elsewhere(state: &CopyState) -> bool {
    let is_over = |reason| matches!(reason, MissReason::Expired | MissReason::Deleted);
    matches!(state, CopyState::Miss { reason, tombstone: false, .. } if !is_over(*reason))
}

#[cfg(test)]
mod tests {
    use annulus_protocol::Version;

    use super::*;

    #[test]
    fn a_copy_that_knows_why_it_has_nothing_is_believed() {
        let miss = |reason, tombstone| CopyState::Miss { version: Version(1), reason, tombstone };
        for reason in [MissReason::Cold, MissReason::Evicted, MissReason::Moved] {
            assert!(may_be_elsewhere(&miss(reason, false)), "{reason:?}");
        }
        assert!(!may_be_elsewhere(&miss(MissReason::Deleted, true)));
        assert!(!may_be_elsewhere(&miss(MissReason::Expired, false)));
    }
}
