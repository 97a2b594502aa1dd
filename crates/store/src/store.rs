//! The store: shards behind locks.

use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::{
    Condition, FLOOR_BUCKETS, Holding, Lookup, Options, Previous, PutError, Role, Stats, Write,
};
use crate::entry::Entry;
use crate::floors::Floors;
use crate::index::Index;
use crate::keyed::Hasher;
use crate::shard::{Key, Shard};
use crate::update::Found;

/// Shards at most.
const MAX_SHARDS: usize = FLOOR_BUCKETS;

/// Shards that a store takes by itself at most.
const MAX_AUTO_SHARDS: usize = 64;

/// Bytes of a shard that a store takes by itself at most: so many of the smallest entries can be numbered.
const MAX_AUTO_SHARD_BYTES: usize = 1 << 30;

/// Entries of the largest size that each shard has room for, if the store chooses the shards.
const LARGEST_A_SHARD: usize = 8;

/// The floor bucket of a key with this ring hash.
pub(crate) fn bucket_of(hash: u64) -> usize {
    hash as usize % FLOOR_BUCKETS
}

/// A bounded map from keys to versioned entries, shared by threads through `&self`.
///
/// `hash` is the key's 64-bit hash on the ring: its low 12 bits name the key's floor bucket and its shard, so it must
/// always be the same for a key. `now_ms` is in milliseconds since the Unix epoch, from a clock that never jumps.
///
/// `get`, `put` and `promise` are O(1) under one shard's lock. Three things are amortised: the index's table is copied
/// each time a shard has grown by a quarter; a large entry evicts as many small ones as it needs; an entry with a
/// deadline moves through at most seven slots of the wheel, in `expire`. Values are copied in before the lock is
/// taken, and never out.
pub struct Store {
    shards: Box<[Mutex<Shard>]>,
    hasher: Arc<Hasher>,
    shard_bytes: usize,
    options: Options,
}

/// Where a [`Store::scan`] goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanCursor {
    shard: usize,
    node: u32,
}

impl Store {
    /// An empty store. Memory is taken as entries come.
    pub fn new(options: Options) -> Self {
        let wanted = options.shards.unwrap_or_else(|| {
            let room = options.max_bytes / options.max_entry_bytes.saturating_mul(LARGEST_A_SHARD).max(1);
            room.min(MAX_AUTO_SHARDS)
                .max(options.max_bytes.div_ceil(MAX_AUTO_SHARD_BYTES).next_power_of_two())
        });
        let max_items = options.max_items.unwrap_or(usize::MAX);
        let count = 1 << wanted.min(max_items).clamp(1, MAX_SHARDS).ilog2();
        let shard_bytes = options.max_bytes / count;
        let hasher = Arc::new(Hasher::new(options.hash_seed));
        let shard = |i: usize| {
            let max_items = (max_items / count + usize::from(i < max_items % count)).max(1);
            let buckets = FLOOR_BUCKETS / count;
            Mutex::new(Shard::new(&options, Arc::clone(&hasher), shard_bytes, max_items, buckets))
        };
        let shards = (0..count).map(shard).collect();
        Self { shards, hasher, shard_bytes, options }
    }

    /// Looks a key up and makes it the most recently used.
    pub fn get(&self, key: &[u8], hash: u64, now_ms: u64) -> Lookup {
        self.read(key, hash, now_ms, |found| (found.to_lookup(), true))
    }

    /// Looks a key up without making it more recently used.
    pub fn peek(&self, key: &[u8], hash: u64, now_ms: u64) -> Lookup {
        self.read(key, hash, now_ms, |found| (found.to_lookup(), false))
    }

