//! Random members, and the owners of a key by the definition alone.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use annulus_ring::{Member, Ring, key_hash};
use proptest::prelude::*;

pub(crate) fn distinct_names(count: RangeInclusive<usize>) -> impl Strategy<Value = Vec<String>> {
    prop::collection::hash_set("[a-z0-9.-]{1,16}", count).prop_map(|names| names.into_iter().collect())
}

/// Members of weight 1, each a zone of its own.
pub(crate) fn equal_members(count: RangeInclusive<usize>) -> impl Strategy<Value = Vec<Member>> {
    distinct_names(count).prop_map(|names| names.into_iter().map(Member::new).collect())
}

/// Members of weights 1 to 4, in up to four zones or in none.
pub(crate) fn any_members(count: RangeInclusive<usize>) -> impl Strategy<Value = Vec<Member>> {
    let most = *count.end();
    let rest = prop::collection::vec((prop::option::weighted(0.7, "[w-z]"), 1_u32..=4), most);
    (distinct_names(count), rest).prop_map(|(names, rest)| {
        let member = |(name, (zone, weight))| Member { name, zone, weight };
        names.into_iter().zip(rest).map(member).collect()
    })
}

pub(crate) fn names_of(ring: &Ring) -> Vec<String> {
    ring.members().iter().map(|member| member.name.clone()).collect()
}

pub(crate) fn owners_of(ring: &Ring, key: &[u8], n: usize) -> Vec<String> {
    ring.owners(key_hash(key), n).map(|owner| ring.members()[owner].name.clone()).collect()
}

/// Sorts all points by (upper 48 bits of the hash, name), turns the circle to the key, and picks in two passes.
pub(crate) fn naive_owners(members: &[Member], virtual_nodes: u32, key: &[u8], n: usize) -> Vec<String> {
    let mut points: Vec<(u64, &Member)> = Vec::new();
    for member in members {
        for replica in 0..member.weight * virtual_nodes {
            let named = [member.name.as_bytes(), &replica.to_le_bytes()].concat();
            points.push((key_hash(&named) >> 16, member));
        }
    }
    points.sort_by_key(|(place, member)| (*place, member.name.clone()));
    let start = points.iter().position(|(place, _)| *place >= key_hash(key) >> 16).unwrap_or(0);
    points.rotate_left(start);
    let mut zones = HashSet::new();
    let mut owners: Vec<String> = Vec::new();
    for (_, member) in &points {
        let zone = member.zone.clone().ok_or(&member.name);
        if zones.insert(zone) {
            owners.push(member.name.clone());
        }
    }
    for (_, member) in &points {
        if !owners.contains(&member.name) {
            owners.push(member.name.clone());
        }
    }
    owners.truncate(n);
    owners
}
