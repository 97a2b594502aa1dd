//! Whom an operation on one key may ask, and how many answers it needs in each view.

use annulus_cluster::{NodeList, Placement, Quorum};

/// The views that count: the current one, and the base until all have settled.
const CURRENT: usize = 0;
const BASE: usize = 1;

/// One view's part of a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// The nodes whose answers count in this view.
    pub members: NodeList,
    /// How many more would count if they were not gone.
    pub gone: usize,
    /// Answers that complete it.
    pub need: usize,
    /// Answers that are enough where `need` cannot be reached any more, or takes too long.
    pub at_least: usize,
    /// Copies of a value that has been acknowledged or shown.
    pub replicas: usize,
}

/// Whom to ask, in order, and how many answers make a quorum in each view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// Everybody who may be asked, those to be asked first in front.
    pub candidates: NodeList,
    /// What the current view and, until all have settled, the base ask for. A part of a view that does not count is empty.
    pub parts: [Part; 2],
}

impl Part {
    fn new(members: NodeList, gone: usize, quorum: Quorum) -> Self {
        let alive = members.len();
        Self {
            members,
            gone,
            need: quorum.copies.min(alive),
            at_least: quorum.replicas.min(alive),
            replicas: quorum.replicas,
        }
    }

    /// How many nodes the view would have for the key if all were alive.
    pub fn size(&self) -> usize {
        self.members.len() + self.gone
    }

    /// Whether the view had owners for the key, of which none is left.
    pub fn is_lost(&self) -> bool {
        self.gone > 0 && self.members.is_empty()
    }

    /// How many of these nodes count here.
    pub fn count(&self, nodes: impl Iterator<Item = usize>) -> usize {
        nodes.filter(|node| self.members.contains(*node)).count()
    }
}

impl Plan {
    /// The plan that goes to as many nodes as a key has copies, in each view, and is content with as many answers as make a
    /// write.
    pub fn new(placement: &Placement, hash: u64) -> Self {
        let holders = placement.holders(hash);
        let current = Part::new(holders.current, 0, placement.quorum());
        let base = if placement.is_settled() || !placement.mechanisms().both_views {
            Part::default()
        } else {
            Part::new(holders.base, holders.base_gone, placement.base_quorum())
        };
        let candidates = holders.current.iter().chain(holders.base.iter()).collect();
        Self { candidates, parts: [current, base] }
    }

    /// The part that speaks for what has been acknowledged: the base, which is the current view where there is one only.
    pub fn authority(&self) -> &Part {
        if self.parts[BASE].size() > 0 { &self.parts[BASE] } else { &self.parts[CURRENT] }
    }

    /// Whether it goes to more nodes than it needs answers.
    pub fn asks_more(&self) -> bool {
        self.parts.iter().any(|part| part.need > part.at_least)
    }

    /// Asks no more nodes than it needs answers, unless one fails or is slow.
    pub fn lean(mut self) -> Self {
        for part in &mut self.parts {
            part.need = part.at_least;
        }
        self
    }

    /// Takes fewer answers where no more can be had, but no fewer than make a read meet every acknowledged write.
    pub fn for_reading(mut self, placement: &Placement) -> Self {
        let quorums = [placement.quorum(), placement.base_quorum()];
        for (part, quorum) in self.parts.iter_mut().zip(quorums) {
            part.at_least = quorum.reads_at_least.min(part.members.len()).min(part.need);
        }
        self
    }

    /// Asks one node that holds what it should, and is content. The order stays.
    pub fn for_one(mut self) -> Self {
        let authority = *self.authority();
        self.candidates = self.candidates.iter().filter(|node| authority.members.contains(*node)).collect();
        self.parts = [Part { need: 1, at_least: 1, ..authority }, Part::default()];
        self
    }

    /// Only these nodes may be asked.
    pub fn among(mut self, nodes: NodeList) -> Self {
        self.candidates = nodes;
        for part in &mut self.parts {
            part.members = part.members.iter().filter(|node| nodes.contains(*node)).collect();
        }
        self
    }

