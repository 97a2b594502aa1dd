//! The preference list of a key.

use std::iter::FusedIterator;

use crate::Ring;

/// Up to how many owners [`Ring::owners`] remembers without allocating.
pub const INLINE_OWNERS: usize = 8;

/// The owners of a key, most preferred first: indices into [`Ring::members`], from [`Ring::owners`].
///
/// # Order
///
/// First the members met clockwise from the key's hash whose zone has no owner yet, one a zone, until all zones are
/// used. Then, once more from the key's hash, the members met clockwise that are not among them. A member without a
/// zone is a zone of its own. Distinct throughout, and none is missing when all are asked for.
///
/// Neither order nor choice depends on `n`: `owners(hash, n)` are the first `n` of `owners(hash, n + 1)`, so asking for
/// one spare never changes who holds the copies.
///
/// # Cost
///
/// Nothing is allocated up to [`INLINE_OWNERS`] owners. Beyond, the answer is as right, and two small tables (a byte a
/// member, a byte a zone) are allocated once, at the start.
///
/// The walk reads points in sequence, about a nanosecond each. To find the next zone it passes about `1 / s` points,
/// where `s` is the share of the ring's points that stand in zones not yet used; the next member likewise. So one zone
/// of weight 1 beside a weight of 999 costs about 1,000 points. No lookup passes more than two turns of the ring: the
/// walk for zones ends with the last zone, the walk for members with the last member. As
/// [`MAX_POINTS`](crate::MAX_POINTS) bounds the ring, no `1 / s` exceeds `MAX_POINTS / virtual_nodes`, which is 1024 at
/// the default.
#[derive(Clone, Debug)]
pub struct Owners<'r> {
    ring: &'r Ring,
    /// The first point clockwise from the key.
    start: usize,
    /// The point to look at next.
    at: usize,
    /// How many owners are still to come. The walk ends because each of them has a point.
    left: usize,
    /// How many zones have no owner yet.
    zones_left: usize,
    taken: Taken,
}

impl<'r> Owners<'r> {
    #[inline]
    pub(crate) fn new(ring: &'r Ring, hash: u64, n: usize) -> Self {
        let left = n.min(ring.len());
        let start = if left == 0 { 0 } else { ring.points().first_from(hash) };
        let taken = Taken::new(left, ring);
        Self { ring, start, at: start, left, zones_left: ring.zone_count(), taken }
    }

    /// Whether the walk that is under way may choose this member.
    #[inline]
    fn eligible(&self, member: usize, zone: u16) -> bool {
        if self.zones_left > 0 { !self.taken.has_zone(zone) } else { !self.taken.has_member(member) }
    }

    #[inline]
    fn take(&mut self, member: usize, zone: u16) {
        self.left -= 1;
        self.taken.add(member, zone);
        if self.zones_left > 0 {
            self.zones_left -= 1;
            if self.zones_left == 0 {
                self.at = self.start;
            }
        }
    }
}

impl Iterator for Owners<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        loop {
            let member = self.ring.points().owner(self.at);
            let zone = self.ring.zone(member);
            self.at = self.ring.points().next(self.at);
            if self.eligible(member, zone) {
                self.take(member, zone);
                return Some(member);
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Owners<'_> {}
impl FusedIterator for Owners<'_> {}

/// The owners found so far, and their zones.
#[derive(Clone, Debug)]
enum Taken {
    /// Scanning a few numbers beats any table, and needs no heap.
    Few { members: [u16; INLINE_OWNERS], zones: [u16; INLINE_OWNERS], len: usize },
    /// For each member and each zone, whether it is taken.
    Many { members: Vec<bool>, zones: Vec<bool> },
}

impl Taken {
    #[inline]
    fn new(n: usize, ring: &Ring) -> Self {
        if n <= INLINE_OWNERS {
            Self::Few { members: [0; INLINE_OWNERS], zones: [0; INLINE_OWNERS], len: 0 }
        } else {
            Self::Many { members: vec![false; ring.len()], zones: vec![false; ring.zone_count()] }
        }
    }

    #[inline]
    fn has_member(&self, member: usize) -> bool {
        match self {
            Self::Few { members, len, .. } => members[..*len].contains(&(member as u16)),
            Self::Many { members, .. } => members[member],
        }
    }

    #[inline]
    fn has_zone(&self, zone: u16) -> bool {
        match self {
            Self::Few { zones, len, .. } => zones[..*len].contains(&zone),
            Self::Many { zones, .. } => zones[usize::from(zone)],
        }
    }

    #[inline]
    fn add(&mut self, member: usize, zone: u16) {
        match self {
            Self::Few { members, zones, len } => {
                members[*len] = member as u16;
                zones[*len] = zone;
                *len += 1;
            }
            Self::Many { members, zones } => {
                members[member] = true;
                zones[usize::from(zone)] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Member, key_hash};

    fn ring(members: usize, zones: usize) -> Ring {
        let member = |i| Member::new(format!("node-{i}")).with_zone(format!("zone-{}", i % zones));
        Ring::new((0..members).map(member), 64).unwrap()
    }

    /// `Taken::Few` has no field that could own heap memory, and `Owners` no other field but a reference.
    #[test]
    fn up_to_eight_owners_need_no_heap() {
        for (members, n, inline) in [(100, 1, true), (100, 8, true), (100, 9, false), (8, usize::MAX, true)] {
            let ring = ring(members, 3);
            let mut owners = ring.owners(key_hash(b"key"), n);
            owners.by_ref().for_each(drop);
            assert_eq!(matches!(owners.taken, Taken::Few { .. }), inline, "{n} of {members}");
        }
    }

    #[test]
    fn the_number_left_is_known_at_each_step() {
        let ring = ring(5, 2);
        let mut owners = ring.owners(key_hash(b"key"), 9);
        for left in (0..=5).rev() {
            assert_eq!(owners.len(), left);
            assert_eq!(owners.next().is_some(), left > 0);
        }
        assert_eq!(owners.next(), None);
        assert_eq!(ring.owners(1, 0).next(), None);
    }

    #[test]
    fn a_zone_of_one_small_node_gets_a_copy_of_every_key() {
        let big = |i| Member::new(format!("big-{i}")).with_zone("big").with_weight(50);
        let small = Member::new("small").with_zone("small");
        let ring = Ring::new((0..4).map(big).chain([small]), 64).unwrap();
        for i in 0..1000_u32 {
            let mut owners = ring.owners(key_hash(&i.to_le_bytes()), 2);
            assert!(owners.any(|owner| ring.members()[owner].name == "small"));
        }
    }
}
