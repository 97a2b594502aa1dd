//! The one hash of the ring: SipHash-1-3, 64 bits, fixed published keys.
//!
//! SipHash is Aumasson & Bernstein, *SipHash: a fast short-input PRF*, INDOCRYPT 2012; the variant with one
//! compression and three finalisation rounds is the one that Rust's and Python's hash tables use. As the keys are
//! published, it spreads keys evenly but does not stop somebody from choosing keys that all fall on one node.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::Member;

/// The two 64-bit keys of the hash: the bytes of `"annulus "` and `"ring v1 "`, little-endian.
///
/// They are part of the placement contract: any other implementation that uses them finds the same owners.
pub const HASH_KEYS: [u64; 2] = [u64::from_le_bytes(*b"annulus "), u64::from_le_bytes(*b"ring v1 ")];

/// Where a cache key of any bytes stands on the circle: SipHash-1-3 of the bytes under [`HASH_KEYS`].
///
/// ```
/// assert_eq!(annulus_ring::key_hash(b"user:17"), 0x63cd_4ccf_82a3_99f7);
/// ```
#[inline]
pub fn key_hash(key: &[u8]) -> u64 {
    SipHasher13::new_with_keys(HASH_KEYS[0], HASH_KEYS[1]).hash(key)
}

/// Calls `place` with the hash of each of a member's `count` points: [`key_hash`] of the name's UTF-8 bytes followed
/// by the replica number (0, 1, …) as four little-endian bytes.
///
/// The number has a fixed length at the end, so no two (name, number) pairs are the same bytes. The first points do
/// not depend on `count`: a larger weight only adds points.
pub(crate) fn for_each_point(name: &str, count: u32, mut place: impl FnMut(u64)) {
    let mut bytes = name.as_bytes().to_vec();
    let end = bytes.len();
    bytes.extend([0; 4]);
    for replica in 0..count {
        bytes[end..].copy_from_slice(&replica.to_le_bytes());
        place(key_hash(&bytes));
    }
}

/// The hash of all that decides placement. `members` are in the order of their names.
///
/// Lengths and presence are hashed too, so that texts cannot run into one another.
pub(crate) fn fingerprint(members: &[Member], virtual_nodes: u32) -> u64 {
    let mut bytes = Vec::new();
    bytes.extend(virtual_nodes.to_le_bytes());
    let text = |bytes: &mut Vec<u8>, text: &str| {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    for member in members {
        text(&mut bytes, &member.name);
        bytes.extend(member.weight.to_le_bytes());
        bytes.push(u8::from(member.zone.is_some()));
        if let Some(zone) = &member.zone {
            text(&mut bytes, zone);
        }
    }
    let mut hasher = SipHasher13::new_with_keys(HASH_KEYS[0], HASH_KEYS[1]);
    hasher.write(&bytes);
    hasher.finish()
}
