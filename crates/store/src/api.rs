//! The words of the store's interface.

use crate::Entry;

/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 250;

/// Longest content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 255;

/// Miss floors that a store keeps: one for each value of the low 12 bits of a key's hash.
pub const FLOOR_BUCKETS: usize = 4096;

/// All [`Write::marks`] that there can be: four bits.
pub const MAX_MARKS: u8 = 0xf;

/// How a store is sized and keyed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes for entries and their index, as really used. The fixed parts ([`Stats::fixed_bytes`]) come on top.
    pub max_bytes: usize,
    /// Entries at most, tombstones included; never more than 16,776,704 a shard.
    pub max_items: Option<usize>,
    /// Largest key + content type + value, in bytes. An entry must also fit into one shard's bytes.
    pub max_entry_bytes: usize,
    /// Shards, rounded down to a power of two; `None` takes one for each 8 entries of the largest size, at least 1
    /// and at most 64, or one a GiB where that is more, so that a small store is one exact LRU. Never more than
    /// `max_items`.
    pub shards: Option<usize>,
    /// When the store was made, on the clock of `now_ms`: what was taken before, nobody here knows.
    pub created_ms: u64,
    /// Keys the hash of the index. Take it at random in production: whoever knows it can make keys collide.
    pub hash_seed: u64,
    /// How long a tombstone is kept, in milliseconds, unless it must go earlier for room.
    pub tombstone_ttl_ms: u64,
    /// How long a promise keeps lower writes out, in milliseconds. Its own write must come within a fifth of that.
    pub promise_ttl_ms: u64,
    /// Whether writes that are older than what is known are refused. Off only in tests that show that it is needed.
    pub refuses_older: bool,
    /// Whether floors are kept. Off only in tests that show that they are needed.
    pub keeps_floors: bool,
}

impl Options {
    /// Options for `max_bytes` with the defaults: entries to 1 MiB + 1 KiB, no item bound, tombstones for ten
    /// minutes, promises for five seconds.
    pub fn new(max_bytes: usize, hash_seed: u64) -> Self {
        Self {
            max_bytes,
            max_items: None,
            max_entry_bytes: (1 << 20) + (1 << 10),
            shards: None,
            created_ms: 0,
            hash_seed,
            tombstone_ttl_ms: 10 * 60 * 1000,
            promise_ttl_ms: 5000,
            refuses_older: true,
            keeps_floors: true,
        }
    }
}

/// What a put writes.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// The write's version, 1 or more; the newest wins.
    pub version: u64,
    /// The value; `None` writes a tombstone.
    pub value: Option<&'a [u8]>,
    /// At most [`MAX_CONTENT_TYPE_BYTES`]; the common ones take no memory.
    pub content_type: &'a str,
    /// The client's 32 bits.
    pub flags: u32,
    /// When the entry ends, in milliseconds since the Unix epoch, kept up to the year 10889. A tombstone without one
    /// gets the store's `tombstone_ttl_ms`.
    pub deadline_ms: Option<u64>,
    /// The version under which this was first written, where it is carried on under a newer one.
    pub origin: Option<u64>,
    /// Four bits of the caller's, kept without taking memory; what is above [`MAX_MARKS`] is lost.
    pub marks: u8,
}

impl<'a> Write<'a> {
    /// A plain value without type, flags or deadline.
    pub fn value(version: u64, value: &'a [u8]) -> Self {
        Self {
            version,
            value: Some(value),
            content_type: "",
            flags: 0,
            deadline_ms: None,
            origin: None,
            marks: 0,
        }
    }

    /// A delete.
    pub fn tombstone(version: u64) -> Self {
        Self { version, value: None, content_type: "", flags: 0, deadline_ms: None, origin: None, marks: 0 }
    }
}

/// What a node is to a key: whether it should hold it, or takes it in another's place.
///
/// A floor stands for a bucket, so it says of a key only that something may have been forgotten. Of a key that a node should
/// not hold it has taken few versions, so there is a second floor, of those alone: the *spare floor*. It tells whether a
/// spare may have forgotten something of the key, when the owner who would know better has died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It should hold the key: whatever was forgotten in the bucket counts.
    #[default]
    Owner,
    /// It holds the key in another's place at most: what was forgotten counts only if it was taken in such a role.
    Spare,
    /// It is on its way from one to the other: whatever was forgotten counts, and what it takes, it takes as a spare.
    Between,
}

impl Role {
    /// Whether what is taken in this role raises the spare floor when it is forgotten.
    pub(crate) const fn takes_as_spare(self) -> bool {
        matches!(self, Self::Spare | Self::Between)
    }
}

/// How an entry is held here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Whether it counts as read since it was written.
    pub fetched: bool,
    /// In what role it is taken.
    pub role: Role,
}

