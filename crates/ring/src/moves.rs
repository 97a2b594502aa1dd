//! The difference between two rings: which share of the keys moves from whom to whom.
//!
//! Both rings cut the circle into arcs; between two neighbouring cuts of either, every key has the same owners before
//! and the same owners after. So the shares are exact (multiples of 2^-48), not sampled.

use std::collections::BTreeMap;

use crate::Ring;
use crate::points::{PLACES, Points, hash_of};
use crate::ring::share_of;

/// A share of the key space that changes its first owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// Who has it before, by name. `None` if the ring before was empty.
    pub from: Option<String>,
    /// Who has it afterwards, by name. `None` if the ring after is empty.
    pub to: Option<String>,
    /// The fraction of all keys, above 0 and up to 1.
    pub share: f64,
}

impl Ring {
    /// Which share of the keys changes its first owner when this ring becomes `to`: at most one [`Move`] for each pair
    /// of names, in the order of `from`, then `to`. Members are the same if their names are, whatever their weights.
    ///
    /// Takes time linear in the points of both rings: milliseconds for 100 members at the default.
    pub fn moves(&self, to: &Ring) -> Vec<Move> {
        let mut places: BTreeMap<(Option<&str>, Option<&str>), u64> = BTreeMap::new();
        for arc in arcs(self.points(), to.points()) {
            let before = arc.before.map(|point| self.name_at(point));
            let after = arc.after.map(|point| to.name_at(point));
            if before != after {
                *places.entry((before, after)).or_default() += arc.places;
            }
        }
        let owned = |name: Option<&str>| name.map(str::to_owned);
        places
            .into_iter()
            .map(|((from, to), places)| Move { from: owned(from), to: owned(to), share: share_of(places) })
            .collect()
    }

    /// What each member of `to` must receive when this ring becomes `to` and each key has `copies` copies: its name
    /// and the share of all (key, copy) pairs, above 0, in the order of the names. Members that receive nothing are
    /// left out.
    ///
    /// A member receives a copy of a key if it is among the first `copies` owners in `to` and was not among them here;
    /// which of the copies it is does not matter. A key has `min(copies, to.len())` copies in `to`, so a `to` whose
    /// members all are new receives 1 in sum.
    ///
    /// Takes time in proportion to the points of both rings times the walk of [`owners`](Ring::owners).
    pub fn moves_of_copies(&self, to: &Ring, copies: usize) -> Vec<(String, f64)> {
        let mut received = vec![0_u64; to.len()];
        let same = self.indices_in(to);
        let mut had = Vec::new();
        for arc in arcs(self.points(), to.points()) {
            had.clear();
            had.extend(self.owners(arc.hash, copies).filter_map(|member| same[member]));
            for member in to.owners(arc.hash, copies) {
                if !had.contains(&member) {
                    received[member] += arc.places;
                }
            }
        }
        let copies = copies.min(to.len()) as f64;
        let named = to.members().iter().map(|member| member.name.clone());
        let shares = received.into_iter().map(|places| share_of(places) / copies);
        named.zip(shares).filter(|(_, share)| *share > 0.0).collect()
    }

    fn name_at(&self, point: usize) -> &str {
        &self.members()[self.points().owner(point)].name
    }

    /// For each member its index in `other`, if it is there.
    fn indices_in(&self, other: &Ring) -> Vec<Option<usize>> {
        let find = |name: &String| other.members().binary_search_by(|member| member.name.cmp(name)).ok();
        self.members().iter().map(|member| find(&member.name)).collect()
    }
}

/// A stretch of the circle on which neither ring has a point but at its end.
struct Arc {
    /// The point that owns it in the ring before; `None` if that is empty.
    before: Option<usize>,
    /// The point that owns it in the ring after; `None` if that is empty.
    after: Option<usize>,
    /// The hash of a key on it.
    hash: u64,
    /// Its length, at least 1.
    places: u64,
}

