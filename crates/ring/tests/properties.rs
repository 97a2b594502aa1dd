//! What placement promises, on random members.
//!
//! The numbers of cases are fixed: they are part of what is claimed, not of the environment.

mod support;

use annulus_ring::{DEFAULT_VIRTUAL_NODES, Member, Move, Ring, key_hash};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use support::{any_members, distinct_names, equal_members, naive_owners, names_of, owners_of};

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn default_ring(members: impl IntoIterator<Item = Member>) -> Ring {
    Ring::new(members, DEFAULT_VIRTUAL_NODES).unwrap()
}

fn total(moves: &[Move]) -> f64 {
    moves.iter().map(|moved| moved.share).sum()
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn the_fullest_node_holds_at_most_a_tenth_above_the_mean(members in equal_members(2..=100)) {
        let mean = 1.0 / members.len() as f64;
        for share in default_ring(members).shares() {
            prop_assert!(share <= 1.10 * mean, "{}", share / mean);
        }
    }

    #[test]
    fn weights_are_honoured_within_a_tenth(
        names in distinct_names(2..=20),
        weights in prop::collection::vec(1_u32..=8, 20),
    ) {
        let members = names.into_iter().zip(weights).map(|(name, weight)| Member::new(name).with_weight(weight));
        let ring = default_ring(members);
        let sum: u32 = ring.members().iter().map(|member| member.weight).sum();
        for (member, share) in ring.members().iter().zip(ring.shares()) {
            let wanted = f64::from(member.weight) / f64::from(sum);
            prop_assert!((share / wanted - 1.0).abs() <= 0.10, "{member:?} has {share}, not {wanted}");
        }
    }

    #[test]
    fn a_new_node_takes_its_share_and_nobody_else_gains(members in equal_members(2..=60), new: Index) {
        let mut before = members.clone();
        let new = before.swap_remove(new.index(members.len())).name;
        let count = members.len() as f64;
        let (before, after) = (default_ring(before), default_ring(members));
        let moves = before.moves(&after);
        prop_assert!(total(&moves) <= 1.3 / count, "{} of {count}", total(&moves));
        prop_assert!(moves.iter().all(|moved| moved.to.as_deref() == Some(&new)));
    }

    #[test]
    fn a_node_that_goes_leaves_its_keys_and_no_other_moves(members in equal_members(2..=60), gone: Index) {
        let mut after = members.clone();
        let gone = after.swap_remove(gone.index(members.len())).name;
        let (before, after) = (default_ring(members), default_ring(after));
        let moves = before.moves(&after);
        prop_assert!(moves.iter().all(|moved| moved.from.as_deref() == Some(&gone)));
        let held = before.members().iter().position(|member| member.name == gone).unwrap();
        prop_assert!((total(&moves) - before.shares()[held]).abs() < 1e-12);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn owners_are_those_of_a_naive_reading_of_the_definition(
        members in any_members(1..=12), virtual_nodes in 1_u32..=20, key: [u8; 4], n in 0_usize..=14,
    ) {
        let ring = Ring::new(members.clone(), virtual_nodes).unwrap();
        let owners = owners_of(&ring, &key, n);
        prop_assert_eq!(&owners, &naive_owners(&members, virtual_nodes, &key, n));
        let first = ring.owner(key_hash(&key)).map(|owner| ring.members()[owner].name.clone());
        prop_assert_eq!(first, naive_owners(&members, virtual_nodes, &key, 1).pop());
    }

    #[test]
    fn the_order_of_members_never_matters(
        (members, shuffled) in any_members(1..=12).prop_flat_map(|m| (Just(m.clone()), Just(m).prop_shuffle())),
        keys: [[u8; 4]; 8],
    ) {
        let (one, other) = (Ring::new(members, 16).unwrap(), Ring::new(shuffled, 16).unwrap());
        prop_assert_eq!(one.fingerprint(), other.fingerprint());
        prop_assert_eq!(one.members(), other.members());
        for key in keys {
            prop_assert_eq!(owners_of(&one, &key, 12), owners_of(&other, &key, 12));
        }
    }

    #[test]
    fn owners_are_distinct_and_as_many_as_asked_for(members in any_members(1..=30), key: [u8; 4], n in 0_usize..=32) {
        let ring = Ring::new(members, 8).unwrap();
        let mut owners = owners_of(&ring, &key, n);
        prop_assert_eq!(owners.len(), n.min(ring.len()));
        owners.sort();
        owners.dedup();
        prop_assert_eq!(owners.len(), n.min(ring.len()));
    }

    #[test]
    fn zones_are_distinct_while_there_are_enough(members in any_members(1..=30), key: [u8; 4], n in 0_usize..=12) {
        let ring = Ring::new(members, 8).unwrap();
        let zones = |owners: &mut dyn Iterator<Item = usize>| {
            let zone = |owner: usize| {
                let member = &ring.members()[owner];
                member.zone.clone().ok_or(&member.name)
            };
            owners.map(zone).collect::<std::collections::HashSet<_>>().len()
        };
        let all = zones(&mut (0..ring.len()));
        prop_assert_eq!(zones(&mut ring.owners(key_hash(&key), n)), n.min(all));
    }

    #[test]
    fn one_owner_more_never_changes_those_before(members in any_members(1..=14), key: [u8; 4], n in 0_usize..=14) {
        let ring = Ring::new(members, 8).unwrap();
        let (fewer, more) = (owners_of(&ring, &key, n), owners_of(&ring, &key, n + 1));
        prop_assert!(more.starts_with(&fewer), "{fewer:?} {more:?}");
    }

    #[test]
    fn the_fingerprint_differs_where_members_do(one in any_members(0..=3), other in any_members(0..=3)) {
        let equal = Ring::new(one.clone(), 1).unwrap().members() == Ring::new(other.clone(), 1).unwrap().members();
        let fingerprint = |members: Vec<Member>| Ring::new(members, 1).unwrap().fingerprint();
        prop_assert_eq!(fingerprint(one) == fingerprint(other), equal);
    }
}

proptest! {
    #![proptest_config(cases(24))]

    /// With 20,000 sampled keys a share of one half has a standard error of 0.0036; the bound is five of them.
    #[test]
    fn moves_agree_with_a_sample_of_keys(
        (before, after) in any_members(1..=8)
            .prop_flat_map(|m| (subsequence(m.clone(), 0..=m.len()), subsequence(m.clone(), 0..=m.len()))),
        copies in 1_usize..=3,
    ) {
        const KEYS: u32 = 20_000;
        let (before, after) = (Ring::new(before, 64).unwrap(), Ring::new(after, 64).unwrap());
        let mut moved = 0;
        let mut received = 0;
        for key in 0..KEYS {
            let key = key.to_le_bytes();
            moved += u32::from(owners_of(&before, &key, 1) != owners_of(&after, &key, 1));
            let had = owners_of(&before, &key, copies);
            received += owners_of(&after, &key, copies).iter().filter(|name| !had.contains(name)).count();
        }
        let sampled = f64::from(moved) / f64::from(KEYS);
        let moves = total(&before.moves(&after));
        prop_assert!((moves - sampled).abs() < 0.018, "moves {moves}, sampled {sampled}");
        let pairs = f64::from(KEYS) * copies.min(after.len()).max(1) as f64;
        let of_copies: f64 = before.moves_of_copies(&after, copies).iter().map(|(_, share)| share).sum();
        let sampled = received as f64 / pairs;
        prop_assert!((of_copies - sampled).abs() < 0.018, "copies {of_copies}, sampled {sampled}");
        prop_assert!(before.moves_of_copies(&after, copies).iter().all(|(name, _)| names_of(&after).contains(name)));
    }
}
