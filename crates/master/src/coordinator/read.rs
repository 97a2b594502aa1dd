//! Reading a key: enough answers, the newest wins, copies behind it are repaired first.

use std::sync::Arc;

use annulus_cluster::NodeList;
use annulus_protocol::hop::{Condition, CopyState, CopyWrite, MissReason, Refusal};
use annulus_protocol::value::{StoredValue, Used};
use annulus_protocol::{Key, Problem};
use annulus_service::config::Consistency;

use super::gather::{Gathered, Weight, all_or_nothing, gather};
use super::plan::{Part, Plan};
use super::{Context, Coordinator, MAX_ATTEMPTS};
use crate::hop::HopError;
use crate::route::Route;

/// How often a read waits for a conditional write to end before it ends it itself.
const PATIENT_ATTEMPTS: usize = 5;

/// How a repair went.
enum Repair {
    /// As many copies as a write needs have the version now.
    Done,
    /// A copy knows something newer by now: what was read is history.
    Outdated,
    /// A conditional write is under way on a copy; it is over in a moment.
    Blocked,
    /// Too few copies answered.
    Failed(usize),
    /// A copy goes by a later roster: the read starts over.
    NewRoster,
}

impl Coordinator {
    /// Reads a key.
    ///
    /// # Errors
    /// [`annulus_protocol::ErrorCode::Unavailable`] where too few copies answer. The caller bounds the time.
    pub async fn read(&self, key: &Key, context: &Context) -> Result<CopyState, Problem> {
        match context.consistency {
            Consistency::Quorum => self.read_quorum(key, context).await,
            Consistency::One => self.read_one(key, context).await,
        }
    }

    pub(super) async fn read_quorum(&self, key: &Key, context: &Context) -> Result<CopyState, Problem> {
        for attempt in 1..=MAX_ATTEMPTS {
            let (route, hash) = self.way_to(key);
            if let Some(owner) = route.placement().only_owner(hash) {
                match self.read_only_copy(&route, owner, key, context).await? {
                    Some(state) => return Ok(state),
                    None => continue,
                }
            }
            let plan = Self::plan_by(&route, hash, true)?.lean();
            if plan.is_lost() {
                return Err(Self::still_loading());
            }
            let asked = plan.for_reading(route.placement());
            let ask = |node| route.hop().get(node, key, Self::call(context));
            let mut gathered = gather(&route, self.rules(asked), ask, |_| Weight::Counts).await;
            if self.was_outdated(&mut gathered) {
                continue;
            }
            if let Some(value) = self.value_under_a_floor(key, &mut gathered, &route, &plan, context).await {
                return Ok(value);
            }
            let answered = gathered.answers.len();
            let is_enough =
                asked.parts.iter().all(|part| part.count(gathered.nodes_where(|_| true)) >= part.at_least);
            let mechanisms = route.placement().mechanisms();
            let mut states = gathered.answers.iter().map(|(_, state)| state);
            let newest = if mechanisms.versions { newest(states) } else { states.next() };
            let Some(newest) = newest.filter(|_| is_enough) else {
                return Err(Self::too_few_answer_a_read(answered, asked.authority().at_least));
            };
            // Where every owner has to have a write, one that is away leaves nobody to repair.
            let degraded = !gathered.complete && plan.authority().size() == plan.authority().replicas;
            let seen = || as_used(newest, gathered.answers.iter().map(|(_, state)| state));
            if degraded || !is_repairable(newest) || !mechanisms.read_repair {
                return Ok(seen());
            }
            match self.repair(key, newest, &gathered.answers, &route, plan, context).await {
                Repair::Done => return Ok(seen()),
                Repair::NewRoster => {}
                Repair::Outdated => self.back_off(attempt).await,
                Repair::Blocked if attempt < PATIENT_ATTEMPTS => self.back_off(attempt).await,
                Repair::Blocked => {
                    self.carry_on(key, &repair_write(newest), context).await?;
                    self.back_off(attempt).await;
                }
                Repair::Failed(have) => {
                    return Err(Self::too_few_answer_a_read(have, plan.authority().replicas));
                }
            }
        }
        Err(Self::contended())
    }

