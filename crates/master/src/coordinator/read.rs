//! Reading a key: enough answers, the newest wins, copies behind it are repaired first.

use annulus_protocol::hop::{Condition, CopyState, CopyWrite, MissReason, Refusal};
use annulus_protocol::{Key, Problem};
use annulus_service::config::Consistency;

use super::gather::{Gathered, Rules, Weight, all_or_nothing, gather};
use super::race::Preference;
use super::{Context, Coordinator, MAX_ATTEMPTS};

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
}

impl Coordinator {
    /// Reads a key.
    ///
    /// # Errors
    /// [`annulus_protocol::ErrorCode::Unavailable`] where too few copies answer. The caller bounds the time.
    pub async fn read(&self, key: &Key, context: &Context) -> Result<CopyState, Problem> {
        if self.quorum.preference == 1 {
            return self.read_only_copy(key, context).await;
        }
        for attempt in 1..=MAX_ATTEMPTS {
            let preference = self.preference(key);
            let (need, at_least) = match context.consistency {
                Consistency::Quorum => (self.quorum.reads, self.quorum.reads_at_least),
                Consistency::One => (1, 1),
            };
            let ask = |node| self.hop.get(node, key, self.call(context));
            let rules = Rules { at_least, ..self.rules(preference, need) };
            let mut gathered = gather(&self.fleet, rules, ask, |_| Weight::Counts).await;
            if let Some(value) = self.value_under_a_floor(key, &mut gathered, preference, context).await {
                return Ok(value);
            }
            let newest = newest(gathered.answers.iter().map(|(_, state)| state));
            let Some(newest) = newest.filter(|_| gathered.answers.len() >= at_least) else {
                return Err(Self::too_few_answer_a_read(gathered.answers.len(), at_least));
            };
            // Where every owner has to have a write, one that is away leaves nobody to repair.
            let degraded = !gathered.complete && self.quorum.preference == self.quorum.replicas;
            if context.consistency == Consistency::One || degraded || !is_repairable(newest) {
                return Ok(newest.clone());
            }
            match self.repair(key, newest, &gathered.answers, preference, context).await {
                Repair::Done => return Ok(newest.clone()),
                Repair::Outdated => self.back_off(attempt).await,
                Repair::Blocked if attempt < PATIENT_ATTEMPTS => self.back_off(attempt).await,
                Repair::Blocked => {
                    self.carry_on(key, &repair_write(newest), context).await?;
                    self.back_off(attempt).await;
                }
                Repair::Failed(have) => return Err(Self::too_few_answer_a_read(have, self.quorum.replicas)),
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
        preference: Preference,
        context: &Context,
    ) -> Option<CopyState> {
        let states = || gathered.answers.iter().map(|(_, state)| state);
        let is_floor = |state: &CopyState| matches!(state, CopyState::Miss { tombstone: false, .. });
        let known = newest(states().filter(|state| is_repairable(state)))?;
        if context.consistency == Consistency::One || !newest(states()).is_some_and(is_floor) {
            return None;
        }
        let version = known.version();
        let asked = |node: usize| gathered.answers.iter().any(|(n, _)| *n == node);
        let others = Preference::new(preference.as_slice().iter().copied().filter(|node| !asked(*node)));
        let need = others.as_slice().len();
        let ask = |node| self.hop.get(node, key, self.call(context));
        let more = gather(&self.fleet, self.rules(others, need), ask, |_| Weight::Counts).await;
        gathered.answers.extend(more.answers);
        let holding = gathered.answers.iter().filter(|(_, s)| is_repairable(s) && s.version() == version);
        let newer = gathered.answers.iter().any(|(_, s)| is_repairable(s) && s.version() > version);
        let mut holding = holding.map(|(_, state)| state).peekable();
        let value = (*holding.peek()?).clone();
        (holding.count() >= self.quorum.replicas && !newer).then_some(value)
    }

    /// With one copy there is nobody to agree with and nobody else to ask.
    async fn read_only_copy(&self, key: &Key, context: &Context) -> Result<CopyState, Problem> {
        let hash = annulus_ring::key_hash(key.as_bytes());
        let Some(owner) = self.ring.owner(hash) else { return Err(Self::too_few_answer_a_read(0, 1)) };
        let ticket = self.fleet.sent(owner);
        match self.hop.get(owner, key, self.call(context)).await {
            Ok(state) => {
                self.fleet.answered(ticket);
                Ok(state)
            }
            Err(error) => {
                self.fleet.failed(ticket, &error);
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
        preference: Preference,
        context: &Context,
    ) -> Repair {
        let holds = |node: usize| answers.iter().any(|(n, s)| *n == node && s.version() >= newest.version());
        let have = answers.iter().filter(|(node, _)| holds(*node)).count();
        if have >= self.quorum.replicas {
            return Repair::Done;
        }
        self.metrics.repairs.inc();
        let asked = |node: usize| answers.iter().any(|(n, _)| *n == node);
        let lacking = preference.as_slice().iter().copied().filter(|node| !holds(*node));
        let (first, rest): (Vec<_>, Vec<_>) = lacking.partition(|node| asked(*node));
        let targets = Preference::new(first.into_iter().chain(rest));
        let write = repair_write(newest);
        let ask = |node| self.hop.put(node, key, &write, self.call(context));
        let need = self.quorum.replicas - have;
        let gathered = gather(&self.fleet, self.rules(targets, need), ask, all_or_nothing).await;
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

/// The newest of some answers; a value before a floor that only says the same version was forgotten, but behind one that
/// says its time had come.
pub(super) fn newest<'a>(answers: impl Iterator<Item = &'a CopyState>) -> Option<&'a CopyState> {
    let rank = |state: &CopyState| {
        let tie = match state {
            CopyState::Miss { reason: MissReason::Expired, tombstone: false, .. } => 2,
            CopyState::Value(_) => 1,
            CopyState::Miss { .. } => 0,
        };
        (state.version(), tie)
    };
    answers.max_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| bytes(a).cmp(bytes(b))))
}

/// Breaks the tie of two values under one version, which only two masters with one number could make.
fn bytes(state: &CopyState) -> &[u8] {
    match state {
        CopyState::Value(stored) => &stored.content.bytes,
        CopyState::Miss { .. } => &[],
    }
}

/// Values and tombstones can be brought to other copies; a floor says nothing of the key itself.
fn is_repairable(state: &CopyState) -> bool {
    matches!(state, CopyState::Value(_) | CopyState::Miss { tombstone: true, .. })
}

fn repair_write(newest: &CopyState) -> CopyWrite {
    let version = newest.version();
    let (value, ttl_left_ms, flags, origin) = match newest {
        CopyState::Value(stored) => {
            (Some(stored.content.clone()), stored.ttl_left_ms, stored.flags, stored.origin)
        }
        CopyState::Miss { .. } => (None, None, 0, None),
    };
    CopyWrite { version, value, ttl_left_ms, flags, origin, condition: Condition::Always }
}

#[cfg(test)]
mod tests {
    use annulus_protocol::Version;
    use annulus_protocol::hop::MissReason;
    use annulus_protocol::value::{Content, StoredValue};

    use super::*;

    fn value(version: u64) -> CopyState {
        let content = Content { content_type: "text/plain".into(), bytes: "x".into() };
        CopyState::Value(StoredValue {
            version: Version(version),
            origin: None,
            ttl_left_ms: None,
            flags: 0,
            content,
        })
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
    }

    #[test]
    fn a_floor_is_never_carried_to_other_copies() {
        assert!(is_repairable(&value(1)));
        assert!(is_repairable(&miss(1, true)));
        assert!(!is_repairable(&miss(1, false)));
    }
}
