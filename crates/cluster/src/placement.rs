//! Where keys are: a roster with its rings, for one epoch.

use std::sync::Arc;

use annulus_ring::{Member as RingMember, Ring, RingError};

use crate::{Mechanisms, NodeList, Quorum, Roster, Seat};

/// A node of either view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The node, in the life that is a member; of one that is gone, in its last.
    pub seat: Seat,
    /// Whether that life is a member.
    pub is_alive: bool,
    /// Whether that life holds a place in the base. A new life is not the one that did.
    pub in_base: bool,
    /// Whether it is one of the current view.
    pub in_current: bool,
}

/// One view laid out.
#[derive(Clone, Debug)]
struct Side {
    ring: Arc<Ring>,
    /// For each member of the ring its index among the placed.
    nodes: Vec<usize>,
    quorum: Quorum,
}

/// A roster with its rings. Nodes are known by their index in [`nodes`](Self::nodes).
#[derive(Clone, Debug)]
pub struct Placement {
    roster: Arc<Roster>,
    nodes: Vec<Placed>,
    current: Side,
    /// `None` where the current view is the base.
    base: Option<Side>,
    mechanisms: Mechanisms,
}

/// What one node has to do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stake {
    /// Those who should hold it by the current view.
    pub owners: NodeList,
    /// Those alive who speak for it, as the base knows it.
    pub authorities: NodeList,
    /// How many of those who spoke for it are gone, with all that they knew.
    pub gone: usize,
    /// Whether the node is one of the owners.
    pub is_owner: bool,
    /// Whether it is one of the authorities.
    pub is_authority: bool,
    /// Whether the views name different owners, or one who had it is gone: then whoever has it has to see to it.
    pub moves: bool,
}

/// What a node is to a key, by both views: by which of its floors it answers, and what it raises by forgetting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// An owner by the base and by the current view.
    Owner,
    /// No owner by the base, of whose owners at least one is left. What was acknowledged or shown, that one knows or has
    /// forgotten, and so does another: an owner, or this node, if it took it in another's place.
    Spare,
    /// An owner by the base and none any more; or nobody is left of the base's owners.
    Between,
}

/// Who holds a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// The nodes that may hold it in the current view, in ring order; the first [`Quorum::copies`] should.
    pub current: NodeList,
    /// Where there is another base: those that may hold it there and still live.
    pub base: NodeList,
    /// How many of the base's are gone, with all that they held.
    pub base_gone: usize,
}

impl Placement {
    /// Lays a roster out. Rings that `before` has laid out already are taken from there.
    ///
    /// # Errors
    /// Where the ring would have too many points.
    pub fn new(
        roster: Arc<Roster>,
        before: Option<&Self>,
        mechanisms: Mechanisms,
    ) -> Result<Self, RingError> {
        let mut nodes: Vec<Placed> =
            roster.members().iter().map(|member| placed(&roster, &member.seat, true, mechanisms)).collect();
        let gone = roster.base().iter().filter(|seat| roster.find(&seat.node.name).is_none());
        nodes.extend(gone.map(|seat| placed(&roster, seat, false, mechanisms)));
        nodes.sort_by(|left, right| left.seat.node.name.cmp(&right.seat.node.name));
        let side = |seats: &mut dyn Iterator<Item = &Seat>| Side::new(seats, &nodes, &roster, before);
        let current = side(&mut roster.current())?;
        let base = if roster.is_settled() { None } else { Some(side(&mut roster.base().iter())?) };
        Ok(Self { roster, nodes, current, base, mechanisms })
    }

    /// The roster.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The epoch.
    pub fn epoch(&self) -> u64 {
        self.roster.epoch()
    }

    /// What is switched on; everything, outside tests.
    pub fn mechanisms(&self) -> Mechanisms {
        self.mechanisms
    }

    /// The nodes of both views, by name.
    pub fn nodes(&self) -> &[Placed] {
        &self.nodes
    }

