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
    /// Answers that are worth waiting for where `need` cannot be reached any more.
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
            need: quorum.replicas.min(alive),
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
    /// The plan that needs as many answers as a key has copies, in each view; all of them, whether it reads or writes.
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

    /// Takes fewer answers where no more can be had, but no fewer than make a read meet every acknowledged write.
    pub fn for_reading(mut self, placement: &Placement) -> Self {
        let quorums = [placement.quorum(), placement.base_quorum()];
        for (part, quorum) in self.parts.iter_mut().zip(quorums) {
            part.at_least = quorum.reads_at_least.min(part.members.len()).min(part.need);
        }
        self
    }

    /// Asks one node that holds what it should, and is content.
    pub fn for_one(mut self) -> Self {
        let authority = *self.authority();
        self.candidates = authority.members;
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
            part.need = part.need.saturating_sub(part.count(done.iter()));
            part.at_least = part.need;
            part.members = part.members.iter().filter(|node| !done.contains(*node)).collect();
        }
        self.candidates = self.candidates.iter().filter(|node| !done.contains(*node)).collect();
        self
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.parts.iter().all(|part| part.need == 0)
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
}