    /// A floor is raised by whatever is forgotten in its bucket, so it may stand above a key that it has nothing to do
    /// with. Where it outweighs a value, the other owners are asked too: if as many copies as a write needs hold one
    /// version and none a newer one, nothing newer can have been acknowledged.
    async fn value_under_a_floor(
        &self,
        key: &Key,
        gathered: &mut Gathered<CopyState>,
        route: &Route,
        plan: &Plan,
        context: &Context,
    ) -> Option<CopyState> {
        let states = || gathered.answers.iter().map(|(_, state)| state);
        let is_floor = |state: &CopyState| matches!(state, CopyState::Miss { tombstone: false, .. });
        let version = newest(states().filter(|state| is_repairable(state)))?.version();
        if !newest(states()).is_some_and(is_floor) {
            return None;
        }
        let authority = *plan.authority();
        let asked: NodeList = gathered.nodes_where(|_| true).collect();
        let others: NodeList = authority.members.iter().filter(|node| !asked.contains(*node)).collect();
        let part = Part { members: others, need: others.len(), at_least: others.len(), ..authority };
        let others = Plan { candidates: others, parts: [part, Part::default()] };
        let ask = |node| route.hop().get(node, key, Self::call(context));
        let more = gather(route, self.rules(others), ask, |_| Weight::Counts).await;
        gathered.answers.extend(more.answers);
        let holds = |state: &CopyState| is_repairable(state) && state.version() == version;
        let holding = authority.count(gathered.nodes_where(holds));
        let newer = gathered.answers.iter().any(|(_, s)| is_repairable(s) && s.version() > version);
        if holding < authority.replicas || newer {
            return None;
        }
        gathered.answers.iter().map(|(_, state)| state).find(|state| holds(state)).cloned()
    }

    /// With one copy there is nobody to agree with and nobody else to ask. `None`: the owner goes by a later roster.
    pub(super) async fn read_only_copy(
        &self,
        route: &Route,
        owner: usize,
        key: &Key,
        context: &Context,
    ) -> Result<Option<CopyState>, Problem> {
        let ticket = route.sent(owner);
        match route.hop().get(owner, key, Self::call(context)).await {
            Ok(state) => {
                route.answered(ticket);
                Ok(Some(state))
            }
            Err(HopError::Outdated(roster)) => {
                route.answered(ticket);
                self.fleet.adopt(&Arc::from(roster));
                Ok(None)
            }
            Err(error) => {
                route.failed(ticket, &error);
                Err(Self::too_few_answer_a_read(0, 1))
            }
        }
    }

    /// Brings the version `newest` to as many copies as an acknowledged write has.
    async fn repair(
        &self,
        key: &Key,
        newest: &CopyState,
        answers: &[(usize, CopyState)],
        route: &Route,
        plan: Plan,
        context: &Context,
    ) -> Repair {
        let holds = |(_, state): &&(usize, CopyState)| state.version() >= newest.version();
        let holders: NodeList = answers.iter().filter(holds).map(|(node, _)| *node).collect();
        let have = holders.len();
        let mut lacking = plan.without(&holders);
        if lacking.is_done() {
            return Repair::Done;
        }
        self.metrics.repairs.inc();
        let asked = |node: usize| answers.iter().any(|(known, _)| *known == node);
        lacking.candidates.sort_by_rank(|node| u8::from(!asked(node)));
        let write = repair_write(newest);
        let ask = |node| route.hop().put(node, key, &write, Self::call(context));
        let mut gathered = gather(route, self.rules(lacking), ask, all_or_nothing).await;
        if self.was_outdated(&mut gathered) {
            return Repair::NewRoster;
        }
        match gathered.answers.iter().find_map(|(_, answer)| answer.err()) {
            Some(Refusal::Promised(ballot)) => {
                self.versions.observe(ballot);
                Repair::Blocked
            }
            Some(_) => Repair::Outdated,
            None if gathered.complete => Repair::Done,
            None => Repair::Failed(have + gathered.answers.len()),
        }
    }
}

/// The newest of some answers; a value before a floor that only says the same version was forgotten, but behind an answer that
/// says its time had come: a tombstone of the same version says so too.
pub(super) fn newest<'a>(answers: impl Iterator<Item = &'a CopyState>) -> Option<&'a CopyState> {
    let rank = |state: &CopyState| {
        let tie = match state {
            CopyState::Miss { reason: MissReason::Expired, .. } | CopyState::Miss { tombstone: true, .. } => {
                2
            }
            CopyState::Value(_) => 1,
            CopyState::Miss { .. } => 0,
        };
        (state.version(), tie)
    };
    answers.max_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| bytes(a).cmp(bytes(b))))
}