    /// The index of the node of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.binary_search_by(|placed| placed.seat.node.name.as_str().cmp(name)).ok()
    }

    /// Whether there is one view only.
    pub fn is_settled(&self) -> bool {
        self.base.is_none()
    }

    /// The ring of the current view.
    pub fn ring(&self) -> &Ring {
        &self.current.ring
    }

    /// The share of the keys whose first owner is this node.
    pub fn shares(&self) -> Vec<f64> {
        let mut shares = vec![0.0; self.nodes.len()];
        for (node, share) in self.current.nodes.iter().zip(self.current.ring.shares()) {
            shares[*node] = share;
        }
        shares
    }

    /// The counts of the current view.
    pub fn quorum(&self) -> Quorum {
        self.current.quorum
    }

    /// The counts of the base; those of the current view where it is the base.
    pub fn base_quorum(&self) -> Quorum {
        self.base.as_ref().unwrap_or(&self.current).quorum
    }

    /// Who holds the key of this hash.
    pub fn holders(&self, hash: u64) -> Holders {
        let mut holders = Holders { current: self.current.owners(hash).collect(), ..Holders::default() };
        if let Some(base) = &self.base {
            for node in base.owners(hash) {
                if self.nodes[node].in_base {
                    holders.base.add(node);
                } else {
                    holders.base_gone += 1;
                }
            }
        }
        holders
    }

    /// What this node has to do with the key of this hash.
    pub fn stake(&self, hash: u64, me: usize) -> Stake {
        let holders = self.holders(hash);
        let owners = holders.current.first(self.current.quorum.copies);
        let authorities = if self.base.is_some() { holders.base } else { holders.current };
        let moves = self.base.as_ref().is_some_and(|base| {
            let before = holders.base.first(base.quorum.copies);
            let same = owners.len() == before.len() && owners.iter().all(|node| before.contains(node));
            holders.base_gone > 0 || !same || !owners.contains(me)
        });
        Stake {
            is_owner: owners.contains(me),
            is_authority: authorities.contains(me),
            owners,
            authorities,
            gone: holders.base_gone,
            moves,
        }
    }

    /// What this node is to the key of this hash.
    pub fn duty(&self, hash: u64, me: usize) -> Duty {
        let base = self.base.as_ref().unwrap_or(&self.current);
        if self.base.is_none() && base.quorum.copies == base.quorum.preference {
            return Duty::Owner;
        }
        let (mut was_owner, mut is_any_left) = (false, false);
        for node in base.owners(hash).take(base.quorum.copies).filter(|node| self.nodes[*node].in_base) {
            was_owner |= node == me;
            is_any_left = true;
        }
        let is_owner = || {
            self.base.is_none()
                || self.current.owners(hash).take(self.current.quorum.copies).any(|node| node == me)
        };
        match was_owner {
            true if is_owner() => Duty::Owner,
            false if is_any_left && self.mechanisms.spare_floors => Duty::Spare,
            _ => Duty::Between,
        }
    }

    /// The node that owns the key alone, where that is all there is to know: one view, one copy.
    pub fn only_owner(&self, hash: u64) -> Option<usize> {
        if self.base.is_some() || self.current.quorum.preference != 1 {
            return None;
        }
        self.current.ring.owner(hash).map(|member| self.current.nodes[member])
    }
}

impl Side {
    fn new(
        seats: &mut dyn Iterator<Item = &Seat>,
        placed: &[Placed],
        roster: &Roster,
        before: Option<&Placement>,
    ) -> Result<Self, RingError> {
        let members: Vec<RingMember> = seats
            .map(|Seat { node, .. }| RingMember {
                name: node.name.clone(),
                zone: node.zone.clone(),
                weight: node.weight,
            })
            .collect();
        let layout = roster.layout();
        let sides =
            before.into_iter().flat_map(|placement| [Some(&placement.current), placement.base.as_ref()]);
        let same = |side: &&Side| {
            side.ring.members() == members && side.ring.virtual_nodes() == layout.virtual_nodes
        };
        let ring = match sides.flatten().find(same) {
            Some(side) => Arc::clone(&side.ring),
            None => Arc::new(Ring::new(members, layout.virtual_nodes)?),
        };
        let index = |member: &RingMember| {
            placed.binary_search_by(|placed| placed.seat.node.name.cmp(&member.name)).unwrap_or_default()
        };
        let nodes = ring.members().iter().map(index).collect();
        let quorum = Quorum::new(layout.replicas, ring.len());
        Ok(Self { ring, nodes, quorum })
    }

    fn owners(&self, hash: u64) -> impl Iterator<Item = usize> {
        self.ring.owners(hash, self.quorum.preference).map(|member| self.nodes[member])
    }
}

