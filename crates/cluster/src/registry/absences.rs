//! Who has been without a lease for so long that it is dead: observations in, a name out.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Roster, Seat};

/// Observations farther apart than this say nothing of the time between them.
const MAX_GAP_MS: u64 = 3_000;

/// Members whose lease was missing in every observation, since when.
#[derive(Debug, Default)]
pub(super) struct Absences {
    last_ms: Option<u64>,
    /// By name and life. `None` after the first observation: that one ended some time before the next began, and only what
    /// is certain counts.
    since_ms: BTreeMap<(String, u64), Option<u64>>,
}

impl Absences {
    /// Takes who holds the leases of the members of `roster`, in their order, as asked at `now_ms` or later. Answers with
    /// the member that has been without a lease for a whole `ttl` while others had theirs: the one that lacks it longest.
    pub(super) fn observe(
        &mut self,
        now_ms: u64,
        roster: &Roster,
        holders: &[Option<u64>],
        ttl: Duration,
    ) -> Option<Seat> {
        let ttl_ms = ttl.as_millis() as u64;
        let max_gap_ms = MAX_GAP_MS.min(ttl_ms / 2);
        let last_ms = self.last_ms.replace(now_ms);
        let continues =
            last_ms.and_then(|last| now_ms.checked_sub(last)).is_some_and(|gap| gap <= max_gap_ms);
        if !continues {
            self.since_ms.clear();
        }
        let mut missing = BTreeMap::new();
        let mut somebody_stays = false;
        let mut longest: Option<(u64, &Seat)> = None;
        for (member, holder) in roster.members().iter().zip(holders) {
            let seat = &member.seat;
            // A later life that holds the lease is about to be a member.
            if holder.is_some_and(|holder| holder >= seat.incarnation) {
                somebody_stays |= !member.leaving;
                continue;
            }
            let life = (seat.node.name.clone(), seat.incarnation);
            let since = self.since_ms.get(&life).map(|since| since.unwrap_or(now_ms));
            missing.insert(life, since);
            let Some(since) = since else { continue };
            if now_ms - since >= ttl_ms && longest.is_none_or(|(earliest, _)| since < earliest) {
                longest = Some((since, seat));
            }
        }
        // Where nobody is left to take over, it is the registry or the network that is ill. Once it is well, some come back
        // a moment before the others, who must not pay for it: nothing is held against anybody.
        if !somebody_stays {
            self.since_ms.clear();
            return None;
        }
        self.since_ms = missing;
        longest.map(|(_, seat)| seat.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Beat, Layout, Node};

    const TTL: Duration = Duration::from_secs(10);
    const HERE: Option<u64> = Some(7);

    fn seat(name: &str, incarnation: u64) -> Seat {
        Seat { node: Node::new(name, format!("{name}:1")), incarnation }
    }

    /// Members a, b and c, in life 7, settled.
    fn roster() -> Roster {
        let mut roster = Roster::new(Layout { replicas: 2, virtual_nodes: 8 });
        for name in ["a", "b", "c"] {
            let join = Beat { seat: seat(name, 7), settled: 0, leaving: false };
            roster = roster.beat(&join).unwrap().unwrap();
            for member in roster.members().to_vec() {
                let settled = Beat { seat: member.seat, settled: roster.epoch(), leaving: false };
                roster = roster.beat(&settled).unwrap().unwrap_or(roster);
            }
        }
        assert!(roster.is_settled());
        roster
    }

    /// What is seen once a second from `from_s` to `to_s`, and when somebody is given up.
    fn watch(
        absences: &mut Absences,
        seconds: std::ops::RangeInclusive<u64>,
        holders: [Option<u64>; 3],
    ) -> Option<(u64, String)> {
        seconds.into_iter().find_map(|second| {
            let dead = absences.observe(second * 1_000, &roster(), &holders, TTL)?;
            Some((second, dead.node.name))
        })
    }

    #[test]
    fn one_without_a_lease_is_given_up_after_a_whole_ttl_as_certainly_seen() {
        let mut absences = Absences::default();
        assert_eq!(watch(&mut absences, 0..=5, [HERE; 3]), None);
        let given_up = watch(&mut absences, 6..=60, [HERE, None, HERE]);
        // First missing in the observation of second 6, which may have been asked as late as second 7.
        assert_eq!(given_up, Some((17, "b".to_owned())));
    }

    #[test]
    fn an_older_life_does_not_hold_the_lease_and_a_later_one_does() {
        assert!(watch(&mut Absences::default(), 0..=60, [HERE, Some(6), HERE]).is_some());
        assert_eq!(watch(&mut Absences::default(), 0..=60, [HERE, Some(8), HERE]), None);
    }

    #[test]
    fn whoever_comes_back_starts_afresh() {
        let mut absences = Absences::default();
        for start in [0, 10, 20, 30] {
            assert_eq!(watch(&mut absences, start..=start + 8, [HERE, None, HERE]), None);
            assert_eq!(watch(&mut absences, start + 9..=start + 9, [HERE; 3]), None);
        }
    }

    #[test]
    fn a_gap_or_a_clock_that_goes_back_forgets_everything() {
        let mut absences = Absences::default();
        assert_eq!(watch(&mut absences, 0..=9, [HERE, None, HERE]), None);
        assert_eq!(watch(&mut absences, 13..=22, [HERE, None, HERE]), None);
        assert_eq!(watch(&mut absences, 3..=13, [HERE, None, HERE]), None);
        assert!(watch(&mut absences, 14..=14, [HERE, None, HERE]).is_some());
    }

    #[test]
    fn where_all_leases_are_missing_nobody_is_given_up_nor_held_to_it() {
        let mut absences = Absences::default();
        assert_eq!(watch(&mut absences, 0..=60, [None; 3]), None);
        let back_one_by_one = watch(&mut absences, 61..=70, [HERE, None, None]);
        assert_eq!(back_one_by_one, None);
        assert_eq!(watch(&mut absences, 71..=100, [HERE; 3]), None);
        assert_eq!(watch(&mut absences, 101..=105, [HERE, None, HERE]), None);
        assert_eq!(watch(&mut absences, 106..=106, [None; 3]), None);
        assert_eq!(watch(&mut absences, 107..=117, [HERE, None, HERE]), None);
    }

    #[test]
    fn a_leaver_alone_has_nobody_to_hand_over_to() {
        let leaving = roster().retire("a").unwrap();
        let mut absences = Absences::default();
        for second in 0..60 {
            assert_eq!(absences.observe(second * 1_000, &leaving, &[HERE, None, None], TTL), None);
        }
    }

    #[test]
    fn of_two_the_one_that_is_missing_longer_is_first() {
        let mut absences = Absences::default();
        assert_eq!(watch(&mut absences, 0..=2, [HERE, HERE, None]), None);
        assert_eq!(watch(&mut absences, 3..=60, [HERE, None, None]), Some((11, "c".to_owned())));
    }
}