/// What must hold for a write to happen, checked in one step with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// No live value: absent, expired or deleted.
    Absent,
    /// Nothing, and nothing newer can have been acknowledged: where the key is absent and no write of it was taken here for so
    /// long, what the floor remembers is of other keys, or of a write of this one that came to nothing. So it does not count.
    Newest {
        /// How long, in milliseconds: as long as a write may be under way.
        quiet_ms: u64,
    },
    /// A live value.
    Present,
    /// A live value of exactly this version.
    VersionIs(u64),
    /// [`Store::promise`](crate::Store::promise) gave exactly the write's version no longer than a fifth of
    /// [`Options::promise_ttl_ms`] ago, and nothing came between.
    Promised,
}

/// What a read finds.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// A live value.
    Hit(Entry),
    /// None.
    Miss(Miss),
}

impl Lookup {
    /// The version known here: the value's, the tombstone's or the floor.
    pub fn version(&self) -> u64 {
        match self {
            Self::Hit(entry) => entry.version(),
            Self::Miss(miss) => miss.version,
        }
    }

    /// As [`Self::version`], of a floor the one that counts in this role.
    pub fn version_as(&self, role: Role) -> u64 {
        match self {
            Self::Hit(entry) => entry.version(),
            Self::Miss(miss) => miss.version_as(role),
        }
    }

    /// The entry of a hit.
    pub fn hit(self) -> Option<Entry> {
        match self {
            Self::Hit(entry) => Some(entry),
            Self::Miss(_) => None,
        }
    }
}

/// What is known of a key without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The tombstone's version, or the floor: no version at or below it will be accepted of an owner's key.
    pub version: u64,
    /// The tombstone's version, or the spare floor.
    pub spare_version: u64,
    /// Why it is not there, for a metric.
    pub reason: MissReason,
    /// Whether a tombstone says so. If not, the key may hold something newer elsewhere, or nothing.
    pub tombstone: bool,
}

impl Miss {
    /// What counts in this role.
    pub fn version_as(&self, role: Role) -> u64 {
        match role {
            Role::Owner | Role::Between => self.version,
            Role::Spare => self.spare_version,
        }
    }
}

/// Why a key is not there.
///
/// Only `Deleted` with [`Miss::tombstone`] is certain. The others come from a small direct-mapped table of
/// fingerprints: a key forgotten long ago reads as `Cold`, and 1 lookup in about 8,000 may get another key's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissReason {
    /// Never seen, as far as is remembered.
    Cold,
    /// Its deadline passed.
    Expired,
    /// It made room.
    Evicted,
    /// It was deleted.
    Deleted,
    /// It went to another node.
    Moved,
}

/// What a write replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// Its version.
    pub version: u64,
    /// Whether it was a tombstone.
    pub tombstone: bool,
}

/// Whether a store has taken a write before, as far as it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It has.
    Once,
    /// Not within the last so many milliseconds.
    NotWithin {
        /// How far the memory goes back.
        ms: u64,
    },
}

/// Why a write or promise did not happen. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// This version or a newer one is known or was forgotten here: write again above it.
    #[error("refused: version {version} is known here")]
    Refused {
        /// What the next attempt must be above.
        version: u64,
        /// Whether the refused write had been taken here before, and something newer after it.
        taken: Taken,
    },
    /// A higher ballot is promised; what is held may be older.
    #[error("refused: nothing below version {ballot} is taken, by a promise")]
    Promised {
        /// What the next attempt must be above.
        ballot: u64,
    },
    /// The condition does not hold.
    #[error("condition failed: the key is {} at version {version}", if *exists { "there" } else { "absent" })]
    ConditionFailed {
        /// The version known here: the value's, the tombstone's or the floor.
        version: u64,
        /// Whether there is a live value.
        exists: bool,
    },
    /// Larger than a bound, so it can never be stored here.
    #[error("too large: {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// What it takes.
        bytes: usize,
        /// What there is.
        limit: usize,
    },
    /// Too many promises stand; they end by themselves within `promise_ttl_ms`.
    #[error("busy: too many promises stand")]
    Busy,
}

/// A store's figures: gauges as they are now, counters since it was made. Taken shard by shard, so under load the
/// figures of two shards are some microseconds apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Values in memory, those past their deadline but not yet dropped included.
    pub items: usize,
    /// Tombstones in memory.
    pub tombstones: usize,
    /// Promises standing, or ended and not yet forgotten.
    pub promises: usize,
    /// Bytes used by entries and their index, allocator rounding included.
    pub bytes: usize,
    /// Sum of the shards' highest `bytes` ever, moments inside a put included.
    pub peak_bytes: usize,
    /// The bound on `bytes`.
    pub max_bytes: usize,
    /// Bytes on top that do not depend on what is stored: floors, wheels, miss reasons; and the promises.
    pub fixed_bytes: usize,
    /// Entries evicted for the byte bound.
    pub evicted_for_bytes: u64,
    /// Entries evicted for the item bound.
    pub evicted_for_items: u64,
    /// Values dropped because their deadline had passed.
    pub expired: u64,
    /// Tombstones dropped at their age.
    pub tombstones_dropped: u64,
    /// Writes and promises answered with `Refused`.
    pub refused: u64,
}