/// A value with what all who hold it know of its use: each copy sees only some of the reads.
fn as_used<'a>(newest: &CopyState, answers: impl Iterator<Item = &'a CopyState>) -> CopyState {
    let CopyState::Value(newest) = newest else { return newest.clone() };
    let same = answers.filter_map(|state| match state {
        CopyState::Value(stored) if stored.version == newest.version => Some(stored.used),
        _ => None,
    });
    let either = |one: Used, other: Used| Used {
        before: one.before || other.before,
        idle_s: one.idle_s.min(other.idle_s),
    };
    CopyState::Value(StoredValue { used: same.fold(newest.used, either), ..newest.clone() })
}

/// Breaks the tie of two values under one version, which only two masters with one number could make.
fn bytes(state: &CopyState) -> &[u8] {
    match state {
        CopyState::Value(stored) => &stored.content.bytes,
        CopyState::Miss { .. } => &[],
    }
}

/// Values and tombstones can be brought to other copies; a floor says nothing of the key itself.
pub(super) fn is_repairable(state: &CopyState) -> bool {
    matches!(state, CopyState::Value(_) | CopyState::Miss { tombstone: true, .. })
}

pub(super) fn repair_write(newest: &CopyState) -> CopyWrite {
    let version = newest.version();
    let condition = Condition::Always;
    match newest {
        CopyState::Value(stored) => CopyWrite {
            version,
            value: Some(stored.content.clone()),
            ttl_left_ms: stored.ttl_left_ms,
            flags: stored.flags,
            marks: stored.marks,
            origin: stored.origin,
            condition,
            fetched: stored.used.before,
        },
        CopyState::Miss { .. } => {
            let (value, ttl_left_ms, origin) = (None, None, None);
            CopyWrite { version, value, ttl_left_ms, flags: 0, marks: 0, origin, condition, fetched: false }
        }
    }
}

#[cfg(test)]
mod tests {
    use annulus_protocol::Version;
    use annulus_protocol::hop::MissReason;
    use annulus_protocol::value::Content;

    use super::*;

    fn value(version: u64) -> CopyState {
        let content = Content { content_type: "text/plain".into(), bytes: "x".into() };
        CopyState::Value(StoredValue::new(Version(version), content))
    }

    #[test]
    fn a_value_was_read_if_any_copy_saw_it_and_when_the_last_one_did() {
        let with = |before, idle_s| {
            let CopyState::Value(stored) = value(2) else { unreachable!() };
            CopyState::Value(StoredValue { used: Used { before, idle_s }, ..stored })
        };
        let answers = [with(false, 9), with(true, 5), value(1), miss(1, true)];
        assert_eq!(as_used(&answers[0], answers.iter()), with(true, 5));
        assert_eq!(as_used(&answers[3], answers.iter()), answers[3]);
    }

    fn miss(version: u64, tombstone: bool) -> CopyState {
        CopyState::Miss { version: Version(version), reason: MissReason::Cold, tombstone }
    }

    #[test]
    fn the_newest_version_wins_and_a_value_beats_its_own_floor() {
        let of = |states: [CopyState; 2]| newest(states.iter()).cloned();
        assert_eq!(of([value(1), value(2)]), Some(value(2)));
        assert_eq!(of([miss(3, true), value(2)]), Some(miss(3, true)));
        assert_eq!(of([value(2), miss(2, false)]), Some(value(2)));
        assert_eq!(of([miss(3, false), value(2)]), Some(miss(3, false)));
        let expired = CopyState::Miss { version: Version(2), reason: MissReason::Expired, tombstone: false };
        assert_eq!(of([expired.clone(), value(2)]), Some(expired));
        assert_eq!(of([value(2), miss(2, true)]), Some(miss(2, true)));
    }

    #[test]
    fn a_floor_is_never_carried_to_other_copies() {
        assert!(is_repairable(&value(1)));
        assert!(is_repairable(&miss(1, true)));
        assert!(!is_repairable(&miss(1, false)));
    }
}