fn placed(roster: &Roster, seat: &Seat, is_alive: bool, mechanisms: Mechanisms) -> Placed {
    let leaving = roster.find(&seat.node.name).is_some_and(|member| member.leaving);
    let stands_in_base = roster.base().iter().any(|place| {
        let same_life = place.incarnation == seat.incarnation || !mechanisms.cold_nodes;
        place.node.name == seat.node.name && same_life
    });
    Placed {
        seat: seat.clone(),
        is_alive,
        in_base: is_alive && stands_in_base,
        in_current: is_alive && !leaving,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Beat, Layout, Node};

    fn roster(names: &[&str]) -> Roster {
        let nodes = names.iter().map(|name| Node::new(*name, format!("{name}:1")));
        Roster::fixed(nodes, Layout { replicas: 2, virtual_nodes: 32 })
    }

    fn beat(name: &str, incarnation: u64) -> Beat {
        let node = Node::new(name, format!("{name}:1"));
        Beat { seat: Seat { node, incarnation }, settled: 0, leaving: false }
    }

    fn place(roster: &Roster, before: Option<&Placement>) -> Placement {
        Placement::new(Arc::new(roster.clone()), before, Mechanisms::default()).unwrap()
    }

    #[test]
    fn one_view_is_its_own_base() {
        let placement = place(&roster(&["a", "b", "c"]), None);
        let holders = placement.holders(7);
        assert!(placement.is_settled() && holders.base.is_empty() && holders.base_gone == 0);
        assert_eq!(holders.current.len(), 3);
        let stake = placement.stake(7, holders.current.get(0).unwrap());
        assert_eq!(stake.authorities, holders.current);
        assert!(stake.is_owner && stake.is_authority && !stake.moves);
        assert!(!placement.stake(7, holders.current.get(2).unwrap()).is_owner, "the third is the spare");
    }

    #[test]
    fn nodes_stand_on_the_ring_by_name_with_their_weights() {
        let nodes = crate::View::from_list(["b=h:2,a=h:1@east*2,10.0.0.1:9,Z=h:4"]).unwrap();
        let roster = Roster::fixed(nodes.nodes().to_vec(), Layout { replicas: 2, virtual_nodes: 16 });
        let placement = place(&roster, None);
        let members = placement.ring().members().iter().map(|member| &member.name);
        assert!(members.eq(placement.nodes().iter().map(|placed| &placed.seat.node.name)));
        assert_eq!(placement.ring().members()[placement.find("a").unwrap()].weight, 2);
        assert_eq!(placement.find("z"), None);
    }

    #[test]
    fn with_a_copy_everywhere_each_node_owns_each_key() {
        let nodes = ["a", "b", "c"].map(|name| Node::new(name, format!("{name}:1")));
        let layout = Layout { replicas: Layout::ALL, virtual_nodes: 8 };
        let placement = place(&Roster::fixed(nodes, layout), None);
        for hash in 0..8 {
            assert!((0..3).all(|me| placement.stake(hash << 60, me).is_owner));
        }
        let joining = placement.roster().beat(&beat("d", 1)).unwrap().unwrap();
        let placement = place(&joining, Some(&placement));
        let d = placement.find("d").unwrap();
        let stake = placement.stake(7, d);
        assert!(stake.is_owner && stake.moves && !stake.is_authority);
    }

    #[test]
    fn a_joiner_holds_in_the_current_view_only() {
        let settled = place(&roster(&["a", "b", "c"]), None);
        let joining = settled.roster().beat(&beat("d", 1)).unwrap().unwrap();
        let placement = place(&joining, Some(&settled));
        let d = placement.find("d").unwrap();
        assert!(placement.nodes()[d].in_current && !placement.nodes()[d].in_base);
        let mut seen = false;
        for hash in (0..64).map(|i| annulus_ring::key_hash(&[i])) {
            let holders = placement.holders(hash);
            assert!(!holders.base.contains(d) && holders.base.len() == 3 && holders.base_gone == 0);
            assert!(settled.holders(hash).current.iter().eq(holders.base.iter()));
            let stake = placement.stake(hash, d);
            assert!(!stake.is_authority && stake.authorities == holders.base);
            assert!(stake.moves || !stake.is_owner);
            seen |= holders.current.contains(d);
        }
        assert!(seen);
    }

    #[test]
    fn a_new_life_is_gone_from_the_base_and_so_is_a_dead_one() {
        let again = roster(&["a", "b", "c"]).beat(&beat("b", 5)).unwrap().unwrap();
        let placement = place(&again, None);
        let b = placement.find("b").unwrap();
        assert!(placement.nodes()[b].in_current && !placement.nodes()[b].in_base);
        let holders = placement.holders(1);
        assert_eq!((holders.current.contains(b), holders.base.len(), holders.base_gone), (true, 2, 1));

        let without = place(&roster(&["a", "b", "c"]).expire("b", 0).unwrap(), None);
        let b = without.find("b").unwrap();
        assert!(!without.nodes()[b].is_alive);
        assert_eq!((without.holders(1).base_gone, without.holders(1).current.len()), (1, 2));
    }

    /// A key of `a` and `b`, with `c` as its spare; `d` is fourth.
    fn hash_of(placement: &Placement, nodes: [&str; 3]) -> u64 {
        let wanted: Vec<_> = nodes.iter().map(|name| placement.find(name).unwrap()).collect();
        let is_it = |hash: &u64| placement.holders(*hash).current.iter().eq(wanted.iter().copied());
        (0..10_000).map(|i: u64| annulus_ring::key_hash(&i.to_le_bytes())).find(is_it).unwrap()
    }

    #[test]
    fn who_owns_by_no_view_or_not_by_the_base_is_a_spare_as_long_as_an_owner_is_left() {
        let all = place(&roster(&["a", "b", "c", "d"]), None);
        let hash = hash_of(&all, ["a", "b", "c"]);
        let duties = |placement: &Placement| {
            ["a", "b", "c", "d"].map(|name| placement.duty(hash, placement.find(name).unwrap()))
        };
        assert_eq!(duties(&all), [Duty::Owner, Duty::Owner, Duty::Spare, Duty::Spare]);

        // c comes in for a.
        let without_a = place(&all.roster().expire("a", 0).unwrap(), Some(&all));
        assert_eq!(duties(&without_a)[1..], [Duty::Owner, Duty::Spare, Duty::Spare]);
        // Nobody is left of those who would know.
        let without_both = place(&without_a.roster().expire("b", 0).unwrap(), Some(&without_a));
        assert_eq!(duties(&without_both)[2..], [Duty::Between, Duty::Between]);
        // A new life knows nothing.
        let again = place(&all.roster().beat(&beat("a", 5)).unwrap().unwrap(), Some(&all));
        assert_eq!(duties(&again), [Duty::Spare, Duty::Owner, Duty::Spare, Duty::Spare]);

        let off = Mechanisms { spare_floors: false, ..Mechanisms::default() };
        let off = Placement::new(Arc::clone(all.roster()), None, off).unwrap();
        assert_eq!(duties(&off)[2..], [Duty::Between, Duty::Between]);
    }

    #[test]
    fn who_leaves_is_between_and_who_comes_is_a_spare_until_all_have_settled() {
        let settled = place(&roster(&["a", "b", "c"]), None);
        let joining = place(&settled.roster().beat(&beat("d", 1)).unwrap().unwrap(), Some(&settled));
        let d = joining.find("d").unwrap();
        let is_taken_over = |hash: &u64| joining.stake(*hash, d).is_owner;
        let hash =
            (0..10_000).map(|i: u64| annulus_ring::key_hash(&i.to_le_bytes())).find(is_taken_over).unwrap();
        assert_eq!(joining.duty(hash, d), Duty::Spare);
        let before = settled.holders(hash).current.first(2);
        let leaves = |name: &&str| {
            let was = before.contains(settled.find(name).unwrap());
            was && !joining.stake(hash, joining.find(name).unwrap()).is_owner
        };
        let who = ["a", "b", "c"].into_iter().find(leaves).unwrap();
        assert_eq!(joining.duty(hash, joining.find(who).unwrap()), Duty::Between);
    }

    #[test]
    fn rings_that_stay_are_not_laid_out_again() {
        let settled = place(&roster(&["a", "b", "c"]), None);
        let again = settled.roster().beat(&beat("b", 5)).unwrap().unwrap();
        let placement = place(&again, Some(&settled));
        assert!(Arc::ptr_eq(&placement.current.ring, &settled.current.ring));
    }
}
