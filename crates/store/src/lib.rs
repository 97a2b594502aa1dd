//! The memory of an Annulus node: versioned entries in exact LRU shards under a byte bound, with expiry, tombstones,
//! miss floors and promises.
//!
//! Pure: no IO, no clock, no randomness, no statics. The caller passes the time and the key's hash.
//!
//! ```
//! use annulus_store::{Condition, Lookup, Options, Store, Write};
//!
//! let store = Store::new(Options::new(64 << 20, 0x5eed));
//! let (now_ms, hash) = (1_700_000_000_000, 42);
//! store.put(b"key", hash, &Write::value(1, b"value"), Condition::Always, now_ms)?;
//! let Lookup::Hit(entry) = store.get(b"key", hash, now_ms) else { panic!("it was just put") };
//! assert_eq!((entry.value(), entry.version()), (&b"value"[..], 1));
//! # Ok::<(), annulus_store::PutError>(())
//! ```
//!
//! What holds:
//!
//! - **Newest wins.** A write at or below a known version is refused with that version.
//! - **Nothing older slips back in.** Whatever forgets an entry or a tombstone (eviction, expiry, age, flush) raises
//!   the *floor* of its bucket to its version. A miss answers with the floor, and a write at or below it is refused
//!   while the key is absent. So a tombstone may go at any time. What was taken in another's place ([`Role::Spare`])
//!   raises a floor of its own besides, which is the one that counts where the node is a spare.
//! - **No entry is served at or after its deadline**, and none stays in memory for want of a read.
//! - **[`Stats::bytes`] never passes [`Options::max_bytes`]**, not even inside a put: room is made first, and an index
//!   that cannot grow under the bound evicts instead. Not in it: what callers hold (an entry being put together before
//!   the lock is taken, clones handed out to readers) and [`Stats::fixed_bytes`].
//!
//! Inside, a shard is a table from hash to node (7 to 8.5 bytes an entry), a slab of nodes (24 bytes), a recency list
//! and a timing wheel through these nodes, and one allocation for each entry (32 bytes + 2 + key + value).

mod access;
mod api;
mod entry;
mod floors;
mod ghosts;
mod index;
mod keyed;
mod promises;
mod recency;
mod recent;
mod record;
mod shard;
mod size;
mod slab;
mod snapshot;
mod store;
mod table;
mod update;
mod wheel;

pub use access::Use;
pub use api::{
    Condition, FLOOR_BUCKETS, Holding, Lookup, MAX_CONTENT_TYPE_BYTES, MAX_KEY_BYTES, MAX_MARKS, Miss,
    MissReason, Options, Previous, PutError, Role, Stats, Taken, Write,
};
pub use entry::Entry;
pub use record::{Record, RecordError};
pub use snapshot::{
    Batch, SnapshotError, SnapshotFault, SnapshotReader, SnapshotSummary, SnapshotTotals, SnapshotWriter,
};
pub use store::{ScanCursor, Store};
pub use update::{Change, Decision, Found, Updated, ValueFrom};

pub(crate) use store::bucket_of;