    /// Shows what is there to `show` while the shard's lock is held: the way to copy a small value out without an
    /// allocation; of a large one, keep a clone. What `show` gives back besides is whether it counts as a read.
    pub fn read<R>(
        &self,
        key: &[u8],
        hash: u64,
        now_ms: u64,
        show: impl FnOnce(Found<'_>) -> (R, bool),
    ) -> R {
        let key = self.key(key, hash);
        self.shard(hash).lock().read(key, now_ms, show)
    }

    /// Writes a value or a tombstone, if the condition holds and the version is above all that is known of the key:
    /// the entry's or the tombstone's version, the floor if there is neither, and no lower than a standing promise. Gives back what was there before, if anything.
    /// Repeating a write that is in place is `Ok`, whatever the condition. Any write that happens ends the promise.
    ///
    /// # Errors
    ///
    /// In this order: [`PutError::TooLarge`], [`PutError::ConditionFailed`], [`PutError::Refused`],
    /// [`PutError::Promised`]. Nothing has changed then; in particular an older value of a key stays when a newer one is too large.
    pub fn put(
        &self,
        key: &[u8],
        hash: u64,
        write: &Write<'_>,
        condition: Condition,
        now_ms: u64,
    ) -> Result<Option<Previous>, PutError> {
        self.put_as(key, hash, write, condition, Holding::default(), now_ms)
    }

    /// As [`Self::put`], of an entry that is held as it says: one that was worked out from a value that was read counts as read
    /// itself, and in another role another floor counts.
    ///
    /// # Errors
    ///
    /// As those of [`Self::put`].
    pub fn put_as(
        &self,
        key: &[u8],
        hash: u64,
        write: &Write<'_>,
        condition: Condition,
        holding: Holding,
        now_ms: u64,
    ) -> Result<Option<Previous>, PutError> {
        let key = self.key(key, hash);
        let entry = self.entry(key, write, now_ms)?;
        let mut shard = self.shard(hash).lock();
        let place = shard.place(key, now_ms);
        shard.put(entry, holding, place, condition, now_ms)
    }

    /// The entry that a write makes, if it can be one here.
    pub(crate) fn entry(&self, key: Key<'_>, write: &Write<'_>, now_ms: u64) -> Result<Entry, PutError> {
        let bytes = Entry::cost_of(key.bytes, write)? + Index::FIRST_BYTES;
        if bytes > self.shard_bytes {
            return Err(PutError::TooLarge { bytes, limit: self.shard_bytes });
        }
        let bytes = key.bytes.len() + write.content_type.len() + write.value.map_or(0, <[u8]>::len);
        if bytes > self.options.max_entry_bytes {
            return Err(PutError::TooLarge { bytes, limit: self.options.max_entry_bytes });
        }
        let age_out = || write.value.is_none().then(|| now_ms.saturating_add(self.options.tombstone_ttl_ms));
        Ok(Entry::new(key.bytes, key.ring_hash, write, write.deadline_ms.or_else(age_out)))
    }

    /// Promises that the key accepts nothing below `ballot` for `promise_ttl_ms`, and says what is there now. The write
    /// that it is made for is accepted for a fifth of that, so that it arrives at no copy when another may have let a lower
    /// one in. It is the
    /// first phase of a compare-and-swap on several copies, the second being a put of version `ballot` with
    /// [`Condition::Promised`] (Lamport, "Paxos Made Simple", 2001; Rystsov, "CASPaxos", 2018). Repeating it renews
    /// it; a higher one replaces it. Promises are lost with the process.
    ///
    /// # Errors
    ///
    /// [`PutError::Refused`] if a version at or above the ballot is known, [`PutError::Promised`] if a higher ballot is;
    /// [`PutError::Busy`] if 1,024 promises stand in the key's shard.
    pub fn promise(&self, key: &[u8], hash: u64, ballot: u64, now_ms: u64) -> Result<Lookup, PutError> {
        self.promise_as(key, hash, ballot, Role::Owner, now_ms)
    }

    /// As [`Self::promise`], by the floor that counts in this role.
    ///
    /// # Errors
    ///
    /// As those of [`Self::promise`].
    pub fn promise_as(
        &self,
        key: &[u8],
        hash: u64,
        ballot: u64,
        role: Role,
        now_ms: u64,
    ) -> Result<Lookup, PutError> {
        let key = self.key(key, hash);
        self.shard(hash).lock().promise(key, ballot, role, now_ms)
    }

    /// Drops entries whose deadline passed at least 256 ms ago, read or not, and gives back how many. To be called
    /// some 10 times a second: it takes at most `max` steps and one a shard, each moving or dropping one entry, and
    /// goes on next time. An entry past its deadline is never served, dropped or not.
    pub fn expire(&self, now_ms: u64, max: usize) -> usize {
        let each = max.div_ceil(self.shards.len());
        self.shards.iter().map(|shard| shard.lock().expire(now_ms, each)).sum()
    }

    /// Drops everything, promises too, raises all floors to `floor_version` at least, and gives back how many entries
    /// went. O(entries), a shard's lock held for its share.
    pub fn clear(&self, floor_version: u64) -> usize {
        self.shards.iter().map(|shard| shard.lock().clear(floor_version)).sum()
    }

    /// Lets go of an entry that another node holds now, if it still has this version, and gives back whether it had.
    /// The floor stays, so that the same version can come back.
    pub fn drop_moved(&self, key: &[u8], hash: u64, version: u64) -> bool {
        let key = self.key(key, hash);
        self.shard(hash).lock().drop_moved(key, version)
    }

    /// Forgets an entry that still has this version, raising its bucket's floor, and gives back whether it had: for one that
    /// others have replaced or forgotten. A value that was taken as a spare leaves a tombstone.
    pub fn forget(&self, key: &[u8], hash: u64, version: u64, now_ms: u64) -> bool {
        let key = self.key(key, hash);
        self.shard(hash).lock().forget_version(key, version, now_ms)
    }

    /// Holds an entry as an owner from now on, whatever role it was taken in: once the node's role has changed for good.
    pub fn own(&self, key: &[u8], hash: u64) {
        let key = self.key(key, hash);
        self.shard(hash).lock().own(key);
    }

    /// Takes everything out, promises too; the floors stay as they are, so that all of it can come back.
    pub fn take(&self) -> Vec<Entry> {
        self.shards.iter().flat_map(|shard| shard.lock().take()).collect()
    }

    /// Hands out the next entries, tombstones included and those past their deadline left out; `None` at the end.
    /// The cursor starts as its default. A batch comes from at most `max` places of one shard, some of which may be
    /// empty, whose lock is held meanwhile: some 10 ns a place.
    ///
    /// Entries that stay as they are during the whole scan are handed out exactly once. One that is written meanwhile
    /// may be missed or come in both versions.
    pub fn scan(&self, cursor: &mut ScanCursor, max: usize, now_ms: u64) -> Option<Vec<Entry>> {
        self.scan_for(cursor, max, |entry, _| !entry.is_over(now_ms))
    }

    /// As [`Self::scan`], of the entries that were taken as a spare.
    pub fn scan_spare(&self, cursor: &mut ScanCursor, max: usize) -> Option<Vec<Entry>> {
        self.scan_for(cursor, max, |_, is_spare| is_spare)
    }

    fn scan_for(
        &self,
        cursor: &mut ScanCursor,
        max: usize,
        is_wanted: impl Fn(&Entry, bool) -> bool,
    ) -> Option<Vec<Entry>> {
        let shard = self.shards.get(cursor.shard)?.lock();
        let (places, next) = shard.index.scan(cursor.node, max.max(1));
        let wanted = places.filter(|(entry, is_spare)| is_wanted(entry, *is_spare));
        let entries = wanted.map(|(entry, _)| entry.clone()).collect();
        match next {
            Some(node) => cursor.node = node,
            None => *cursor = ScanCursor { shard: cursor.shard + 1, node: 0 },
        }
        Some(entries)
    }

    /// The miss floors of a range of buckets below [`FLOOR_BUCKETS`], in order; what lies beyond is left out. A floor
    /// is the highest version forgotten in its bucket, 0 if none was. It never falls.
    pub fn floors(&self, buckets: Range<usize>) -> Vec<u64> {
        self.floors_in(buckets, Role::Owner)
    }

    /// As [`Self::floors`], of what was taken in another's place.
    pub fn spare_floors(&self, buckets: Range<usize>) -> Vec<u64> {
        self.floors_in(buckets, Role::Spare)
    }

    fn floors_in(&self, buckets: Range<usize>, role: Role) -> Vec<u64> {
        let end = buckets.end.min(FLOOR_BUCKETS);
        (buckets.start..end).map(|bucket| self.shard(bucket as u64).lock().floor(bucket, role)).collect()
    }

    /// Raises the floor of a bucket to `version` at least: what a hand-over or a snapshot brings. Entries stay. The
    /// bucket is taken modulo [`FLOOR_BUCKETS`].
    pub fn raise_floor(&self, bucket: usize, version: u64) {
        self.shard(bucket as u64).lock().raise_floor(bucket % FLOOR_BUCKETS, version);
    }

    /// As [`Self::raise_floor`], of what another took as a spare.
    pub fn raise_spare_floor(&self, bucket: usize, version: u64) {
        self.shard(bucket as u64).lock().raise_spare_floor(bucket % FLOOR_BUCKETS, version);
    }

    /// The store's figures.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            max_bytes: self.shard_bytes * self.shards.len(),
            fixed_bytes: Floors::BUCKET_BYTES * FLOOR_BUCKETS + Shard::FIXED_BYTES * self.shards.len(),
            ..Stats::default()
        };
        for shard in &self.shards {
            let shard = shard.lock();
            stats.items += shard.index.len() - shard.index.tombstones();
            stats.tombstones += shard.index.tombstones();
            stats.promises += shard.promises.len();
            stats.bytes += shard.index.bytes();
            stats.peak_bytes += shard.index.peak_bytes();
            stats.fixed_bytes += shard.side_bytes();
            stats.evicted_for_bytes += shard.counters.evicted_for_bytes;
            stats.evicted_for_items += shard.counters.evicted_for_items;
            stats.expired += shard.counters.expired;
            stats.tombstones_dropped += shard.counters.tombstones_dropped;
            stats.refused += shard.counters.refused;
        }
        stats
    }

    /// Shards in use: a power of two.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Hashes a key; before the lock is taken.
    pub(crate) fn key<'a>(&self, bytes: &'a [u8], ring_hash: u64) -> Key<'a> {
        Key { bytes, ring_hash, hash: self.hasher.hash(bytes) }
    }

    pub(crate) fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[bucket_of(hash) & (self.shards.len() - 1)]
    }
}
