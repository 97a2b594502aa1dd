//! What is to become of one entry when views change: a read of the key by the base's quorum, made by one who holds it.

use annulus_cluster::NodeList;

/// What another node says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It holds this version, a tombstone perhaps.
    Holds(u64),
    /// It holds nothing; the highest version that it has forgotten in the key's bucket, as it counts in its role.
    Lacks(u64),
}

/// What is known of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) version: u64,
    /// Whether it says that there is nothing: it can do no harm.
    pub(crate) is_tombstone: bool,
    /// Whether the one who asks speaks for the key.
    pub(crate) is_authority: bool,
    /// The others who speak for it.
    pub(crate) authorities: NodeList,
    /// How many who spoke for it are gone.
    pub(crate) gone: usize,
    /// Copies of a value that has been acknowledged or shown.
    pub(crate) replicas: usize,
    /// The others who should hold it from now on.
    pub(crate) targets: NodeList,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Those who lack it must get it; perhaps nobody does.
    Send {
        /// Those who lack it.
        to: NodeList,
        /// Whether nothing newer can have been acknowledged: then a floor above it is of other keys, or of a write that came to
        /// nothing.
        is_newest: bool,
    },
    /// A newer version is known, and nobody has to find this one any more.
    Superseded,
    /// It may not be read any more: so many may have forgotten something newer that it may have been acknowledged.
    Forgotten,
}

impl Case {
    /// Whether nobody needs it from the one who asks any more: all who should hold the key have this version or a newer one; or
    /// what is over by that verdict, they know as well.
    pub(crate) fn is_superfluous(&self, answers: &[(usize, Said)], verdict: Verdict) -> bool {
        let is_over = self.is_tombstone || verdict == Verdict::Forgotten;
        self.is_held_by_all(answers) || is_over && self.is_known_by_all(answers)
    }

    /// Whether all who should hold the key have this version or a newer one.
    fn is_held_by_all(&self, answers: &[(usize, Said)]) -> bool {
        let holds = |target: usize| {
            let is_it = |said: &Said| matches!(said, Said::Holds(version) if *version >= self.version);
            answers.iter().any(|(node, said)| *node == target && is_it(said))
        };
        self.targets.iter().all(holds)
    }

    /// Whether all who should hold the key have this version or a newer one, or have forgotten something as new.
    fn is_known_by_all(&self, answers: &[(usize, Said)]) -> bool {
        let knows = |target: usize| {
            let is_as_new = |(Said::Holds(version) | Said::Lacks(version)): &Said| *version >= self.version;
            answers.iter().any(|(node, said)| *node == target && is_as_new(said))
        };
        self.targets.iter().all(knows)
    }

    /// Whether anybody has this version or a newer one.
    pub(crate) fn is_held_by_any(&self, answers: &[(usize, Said)]) -> bool {
        answers.iter().any(|(_, said)| matches!(said, Said::Holds(version) if *version >= self.version))
    }

