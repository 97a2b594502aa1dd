//! What a write makes of a key, and what came of it.

use annulus_protocol::Version;
use annulus_protocol::hop::{Condition, CopyWrite, Taken};
use annulus_protocol::value::Content;

/// What a write makes of a key.
#[derive(Debug, Clone)]
pub struct Change {
    /// The value; `None` deletes.
    pub value: Option<Content>,
    /// Milliseconds to live from now; `None` for no expiry.
    pub ttl_left_ms: Option<u64>,
    /// The memcached client's flags.
    pub flags: u32,
    /// What memcached's meta commands keep with an entry.
    pub marks: u8,
    /// The unique that memcached's clients see, where it is not the version of this write.
    pub cas: Option<u64>,
    /// Whether it counts as read, as what memcached changes in place may.
    pub fetched: bool,
}

/// A write that is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The version it made.
    pub version: Version,
    /// Whether it replaced a live entry, as far as the copies that took it knew.
    pub replaced: bool,
}

/// A write that makes no condition.
pub(super) fn plain(version: Version, change: &Change) -> CopyWrite {
    CopyWrite {
        version,
        value: change.value.clone(),
        ttl_left_ms: change.ttl_left_ms,
        flags: change.flags,
        marks: change.marks,
        origin: change.cas.map(Version),
        condition: Condition::Always,
        fetched: change.fetched,
    }
}

/// Whether the newest of what the copies replaced was a live entry.
pub(super) fn replaced_live(taken: impl Iterator<Item = Taken>) -> bool {
    taken.max_by_key(|taken| taken.previous).is_some_and(|taken| taken.was_live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_is_what_the_newest_copy_says() {
        let live = |v| Taken { previous: Some(Version(v)), was_live: true };
        let tombstone = |v| Taken { previous: Some(Version(v)), was_live: false };
        assert!(replaced_live([live(1), Taken::default()].into_iter()));
        assert!(!replaced_live([live(1), tombstone(2)].into_iter()));
        assert!(!replaced_live([Taken::default()].into_iter()));
    }
}
