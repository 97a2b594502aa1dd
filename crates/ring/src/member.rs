//! A node as the ring sees it.

use std::collections::BTreeMap;

/// One node of the cluster, as far as placement is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The stable name that places the node: not empty, distinct within a ring, any Unicode text. Never an address,
    /// which may change while the data stays.
    pub name: String,
    /// The failure domain (rack, availability zone). Copies of a key go to distinct zones as long as there are enough
    /// of them. `None`: the member is a zone of its own. Every text is a zone, the empty one too.
    pub zone: Option<String>,
    /// How many shares of the key space the node takes, at least 1. Only the ratio between members matters, but each
    /// unit costs `virtual_nodes` points of memory.
    pub weight: u32,
}

impl Member {
    /// A member of weight 1 that is a zone of its own.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), zone: None, weight: 1 }
    }

    /// The same member, in `zone`.
    pub fn with_zone(self, zone: impl Into<String>) -> Self {
        Self { zone: Some(zone.into()), ..self }
    }

    /// The same member, with `weight` shares of the key space.
    pub fn with_weight(self, weight: u32) -> Self {
        Self { weight, ..self }
    }
}

/// A number for each member's zone, and how many zones there are. The number fits: there are at most as many zones as
/// members, and [`MAX_MEMBERS`](crate::MAX_MEMBERS) bounds those.
pub(crate) fn number_zones(members: &[Member]) -> (Box<[u16]>, usize) {
    let mut named: BTreeMap<&str, u16> = BTreeMap::new();
    let mut count = 0_usize;
    let mut number_next = || {
        count += 1;
        (count - 1) as u16
    };
    let zones = members
        .iter()
        .map(|member| match &member.zone {
            Some(zone) => *named.entry(zone).or_insert_with(&mut number_next),
            None => number_next(),
        })
        .collect();
    (zones, count)
}
