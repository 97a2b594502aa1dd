//! The ring itself: members, first owners, shares of the key space.

use std::fmt;

use crate::member::number_zones;
use crate::points::{PLACES, Points};
use crate::{Member, Owners, RingError, hash};

/// How many points a member of weight 1 has unless configured otherwise.
///
/// Chosen so that the fullest node stays at or below 1.10 × the mean. It comes from `examples/balance.rs`: of 1,000
/// rings of 100 members, the worst had its fullest node at 1.077 × the mean with 4096 points (1.039 in the median
/// ring), at 1.104 with 2048 and at 1.145 with 1024. A node's share has a relative standard deviation of
/// `1 / √virtual_nodes`, so 10 % is 6.4 of them at 4096 and 4.5 at 2048. With fewer members the fullest is nearer.
pub const DEFAULT_VIRTUAL_NODES: u32 = 4096;

/// Which members own which part of the key space. Immutable; a change of members is another ring.
///
/// Owners are indices into [`members`](Self::members), so that a lookup moves no text.
#[derive(Clone)]
pub struct Ring {
    members: Vec<Member>,
    virtual_nodes: u32,
    points: Points,
    /// The zone of each member, numbered from 0.
    zones: Box<[u16]>,
    zone_count: usize,
    fingerprint: u64,
}

impl Ring {
    /// The ring of `members`, in whatever order, with `virtual_nodes × weight` points each. No members is a valid
    /// ring that owns nothing.
    ///
    /// Takes time in proportion to the points, some 12 ms for 100 members at the default.
    ///
    /// # Errors
    ///
    /// An empty or doubled name, a weight or `virtual_nodes` of 0, more than [`MAX_MEMBERS`](crate::MAX_MEMBERS)
    /// members or more than [`MAX_POINTS`](crate::MAX_POINTS) points in all.
    pub fn new(members: impl IntoIterator<Item = Member>, virtual_nodes: u32) -> Result<Self, RingError> {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        check(&members, virtual_nodes)?;
        let points = Points::new(&members, virtual_nodes)?;
        let (zones, zone_count) = number_zones(&members);
        let fingerprint = hash::fingerprint(&members, virtual_nodes);
        Ok(Self { members, virtual_nodes, points, zones, zone_count, fingerprint })
    }

    /// The members, in the order of their names (by bytes). An owner is an index into this slice.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no member, so that no key has an owner.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many points a member of weight 1 has.
    pub fn virtual_nodes(&self) -> u32 {
        self.virtual_nodes
    }

    /// The preference list of a key with this [`key_hash`](crate::key_hash): `n` distinct members, or all if there are
    /// fewer. See [`Owners`] for the order, the zones and the cost.
    #[inline]
    pub fn owners(&self, hash: u64, n: usize) -> Owners<'_> {
        Owners::new(self, hash, n)
    }

    /// The first owner, as `owners(hash, 1).next()` but faster. `None` only on an empty ring.
    #[inline]
    pub fn owner(&self, hash: u64) -> Option<usize> {
        (!self.is_empty()).then(|| self.points.owner(self.points.first_from(hash)))
    }

    /// For each member the fraction of the key space it is the first owner of, 0 to 1. They sum to exactly 1, as all
    /// are multiples of 2^-48; on an empty ring there are none.
    pub fn shares(&self) -> Vec<f64> {
        let mut places = vec![0_u64; self.len()];
        let mut covered = 0;
        for point in 0..self.points.len() {
            let end = self.points.place(point) + 1;
            places[self.points.owner(point)] += end - covered;
            covered = end;
        }
        if !self.is_empty() {
            places[self.points.owner(0)] += PLACES - covered;
        }
        places.into_iter().map(share_of).collect()
    }

    /// A short name for the placement: equal for rings of equal members (name, zone, weight) and equal
    /// `virtual_nodes`, whatever the order they were given in. Two different rings share one only by a collision of a
    /// 64-bit hash.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    pub(crate) fn points(&self) -> &Points {
        &self.points
    }

    #[inline]
    pub(crate) fn zone(&self, member: usize) -> u16 {
        self.zones[member]
    }

    pub(crate) fn zone_count(&self) -> usize {
        self.zone_count
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring")
            .field("members", &self.len())
            .field("zones", &self.zone_count)
            .field("virtual_nodes", &self.virtual_nodes)
            .field("fingerprint", &format_args!("{:016x}", self.fingerprint))
            .finish_non_exhaustive()
    }
}

