//! The hop between a master and an auxiliary: what is asked of one copy and what it answers. [`wire`] carries it; the HTTP
//! headers are for what goes over HTTP beside it.
//!
//! Times to live travel as what is left of them, so that two nodes' clocks need not agree.

pub mod wire;

use crate::value::{Content, StoredValue};
use crate::version::Version;

/// Version of an entry, a tombstone or a miss floor: decimal.
pub const VERSION_HEADER: &str = "annulus-version";
/// Milliseconds left to live; absent: no expiry.
pub const TTL_LEFT_MS_HEADER: &str = "annulus-ttl-ms";
/// The memcached client's flags: decimal; absent: 0.
pub const FLAGS_HEADER: &str = "annulus-flags";
/// What a memcached client made of an entry, see [`StoredValue::marks`]: decimal; absent: 0.
pub const MARKS_HEADER: &str = "annulus-marks";
/// The version under which an entry was first written, where it was carried on under a newer one.
pub const ORIGIN_HEADER: &str = "annulus-origin";
/// On a miss: why, as in the metric `annulus_cache_misses_total`.
pub const MISS_HEADER: &str = "annulus-miss";
/// On a miss: present where the version is a tombstone's and not a floor.
pub const TOMBSTONE_HEADER: &str = "annulus-tombstone";
/// The epoch of the roster by which the sender goes: on every call, and on the answer that refuses one for its epoch.
pub const EPOCH_HEADER: &str = "annulus-epoch";
/// On every answer: the number of the life that answers.
pub const INCARNATION_HEADER: &str = "annulus-incarnation";
/// On a roster that is handed over, and on what auxiliaries send each other: shows that the sender knows the secret.
pub const SEAL_HEADER: &str = "annulus-seal";
/// On a client's request: milliseconds that the answer may take. The hop has none; a master bounds its calls itself.
pub const DEADLINE_HEADER: &str = "x-deadline-ms";

/// What one copy says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyState {
    /// It holds a value.
    Value(StoredValue),
    /// It holds none.
    Miss {
        /// The tombstone's version, or the highest version forgotten in the key's bucket.
        version: Version,
        /// Why there is none.
        reason: MissReason,
        /// Whether the version is a tombstone's: the key was deleted. Otherwise it is a floor, and says nothing of
        /// this key but that older versions of it do not count.
        tombstone: bool,
    },
}

impl CopyState {
    /// The newest version this copy knows of.
    pub fn version(&self) -> Version {
        match self {
            Self::Value(stored) => stored.version,
            Self::Miss { version, .. } => *version,
        }
    }
}

/// Why a copy holds no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MissReason {
    /// It never had one, as far as it remembers.
    Cold,
    /// Its time had come.
    Expired,
    /// It made room for another.
    Evicted,
    /// It was deleted; the version is the tombstone's.
    Deleted,
    /// It went to another node.
    Moved,
}

impl MissReason {
    /// Every reason, in the order of the metric's label values.
    pub const ALL: [Self; 5] = [Self::Cold, Self::Expired, Self::Evicted, Self::Deleted, Self::Moved];

    /// The reason as a label or header value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Deleted => "deleted",
            Self::Moved => "moved",
        }
    }

    /// Reads what [`Self::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// How a copy is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Look {
    /// As clients read: the entry becomes the most recently used.
    #[default]
    Plain,
    /// The same, and the answer says how the entry was used before.
    ShowsUse,
    /// The answer says how the entry was used before, and this look does not count as a use.
    Aside,
}

/// A write to one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyWrite {
    /// The version it makes.
    pub version: Version,
    /// The value; `None` deletes and leaves a tombstone.
    pub value: Option<Content>,
    /// Milliseconds left to live; `None` for no expiry.
    pub ttl_left_ms: Option<u64>,
    /// The memcached client's flags.
    pub flags: u32,
    /// As [`StoredValue::marks`].
    pub marks: u8,
    /// The version under which it was first written, where it is carried on under a newer one.
    pub origin: Option<Version>,
    /// What must hold of the copy.
    pub condition: Condition,
    /// Whether what it writes counts as read: memcached changes some items in place.
    pub fetched: bool,
}

/// What must hold of a copy for a write to be taken, besides knowing nothing newer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Nothing more.
    Always,
    /// No live entry.
    Absent,
    /// A live entry of any version.
    Present,
    /// A live entry of just this version.
    VersionIs(Version),
    /// The copy still keeps the promise that it made to the write's own version.
    Promised,
}

/// What a copy answers to a write that it took: what was there before, tombstones included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// The version that was there.
    pub previous: Option<Version>,
    /// Whether that was a live entry.
    pub was_live: bool,
}

/// Whether a copy has taken a write before, as far as it remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakenBefore {
    /// It has.
    Yes,
    /// Not within the last so many milliseconds.
    NotWithin {
        /// How far the memory goes back.
        ms: u64,
    },
}

/// Why a copy did not take a write or make a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It knows this version, or forgot it, and that is not older than the write's.
    Newer {
        /// The version.
        version: Version,
        /// Whether the copy had taken the refused write before, and something newer after it.
        taken: TakenBefore,
    },
    /// It promised to take nothing below this version; what it holds may be older.
    Promised(Version),
    /// The condition does not hold; the live version there, if any.
    Condition(Option<Version>),
    /// The entry would not fit into its memory at all.
    TooLarge,
    /// A bounded table of it is full; try again after a moment.
    Busy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_read_back() {
        for reason in MissReason::ALL {
            assert_eq!(MissReason::parse(reason.as_str()), Some(reason));
        }
    }
}