    /// Decides, once all authorities and targets have answered.
    pub(crate) fn judge(&self, answers: &[(usize, Said)]) -> Verdict {
        let is_newer = |said: &Said| matches!(said, Said::Holds(version) if *version > self.version);
        let of_authorities = || answers.iter().filter(|(node, _)| self.authorities.contains(*node));
        let is_newer_known = answers.iter().any(|(_, said)| is_newer(said));
        // What fewer hold may never have been acknowledged, and may be overlooked by a read: that must find this one.
        let is_replaced = of_authorities().filter(|(_, said)| is_newer(said)).count() >= self.replicas;
        if is_replaced || is_newer_known && !self.is_authority {
            return Verdict::Superseded;
        }
        let is_under_a_floor = |said: &Said| matches!(said, Said::Lacks(floor) if *floor >= self.version);
        let under_a_floor = of_authorities().filter(|(_, said)| is_under_a_floor(said)).count();
        // What was acknowledged, so many took; who holds this or something older has not taken it.
        let may_know_newer =
            of_authorities().filter(|(_, said)| is_newer(said)).count() + under_a_floor + self.gone;
        let is_newest = may_know_newer < self.replicas;
        if under_a_floor > 0 && !is_newest && !self.is_tombstone {
            return Verdict::Forgotten;
        }
        let lacks = |node: &usize| {
            answers.iter().any(|(known, said)| {
                known == node
                    && match said {
                        Said::Holds(version) => *version < self.version,
                        // It may have had something as new and have forgotten it: then it would not take it.
                        Said::Lacks(floor) => is_newest || *floor < self.version,
                    }
            })
        };
        Verdict::Send { to: self.targets.iter().filter(lacks).collect(), is_newest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(nodes: &[usize]) -> NodeList {
        nodes.iter().copied().collect()
    }

    /// To these, and nothing newer can have been acknowledged.
    fn send(nodes: &[usize]) -> Verdict {
        Verdict::Send { to: list(nodes), is_newest: true }
    }

    /// Node 0 asks for version 10 of a key for which 0, 1 and 2 speak, and that 0, 3 and 4 should hold.
    fn case() -> Case {
        Case {
            version: 10,
            is_tombstone: false,
            is_authority: true,
            authorities: list(&[1, 2]),
            gone: 0,
            replicas: 2,
            targets: list(&[3, 4]),
        }
    }

    #[test]
    fn those_who_lack_it_get_it() {
        let answers = [(1, Said::Holds(10)), (2, Said::Lacks(0)), (3, Said::Lacks(0)), (4, Said::Holds(10))];
        assert_eq!(case().judge(&answers), send(&[3]));
        assert_eq!(case().judge(&[(3, Said::Holds(4)), (4, Said::Holds(11))]), send(&[3]));
    }

    #[test]
    fn a_floor_is_of_other_keys_where_nothing_newer_can_have_been_acknowledged() {
        let answers = [(1, Said::Holds(10)), (2, Said::Lacks(0)), (3, Said::Lacks(11)), (4, Said::Lacks(0))];
        assert_eq!(case().judge(&answers), send(&[3, 4]));
        let answers = [(3, Said::Lacks(11)), (4, Said::Lacks(0))];
        let all_are_gone = Case { gone: 3, is_authority: false, authorities: list(&[]), ..case() };
        assert_eq!(all_are_gone.judge(&answers), Verdict::Send { to: list(&[4]), is_newest: false });
    }

    #[test]
    fn a_newer_version_that_enough_hold_replaces_it() {
        let answers = [(1, Said::Holds(11)), (2, Said::Holds(12)), (3, Said::Lacks(0)), (4, Said::Lacks(0))];
        assert_eq!(case().judge(&answers), Verdict::Superseded);
        let is_superfluous = |answers: &[_]| case().is_superfluous(answers, case().judge(answers));
        assert!(!is_superfluous(&[(3, Said::Holds(11)), (4, Said::Lacks(0))]));
        assert!(is_superfluous(&[(3, Said::Holds(11)), (4, Said::Holds(10))]));
    }

    /// Nodes 1 and 0 had acknowledged it; then a write came as far as node 1, and node 3 has still what was before. Were this
    /// one not sent there, node 3 and one that has nothing would be read, and bring the older one back.
    #[test]
    fn a_newer_version_that_too_few_hold_replaces_nothing() {
        let answers = [(1, Said::Holds(11)), (2, Said::Lacks(0)), (3, Said::Holds(9)), (4, Said::Holds(11))];
        assert_eq!(case().judge(&answers), send(&[3]));
        let candidate = Case { is_authority: false, ..case() };
        assert_eq!(
            candidate.judge(&answers),
            Verdict::Superseded,
            "a snapshot has nothing to say where more is known"
        );
        let answers = [(1, Said::Holds(11)), (2, Said::Lacks(10)), (3, Said::Lacks(0)), (4, Said::Lacks(0))];
        assert_eq!(
            case().judge(&answers),
            Verdict::Forgotten,
            "nor may it come back where it may have been replaced"
        );
    }

    #[test]
    fn one_who_holds_it_is_enough_to_be_left_with_it() {
        assert!(case().is_held_by_any(&[(1, Said::Lacks(12)), (3, Said::Holds(10))]));
        assert!(case().is_held_by_any(&[(1, Said::Holds(11))]));
        assert!(!case().is_held_by_any(&[(1, Said::Lacks(12)), (3, Said::Holds(9))]));
    }

    #[test]
    fn a_copy_that_two_others_may_have_outlived_is_forgotten_too() {
        assert_eq!(case().judge(&[(1, Said::Lacks(12)), (2, Said::Lacks(10))]), Verdict::Forgotten);
        let one_is_gone = Case { gone: 1, authorities: list(&[1]), ..case() };
        assert_eq!(one_is_gone.judge(&[(1, Said::Lacks(12))]), Verdict::Forgotten);
        assert_eq!(one_is_gone.judge(&[(1, Said::Lacks(9))]), send(&[]));
        let answers = [(1, Said::Lacks(12)), (2, Said::Holds(9)), (3, Said::Lacks(0))];
        assert_eq!(case().judge(&answers), send(&[3]), "one alone has acknowledged nothing");
        let tombstone = Case { is_tombstone: true, ..case() };
        let answers = [(1, Said::Lacks(12)), (2, Said::Lacks(10)), (3, Said::Lacks(0))];
        assert_eq!(tombstone.judge(&answers), Verdict::Send { to: list(&[3]), is_newest: false });
    }

    #[test]
    fn what_is_over_need_only_be_known_to_all() {
        let tombstone = Case { is_tombstone: true, ..case() };
        let is_superfluous = |case: &Case, answers: &[_]| case.is_superfluous(answers, case.judge(answers));
        let answers = [(3, Said::Lacks(10)), (4, Said::Holds(12))];
        assert!(is_superfluous(&tombstone, &answers) && !is_superfluous(&case(), &answers));
        assert!(!is_superfluous(&tombstone, &[(3, Said::Lacks(9)), (4, Said::Holds(12))]));
        assert!(!is_superfluous(&tombstone, &[(3, Said::Lacks(10))]));
    }

    #[test]
    fn enough_copies_show_that_a_floor_is_another_keys() {
        let answers = [(1, Said::Holds(10)), (2, Said::Lacks(12)), (3, Said::Lacks(0)), (4, Said::Lacks(0))];
        assert_eq!(case().judge(&answers), send(&[3, 4]));
    }

    #[test]
    fn a_candidate_alone_is_believed_where_nobody_knows_better() {
        let candidate = Case { is_authority: false, gone: 1, ..case() };
        assert_eq!(candidate.judge(&[(3, Said::Lacks(0))]), send(&[3]));
        assert_eq!(candidate.judge(&[(1, Said::Lacks(10)), (2, Said::Lacks(3))]), Verdict::Forgotten);
    }
}