    /// What is left to do when these nodes have it already.
    pub fn without(mut self, done: &NodeList) -> Self {
        for part in &mut self.parts {
            let have = part.count(done.iter());
            part.need = part.need.saturating_sub(have);
            part.at_least = part.at_least.saturating_sub(have);
            part.members = part.members.iter().filter(|node| !done.contains(*node)).collect();
        }
        self.candidates = self.candidates.iter().filter(|node| !done.contains(*node)).collect();
        self
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.need == 0)
    }

    /// Only this node is asked.
    pub fn only(self, node: usize) -> Self {
        let mut plan = self.among(std::iter::once(node).collect());
        for part in &mut plan.parts {
            (part.need, part.at_least) = (part.members.len(), part.members.len());
        }
        plan
    }

    /// Whether nobody is a member.
    pub fn is_empty(&self) -> bool {
        self.parts[CURRENT].members.is_empty()
    }

    /// Whether a read could miss what has been acknowledged, because all who had it are gone.
    pub fn is_lost(&self) -> bool {
        self.parts.iter().any(Part::is_lost)
    }

    /// Puts those to be asked first in front. With `shared_first`, of two that are as good, the one that counts in both
    /// views: it takes fewer calls. Otherwise ring order stays.
    pub fn rank(&mut self, reluctance: impl Fn(usize) -> u8, shared_first: bool) {
        let parts = self.parts;
        let counts = |node| parts.iter().filter(|part| part.members.contains(node)).count() as u8;
        self.candidates.sort_by_rank(|node| {
            2 * reluctance(node) + u8::from(shared_first && parts[BASE].size() > 0 && counts(node) < 2)
        });
    }

    /// Puts in front whom a read of one copy asks first: of those that answer, the owners, of whom there are `copies`, before the
    /// spare; of these, the ones that are not far. Otherwise ring order stays.
    pub fn rank_for_one(
        &mut self,
        copies: usize,
        reluctance: impl Fn(usize) -> u8,
        is_far: impl Fn(usize) -> bool,
    ) {
        let members = self.authority().members;
        let is_spare = |node| !members.iter().take(copies).any(|owner| owner == node);
        self.candidates.sort_by_rank(|node| {
            4 * reluctance(node) + 2 * u8::from(is_spare(node)) + u8::from(is_far(node))
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use annulus_cluster::{Layout, Mechanisms, Node, Roster};

    use super::*;

    fn plan(replicas: u32, nodes: usize) -> Plan {
        let nodes = (0..nodes).map(|n| Node::new(format!("{n}"), format!("h:{}", n + 1)));
        let roster = Roster::fixed(nodes, Layout { replicas, virtual_nodes: 16 });
        let placement = Placement::new(Arc::new(roster), None, Mechanisms::default()).unwrap();
        Plan::new(&placement, 7)
    }

    fn order(plan: &Plan) -> Vec<usize> {
        plan.candidates.iter().collect()
    }

    #[test]
    fn with_a_copy_everywhere_all_are_asked_and_a_majority_is_enough() {
        let plan = plan(Layout::ALL, 5);
        let part = plan.parts[0];
        assert_eq!((part.need, part.at_least, part.replicas, part.members.len()), (5, 3, 3, 5));
        assert!(plan.asks_more());
        let lean = plan.lean();
        assert_eq!((lean.parts[0].need, lean.parts[0].at_least, lean.asks_more()), (3, 3, false));
        let one_has_it: NodeList = std::iter::once(order(&plan)[0]).collect();
        let rest = plan.without(&one_has_it);
        assert_eq!((rest.parts[0].need, rest.parts[0].at_least), (4, 2));
    }

    #[test]
    fn sharded_no_more_are_asked_than_answers_are_needed() {
        let plan = plan(2, 5);
        assert_eq!((plan.parts[0].need, plan.parts[0].at_least, plan.candidates.len()), (2, 2, 3));
        assert!(!plan.asks_more());
        assert_eq!(plan.lean(), plan);
    }

    #[test]
    fn one_copy_is_read_in_the_own_zone_but_from_no_node_that_is_down_or_only_the_spare() {
        let mut near = plan(2, 3);
        let [first, second, spare] = order(&near)[..] else { panic!("three may hold it") };
        near.rank_for_one(2, |_| 0, |node| node != second);
        assert_eq!(order(&near), [second, first, spare]);
        near.rank_for_one(2, |node| u8::from(node == second), |node| node != second);
        assert_eq!(order(&near), [first, spare, second]);
        let mut spare_is_near = plan(2, 3);
        spare_is_near.rank_for_one(2, |_| 0, |node| node != spare);
        assert_eq!(order(&spare_is_near), [first, second, spare]);
        let asked = near.for_one();
        assert_eq!((order(&asked), asked.parts[0].need), (vec![first, spare, second], 1));
    }

    #[test]
    fn only_one_node_is_asked_where_only_it_is_meant() {
        let plan = plan(Layout::ALL, 3);
        let node = order(&plan)[1];
        let only = plan.only(node);
        assert_eq!((order(&only), only.parts[0].need, only.parts[0].at_least), (vec![node], 1, 1));
    }
}
