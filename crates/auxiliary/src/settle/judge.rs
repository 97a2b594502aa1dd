//! What is to become of one entry when views change: a read of the key by the base's quorum, made by one who holds it.

use annulus_cluster::NodeList;

/// What another node says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It holds this version, a tombstone perhaps.
    Holds(u64),
    /// It holds nothing; the highest version that it has forgotten in the key's bucket.
    Lacks(u64),
}

/// What is known of an entry.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) version: u64,
    /// Whether the one who asks speaks for the key.
    pub(crate) is_authority: bool,
    /// The others who speak for it.
    pub(crate) authorities: NodeList,
    /// Copies of a value that has been acknowledged or shown.
    pub(crate) replicas: usize,
    /// The others who should hold it from now on.
    pub(crate) targets: NodeList,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Those who lack it must get it; perhaps nobody does.
    Send(NodeList),
    /// A newer version is known, and nobody has to find this one any more.
    Superseded,
    /// Nobody can have read it: something newer may have been forgotten where it should be, and too few hold it.
    Forgotten,
}

impl Case {
    /// Whether all who should hold the key have this version or a newer one.
    pub(crate) fn is_held_by_all(&self, answers: &[(usize, Said)]) -> bool {
        let holds = |target: usize| {
            let is_it = |said: &Said| matches!(said, Said::Holds(version) if *version >= self.version);
            answers.iter().any(|(node, said)| *node == target && is_it(said))
        };
        self.targets.iter().all(holds)
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
        let holds = |said: &Said| *said == Said::Holds(self.version);
        let holders =
            of_authorities().filter(|(_, said)| holds(said)).count() + usize::from(self.is_authority);
        let under_a_floor =
            of_authorities().any(|(_, said)| matches!(said, Said::Lacks(floor) if *floor >= self.version));
        if under_a_floor && holders < self.replicas {
            return if is_newer_known { Verdict::Superseded } else { Verdict::Forgotten };
        }
        let lacks = |node: &usize| {
            answers.iter().any(|(known, said)| {
                known == node
                    && match said {
                        Said::Holds(version) => *version < self.version,
                        // It had something as new and has forgotten it: it would not take it.
                        Said::Lacks(floor) => *floor < self.version,
                    }
            })
        };
        Verdict::Send(self.targets.iter().filter(lacks).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(nodes: &[usize]) -> NodeList {
        nodes.iter().copied().collect()
    }

    /// Node 0 asks for version 10 of a key for which 0, 1 and 2 speak, and that 0, 3 and 4 should hold.
    fn case() -> Case {
        Case {
            version: 10,
            is_authority: true,
            authorities: list(&[1, 2]),
            replicas: 2,
            targets: list(&[3, 4]),
        }
    }

    #[test]
    fn those_who_lack_it_get_it() {
        let answers = [(1, Said::Holds(10)), (2, Said::Lacks(0)), (3, Said::Lacks(0)), (4, Said::Holds(10))];
        assert_eq!(case().judge(&answers), Verdict::Send(list(&[3])));
        assert_eq!(case().judge(&[(3, Said::Holds(4)), (4, Said::Lacks(11))]), Verdict::Send(list(&[3])));
    }

    #[test]
    fn a_newer_version_that_enough_hold_replaces_it() {
        let answers = [(1, Said::Holds(11)), (2, Said::Holds(12)), (3, Said::Lacks(0)), (4, Said::Lacks(0))];
        assert_eq!(case().judge(&answers), Verdict::Superseded);
        assert!(!case().is_held_by_all(&[(3, Said::Holds(11)), (4, Said::Lacks(0))]));
        assert!(case().is_held_by_all(&[(3, Said::Holds(11)), (4, Said::Holds(10))]));
    }

    /// Nodes 1 and 0 had acknowledged it; then a write came as far as node 1, and node 3 has still what was before. Were this
    /// one not sent there, node 3 and one that has nothing would be read, and bring the older one back.
    #[test]
    fn a_newer_version_that_too_few_hold_replaces_nothing() {
        let answers = [(1, Said::Holds(11)), (2, Said::Lacks(0)), (3, Said::Holds(9)), (4, Said::Holds(11))];
        assert_eq!(case().judge(&answers), Verdict::Send(list(&[3])));
        let candidate = Case { is_authority: false, ..case() };
        assert_eq!(
            candidate.judge(&answers),
            Verdict::Superseded,
            "a snapshot has nothing to say where more is known"
        );
        let answers = [(1, Said::Holds(11)), (2, Said::Lacks(10)), (3, Said::Lacks(0)), (4, Said::Lacks(0))];
        assert_eq!(
            case().judge(&answers),
            Verdict::Superseded,
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
    fn a_copy_that_another_may_have_outlived_is_forgotten_too() {
        assert_eq!(case().judge(&[(1, Said::Lacks(12)), (2, Said::Lacks(0))]), Verdict::Forgotten);
    }

    #[test]
    fn enough_copies_show_that_a_floor_is_another_keys() {
        let answers = [(1, Said::Holds(10)), (2, Said::Lacks(12)), (3, Said::Lacks(0)), (4, Said::Lacks(0))];
        assert_eq!(case().judge(&answers), Verdict::Send(list(&[3, 4])));
    }

    #[test]
    fn a_candidate_alone_is_believed_where_nobody_knows_better() {
        let candidate = Case { is_authority: false, ..case() };
        assert_eq!(candidate.judge(&[(3, Said::Lacks(0))]), Verdict::Send(list(&[3])));
        assert_eq!(candidate.judge(&[(1, Said::Lacks(10)), (2, Said::Lacks(3))]), Verdict::Forgotten);
    }
}