/// A number of places as a fraction of the circle. Exact, as both fit into the 53 bits of an `f64`.
pub(crate) fn share_of(places: u64) -> f64 {
    places as f64 / PLACES as f64
}

/// Checks members that are in the order of their names.
fn check(members: &[Member], virtual_nodes: u32) -> Result<(), RingError> {
    if virtual_nodes == 0 {
        return Err(RingError::NoVirtualNodes);
    }
    if members.iter().any(|member| member.name.is_empty()) {
        return Err(RingError::EmptyName);
    }
    if let Some(member) = members.iter().find(|member| member.weight == 0) {
        return Err(RingError::ZeroWeight { name: member.name.clone() });
    }
    if let Some(pair) = members.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(RingError::DuplicateName { name: pair[0].name.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_POINTS;

    fn error(members: impl IntoIterator<Item = Member>, virtual_nodes: u32) -> RingError {
        Ring::new(members, virtual_nodes).unwrap_err()
    }

    #[test]
    fn what_cannot_be_placed_is_refused_by_name() {
        let (a, b) = (Member::new("a"), Member::new("b"));
        assert_eq!(error([a.clone(), Member::new("")], 1), RingError::EmptyName);
        assert_eq!(
            error([a.clone(), b.clone(), a.clone()], 1),
            RingError::DuplicateName { name: "a".into() }
        );
        assert_eq!(error([a.clone(), b.with_weight(0)], 1), RingError::ZeroWeight { name: "b".into() });
        assert_eq!(error([a], 0), RingError::NoVirtualNodes);
        assert_eq!(error([], 0), RingError::NoVirtualNodes);
    }

    #[test]
    fn the_number_of_points_and_members_is_bounded() {
        let one = |weight| [Member::new("a").with_weight(weight)];
        assert_eq!(
            error(one(MAX_POINTS / 2 + 1), 2),
            RingError::TooManyPoints { points: u128::from(MAX_POINTS) + 2 }
        );
        assert!(Ring::new(one(u32::MAX), u32::MAX).is_err());
        let many = (0..=crate::MAX_MEMBERS).map(|i| Member::new(i.to_string()));
        assert_eq!(error(many, 1), RingError::TooManyMembers { members: crate::MAX_MEMBERS + 1 });
    }

    #[test]
    fn as_many_members_as_allowed_each_have_a_number() {
        let ring = Ring::new((0..crate::MAX_MEMBERS).map(|i| Member::new(i.to_string())), 1).unwrap();
        assert_eq!(ring.zone_count(), crate::MAX_MEMBERS);
        assert_eq!(ring.owners(0, usize::MAX).count(), crate::MAX_MEMBERS);
    }

    #[test]
    fn an_empty_ring_owns_nothing() {
        let ring = Ring::new([], 16).unwrap();
        assert!(ring.is_empty());
        assert_eq!(ring.owner(7), None);
        assert_eq!(ring.owners(7, 3).len(), 0);
        assert_eq!(ring.owners(7, 3).next(), None);
        assert_eq!(ring.shares(), Vec::<f64>::new());
    }

    #[test]
    fn shares_sum_to_exactly_one() {
        for count in [1, 2, 7, 50] {
            let ring = Ring::new((0..count).map(|i| Member::new(format!("n{i}"))), 100).unwrap();
            let sum: f64 = ring.shares().iter().sum();
            assert!((sum - 1.0).abs() < f64::EPSILON / 2.0, "{count} members: {sum}");
        }
    }

    #[test]
    fn the_debug_text_stays_short() {
        let ring = Ring::new([Member::new("a"), Member::new("b").with_zone("z")], 3).unwrap();
        let shown = format!("{ring:?}");
        assert!(shown.starts_with("Ring { members: 2, zones: 2, virtual_nodes: 3, fingerprint: "), "{shown}");
    }

    #[test]
    fn the_fingerprint_tells_all_that_decides_placement() {
        let a = || Member::new("a");
        let rings = [
            (vec![], 1),
            (vec![], 2),
            (vec![a()], 1),
            (vec![a()], 2),
            (vec![a().with_weight(2)], 1),
            (vec![a().with_zone("")], 1),
            (vec![a().with_zone("z")], 1),
            (vec![a(), Member::new("b")], 1),
            (vec![Member::new("ab")], 1),
        ];
        let mut seen: Vec<u64> =
            rings.into_iter().map(|(m, v)| Ring::new(m, v).unwrap().fingerprint()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 9);
    }
}
