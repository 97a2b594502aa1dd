//! The points of a ring, sorted, with an index over the leading bits of a hash.
//!
//! A point is one `u64`: the upper 48 bits of its hash, then 16 bits of owner. So the circle has 2^48 places; a key at
//! place `p` belongs to the first point at or after `p`. Two points on one place are ordered by owner, and owners are
//! numbered in the order of their names: the order in which members were given never matters.
//!
//! A binary search over 400,000 points costs 19 steps and several cache misses. Hashes are uniform, so a table over
//! their leading bits leads to within a few points of the answer instead: one read of the table, one short scan.

use crate::hash::for_each_point;
use crate::{Member, RingError};

/// The most members of one ring, as 16 bits of a point name its owner.
pub const MAX_MEMBERS: usize = 1 << 16;

/// The most points of one ring, `virtual_nodes × weight` summed over its members: 4,194,304 (32 MiB), which is 1024
/// members of weight 1 at the default number of virtual nodes.
pub const MAX_POINTS: u32 = 1 << 22;

const OWNER_BITS: u32 = 16;
const OWNER_MASK: u64 = (1 << OWNER_BITS) - 1;

/// How many places the circle has.
pub(crate) const PLACES: u64 = 1 << (u64::BITS - OWNER_BITS);

/// Points a slot of the index covers on average lie between this and its double. Fewer: a larger table and more cache
/// misses; more: a longer scan. Chosen, as [`BLOCK`] was, with `cargo bench` at 100 nodes; 1 to 4 differ little.
const POINTS_PER_SLOT: usize = 2;

/// How many points are compared at once, without a branch to mispredict. Rarely is the answer further from its slot.
const BLOCK: usize = 4;

/// A hash's place on the circle.
pub(crate) fn place_of(hash: u64) -> u64 {
    hash >> OWNER_BITS
}

/// The first hash on a place.
pub(crate) fn hash_of(place: u64) -> u64 {
    place << OWNER_BITS
}

#[derive(Clone)]
pub(crate) struct Points {
    /// Sorted; the place in the upper bits, the owner in the lower.
    packed: Box<[u64]>,
    /// For each value of a hash's leading bits, the first point at or after the first hash that has them.
    slots: Box<[u32]>,
    /// How far to shift a hash right to get its slot.
    shift: u32,
}

impl Points {
    /// Places all members, whose indices become the owners.
    pub(crate) fn new(members: &[Member], virtual_nodes: u32) -> Result<Self, RingError> {
        if members.len() > MAX_MEMBERS {
            return Err(RingError::TooManyMembers { members: members.len() });
        }
        let points: u128 =
            members.iter().map(|member| u128::from(member.weight) * u128::from(virtual_nodes)).sum();
        if points > u128::from(MAX_POINTS) {
            return Err(RingError::TooManyPoints { points });
        }
        let mut packed = Vec::with_capacity(points as usize);
        for (owner, member) in members.iter().enumerate() {
            for_each_point(&member.name, member.weight * virtual_nodes, |hash| {
                packed.push((hash & !OWNER_MASK) | owner as u64);
            });
        }
        packed.sort_unstable();
        let (slots, shift) = index(&packed);
        Ok(Self { packed: packed.into(), slots, shift })
    }

    pub(crate) fn len(&self) -> usize {
        self.packed.len()
    }

    /// The first point clockwise from `hash`. The ring must have a point.
    #[inline]
    pub(crate) fn first_from(&self, hash: u64) -> usize {
        let target = hash & !OWNER_MASK;
        let slot = self.slots[(hash >> self.shift) as usize] as usize;
        let rest = &self.packed[slot..];
        if let Some(block) = rest.first_chunk::<BLOCK>() {
            let before = block.iter().filter(|&&point| point < target).count();
            if before < BLOCK {
                return slot + before;
            }
        }
        rest.iter().position(|&point| point >= target).map_or(0, |before| slot + before)
    }

    /// The point after `point`, clockwise.
    #[inline]
    pub(crate) fn next(&self, point: usize) -> usize {
        if point + 1 == self.packed.len() { 0 } else { point + 1 }
    }

    #[inline]
    pub(crate) fn owner(&self, point: usize) -> usize {
        (self.packed[point] & OWNER_MASK) as usize
    }

    pub(crate) fn place(&self, point: usize) -> u64 {
        place_of(self.packed[point])
    }
}

/// The index over sorted points, and the shift that leads from a hash into it.
fn index(packed: &[u64]) -> (Box<[u32]>, u32) {
    let wanted = (packed.len() / POINTS_PER_SLOT).max(2);
    let bits = wanted.ilog2();
    let shift = u64::BITS - bits;
    let mut point = 0;
    let slots = (0..1_u64 << bits).map(|slot| {
        let first_hash = slot << shift;
        while packed.get(point).is_some_and(|&packed| packed < first_hash) {
            point += 1;
        }
        point as u32
    });
    (slots.collect(), shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_hash;

    fn points(members: usize, virtual_nodes: u32) -> Points {
        let members: Vec<Member> = (0..members).map(|i| Member::new(format!("node-{i}"))).collect();
        Points::new(&members, virtual_nodes).unwrap()
    }

    #[test]
    fn the_index_finds_what_a_binary_search_finds() {
        for (members, virtual_nodes) in [(1, 1), (1, 2), (2, 1), (3, 5), (5, 100), (40, 333)] {
            let points = points(members, virtual_nodes);
            let on_points = points.packed.iter().flat_map(|&point| {
                let hash = point & !OWNER_MASK;
                [hash.wrapping_sub(1), hash, hash | OWNER_MASK, hash.wrapping_add(1 << OWNER_BITS)]
            });
            let anywhere = (0..2000_u32).map(|i| key_hash(&i.to_le_bytes()));
            for hash in on_points.chain(anywhere).chain([0, 1, u64::MAX]) {
                let found = points.packed.partition_point(|&point| point < hash & !OWNER_MASK);
                assert_eq!(points.first_from(hash), found % points.len(), "{hash:#x} of {members} members");
            }
        }
    }

    #[test]
    fn points_on_one_place_belong_to_the_first_name() {
        let packed: Box<[u64]> = [7 << OWNER_BITS | 1, 7 << OWNER_BITS | 2, 9 << OWNER_BITS].into();
        let (slots, shift) = index(&packed);
        let points = Points { packed, slots, shift };
        assert_eq!(points.owner(points.first_from(hash_of(7) | 5)), 1);
        assert_eq!(points.owner(points.first_from(hash_of(8))), 0);
        assert_eq!(points.owner(points.first_from(hash_of(10))), 1, "past the last point the circle closes");
    }
}