/// All arcs of two rings, clockwise from place 0. Their lengths sum to [`PLACES`].
fn arcs<'p>(before: &'p Points, after: &'p Points) -> impl Iterator<Item = Arc> + 'p {
    let mut before = Cursor { points: before, at: 0 };
    let mut after = Cursor { points: after, at: 0 };
    let mut start = 0;
    std::iter::from_fn(move || {
        if start == PLACES {
            return None;
        }
        before.skip_to(start);
        after.skip_to(start);
        let last = before.place().min(after.place());
        let arc = Arc {
            before: before.owning(),
            after: after.owning(),
            hash: hash_of(start),
            places: last + 1 - start,
        };
        start = last + 1;
        Some(arc)
    })
}

/// A walk over the points of one ring, from place 0 to the last place.
struct Cursor<'p> {
    points: &'p Points,
    at: usize,
}

impl Cursor<'_> {
    fn skip_to(&mut self, place: u64) {
        while self.at < self.points.len() && self.points.place(self.at) < place {
            self.at += 1;
        }
    }

    /// Where the point stands; past the last one, the last place of the circle.
    fn place(&self) -> u64 {
        if self.at < self.points.len() { self.points.place(self.at) } else { PLACES - 1 }
    }

    /// The point that owns the arc ending here. Past the last one the circle closes and it is the first.
    fn owning(&self) -> Option<usize> {
        (self.points.len() > 0).then(|| if self.at < self.points.len() { self.at } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Member;

    fn ring(names: &[&str]) -> Ring {
        Ring::new(names.iter().map(|name| Member::new(*name)), 256).unwrap()
    }

    fn names(received: &[(String, f64)]) -> Vec<&str> {
        received.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn arcs_cover_the_circle_once() {
        for (before, after) in [(&["a"][..], &["b", "c"][..]), (&[], &["a"]), (&[], &[])] {
            let (before, after) = (ring(before), ring(after));
            let places: u64 = arcs(before.points(), after.points()).map(|arc| arc.places).sum();
            assert_eq!(places, PLACES);
        }
    }

    #[test]
    fn nothing_moves_between_equal_rings() {
        let (one, other) = (ring(&["a", "b"]), ring(&["b", "a"]));
        assert_eq!(one.moves(&other), vec![]);
        assert_eq!(one.moves_of_copies(&other, 2), vec![]);
        assert_eq!(ring(&[]).moves(&ring(&[])), vec![]);
    }

    #[test]
    fn an_empty_ring_takes_from_and_gives_to_nobody() {
        let whole = |from: Option<&str>, to: Option<&str>| {
            vec![Move { from: from.map(str::to_owned), to: to.map(str::to_owned), share: 1.0 }]
        };
        assert_eq!(ring(&[]).moves(&ring(&["a"])), whole(None, Some("a")));
        assert_eq!(ring(&["a"]).moves(&ring(&[])), whole(Some("a"), None));
        assert_eq!(ring(&["a"]).moves(&ring(&["b"])), whole(Some("a"), Some("b")));
        assert_eq!(ring(&["a"]).moves_of_copies(&ring(&[]), 2), vec![]);
        assert_eq!(ring(&["a"]).moves_of_copies(&ring(&["b"]), 0), vec![]);
    }

    #[test]
    fn with_a_copy_everywhere_only_a_new_member_receives() {
        let (two, three) = (ring(&["a", "b"]), ring(&["a", "b", "c"]));
        assert_eq!(two.moves_of_copies(&three, 3), vec![("c".to_owned(), 1.0 / 3.0)]);
        assert_eq!(names(&two.moves_of_copies(&three, 1)), ["c"]);
        assert_eq!(three.moves_of_copies(&two, 2).len(), 2, "the two that stay take over what c held");
        let fresh: f64 = ring(&[]).moves_of_copies(&three, 2).iter().map(|(_, share)| share).sum();
        assert!((fresh - 1.0).abs() < 1e-12, "{fresh}");
    }

    #[test]
    fn for_one_copy_what_is_received_is_what_moves() {
        let (before, after) = (ring(&["a", "b", "c"]), ring(&["b", "c", "d", "e"]));
        let mut to: BTreeMap<String, f64> = BTreeMap::new();
        for moved in before.moves(&after) {
            *to.entry(moved.to.unwrap()).or_default() += moved.share;
        }
        assert_eq!(before.moves_of_copies(&after, 1), to.into_iter().collect::<Vec<_>>());
    }
}
