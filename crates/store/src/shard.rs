//! One shard: an exact LRU of entries under a byte bound, with versions, floors and promises. Everything here is one
//! step under the shard's lock.

use std::sync::Arc;

use crate::api::{Condition, Holding, Lookup, Miss, MissReason, Options, Previous, PutError, Role, Taken};
use crate::entry::Entry;
use crate::floors::Floors;
use crate::ghosts::Ghosts;
use crate::index::Index;
use crate::keyed::Hasher;
use crate::promises::{Fingerprint, Promises};
use crate::recent::Recent;
use crate::slab::MAX_NODES;
use crate::update::Found;

/// Why an entry is dropped.
#[derive(Clone, Copy)]
enum Cause {
    ByteBound,
    ItemBound,
    Age,
    Flush,
    /// Others have replaced or forgotten it.
    Superseded,
}

/// What a shard counts; see [`Stats`](crate::Stats).
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) evicted_for_bytes: u64,
    pub(crate) evicted_for_items: u64,
    pub(crate) expired: u64,
    pub(crate) tombstones_dropped: u64,
    pub(crate) refused: u64,
}

/// A key with its two hashes: the ring's and the index's.
#[derive(Clone, Copy)]
pub(crate) struct Key<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) ring_hash: u64,
    pub(crate) hash: u64,
}

/// A key's place in a shard, as long as the lock is held.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The key's two hashes: the ring's and the index's.
    key: Fingerprint,
    bucket: usize,
    /// The entry's node, if it is there and alive.
    node: Option<u32>,
}

pub(crate) struct Shard {
    pub(crate) index: Index,
    pub(crate) promises: Promises,
    pub(crate) counters: Counters,
    recent: Recent,
    ghosts: Ghosts,
    floors: Floors,
    hasher: Arc<Hasher>,
    max_bytes: usize,
    max_items: usize,
    promise_ttl_ms: u64,
    tombstone_ttl_ms: u64,
    refuses_older: bool,
}

impl Shard {
    /// Bytes that do not depend on what is stored, without the floors.
    pub(crate) const FIXED_BYTES: usize = size_of::<Self>() + Index::FIXED_BYTES + Ghosts::BYTES;

    pub(crate) fn new(
        options: &Options,
        hasher: Arc<Hasher>,
        max_bytes: usize,
        max_items: usize,
        buckets: usize,
    ) -> Self {
        Self {
            index: Index::new(options.created_ms),
            promises: Promises::default(),
            counters: Counters::default(),
            recent: Recent::new(options.created_ms),
            ghosts: Ghosts::new(),
            floors: Floors::new(buckets, options.keeps_floors),
            hasher,
            max_bytes,
            max_items: max_items.min(MAX_NODES as usize),
            promise_ttl_ms: options.promise_ttl_ms,
            tombstone_ttl_ms: options.tombstone_ttl_ms,
            refuses_older: options.refuses_older,
        }
    }

    /// Where a key is. An entry whose time is over goes first.
    pub(crate) fn place(&mut self, key: Key<'_>, now_ms: u64) -> Place {
        let node = self.find_alive(key, now_ms);
        Place { key: (key.ring_hash, key.hash), bucket: crate::bucket_of(key.ring_hash), node }
    }

    /// What is there.
    pub(crate) fn found(&self, place: Place, now_ms: u64) -> Found<'_> {
        let Some((node, entry)) = place.node.and_then(|node| Some((node, self.index.entry(node)?))) else {
            let reason = self.ghosts.reason(place.key.1);
            let [version, spare_version] =
                [Role::Owner, Role::Spare].map(|role| self.floors.of(place.bucket, role));
            return Found::Miss(Miss { version, spare_version, reason, tombstone: false });
        };
        if entry.is_tombstone() {
            let version = entry.version();
            let reason = MissReason::Deleted;
            return Found::Miss(Miss { version, spare_version: version, reason, tombstone: true });
        }
        Found::Hit { entry, last_use: self.index.last_use(node, now_ms) }
    }

    /// Notes that a value was read.
    pub(crate) fn touch(&mut self, place: Place, now_ms: u64) {
        let is_value = |node: &u32| self.index.entry(*node).is_some_and(|entry| !entry.is_tombstone());
        if let Some(node) = place.node.filter(is_value) {
            self.index.touch(node, now_ms);
        }
    }

    /// Shows what is there, and notes that it was read if `show` says so.
    pub(crate) fn read<R>(
        &mut self,
        key: Key<'_>,
        now_ms: u64,
        show: impl FnOnce(Found<'_>) -> (R, bool),
    ) -> R {
        let place = self.place(key, now_ms);
        let found = self.found(place, now_ms);
        let is_hit = found.hit().is_some();
        let (shown, counts) = show(found);
        if is_hit
            && counts
            && let Some(node) = place.node
        {
            self.index.touch(node, now_ms);
        }
        shown
    }

    /// Takes an entry, if nothing known speaks against it.
    pub(crate) fn put(
        &mut self,
        entry: Entry,
        holding: Holding,
        place: Place,
        condition: Condition,
        now_ms: u64,
    ) -> Result<Option<Previous>, PutError> {
        let current = place.node.and_then(|id| self.index.entry(id));
        let known = current.map_or_else(|| self.floors.of(place.bucket, holding.role), Entry::version);
        let exists = current.is_some_and(|current| !current.is_tombstone());
        let previous =
            current.map(|current| Previous { version: current.version(), tombstone: current.is_tombstone() });
        if current.is_some_and(|current| current.is_same_write(&entry)) {
            if let Some(id) = place.node.filter(|_| holding.role.takes_as_spare()) {
                self.index.set_spare(id, true);
            }
            return Ok(previous);
        }
        let promised = self.promises.standing(place.key, now_ms);
        let holds = match condition {
            Condition::Always | Condition::Newest { .. } => true,
            Condition::Absent => !exists,
            Condition::Present => exists,
            Condition::VersionIs(version) => exists && known == version,
            // A higher promise is answered below, with the ballot to go above.
            Condition::Promised => promised.is_some_and(|ballot| {
                let usable = self.promises.usable(place.key, self.promise_ttl_ms, now_ms);
                ballot > entry.version() || usable == Some(entry.version())
            }),
        };
        if !holds {
            return Err(PutError::ConditionFailed { version: known, exists });
        }
        let of_others = |quiet_ms| current.is_none() && self.recent.is_quiet(place.key, quiet_ms, now_ms);
        let is_known_newest = known >= entry.version()
            && matches!(condition, Condition::Newest { quiet_ms } if of_others(quiet_ms));
        if !is_known_newest {
            self.check_known(place.key, known, entry.version(), now_ms)?;
        }
        self.check_promised(promised, entry.version())?;
        self.promises.remove(place.key);
        self.recent.took(place.key, entry.version(), now_ms);
        if let Some(origin) = entry.origin() {
            self.recent.took(place.key, origin, now_ms);
        }
        self.store(entry, holding, place, now_ms);
        Ok(previous)
    }

    pub(crate) fn promise(
        &mut self,
        key: Key<'_>,
        ballot: u64,
        role: Role,
        now_ms: u64,
    ) -> Result<Lookup, PutError> {
        let place = self.place(key, now_ms);
        let found = self.found(place, now_ms).to_lookup();
        self.check_known(place.key, found.version_as(role), ballot, now_ms)?;
        self.check_promised(self.promises.standing(place.key, now_ms), ballot)?;
        let until_ms = now_ms.saturating_add(self.promise_ttl_ms);
        if self.promises.insert(place.key, ballot, until_ms, now_ms) {
            Ok(found)
        } else {
            Err(PutError::Busy)
        }
    }

    /// Drops what is due, in at most `max` steps.
    pub(crate) fn expire(&mut self, now_ms: u64, max: usize) -> usize {
        self.promises.forget_ended(now_ms);
        let mut dropped = 0;
        for _ in 0..max {
            match self.index.next_due(now_ms) {
                crate::wheel::Step::Due(id) => {
                    self.age_out(id, now_ms);
                    dropped += 1;
                }
                crate::wheel::Step::Moved => {}
                crate::wheel::Step::Idle => break,
            }
        }
        dropped
    }

    pub(crate) fn clear(&mut self, floor: u64) -> usize {
        let dropped = self.index.len();
        while let Some(id) = self.index.oldest() {
            self.forget(id, Cause::Flush);
        }
        self.index.reset();
        self.promises.clear();
        self.floors.raise_all(floor);
        dropped
    }

    /// Holds an entry as an owner does from now on.
    pub(crate) fn own(&mut self, key: Key<'_>) {
        if let Some(id) = self.find(key) {
            self.index.set_spare(id, false);
        }
    }

    /// Lets go of an entry that lives elsewhere now. The floor stays: the same version may come back.
    pub(crate) fn drop_moved(&mut self, key: Key<'_>, version: u64) -> bool {
        let found = self.find(key);
        let same = |id: &u32| self.index.entry(*id).is_some_and(|entry| entry.version() == version);
        let Some(id) = found.filter(same) else { return false };
        self.index.remove(key.hash, id);
        self.ghosts.remember(key.hash, MissReason::Moved);
        true
    }

    pub(crate) fn forget_version(&mut self, key: Key<'_>, version: u64, now_ms: u64) -> bool {
        let Some(id) = self.find(key) else { return false };
        let same = self.index.entry(id).is_some_and(|entry| entry.version() == version);
        if same {
            if self.index.is_spare(id) {
                // A tombstone that is there already stays until the owners know as much.
                self.floors.raise(crate::bucket_of(key.ring_hash), version);
                self.bury(id, now_ms);
            } else {
                self.forget(id, Cause::Superseded);
            }
        }
        same
    }

    pub(crate) fn take(&mut self) -> Vec<Entry> {
        let mut taken = Vec::with_capacity(self.index.len());
        while let Some(id) = self.index.oldest() {
            let Some(key) = self.index.entry(id).map(Entry::key) else { break };
            let hash = self.hasher.hash(key);
            taken.extend(self.index.remove(hash, id));
        }
        self.index.reset();
        self.promises.clear();
        taken
    }

    /// Bytes of the side tables.
    pub(crate) fn side_bytes(&self) -> usize {
        self.promises.bytes() + self.recent.bytes()
    }

    pub(crate) fn floor(&self, bucket: usize, role: Role) -> u64 {
        self.floors.of(bucket, role)
    }

    pub(crate) fn raise_spare_floor(&mut self, bucket: usize, version: u64) {
        self.floors.raise_spare(bucket, version);
    }

    pub(crate) fn raise_floor(&mut self, bucket: usize, version: u64) {
        self.floors.raise(bucket, version);
    }

    /// What is known must be older than what is to be written.
    fn check_known(
        &mut self,
        key: Fingerprint,
        known: u64,
        version: u64,
        now_ms: u64,
    ) -> Result<(), PutError> {
        if known < version || !self.refuses_older {
            return Ok(());
        }
        self.counters.refused += 1;
        let taken = match self.recent.ask(key, version, now_ms) {
            // Another write that bears the same version: nothing shows which of the two was meant.
            Taken::Once if known == version => Taken::NotWithin { ms: 0 },
            taken => taken,
        };
        Err(PutError::Refused { version: known, taken })
    }

    fn check_promised(&mut self, promised: Option<u64>, version: u64) -> Result<(), PutError> {
        match promised {
            Some(ballot) if ballot > version => {
                self.counters.refused += 1;
                Err(PutError::Promised { ballot })
            }
            _ => Ok(()),
        }
    }

    fn find(&self, key: Key<'_>) -> Option<u32> {
        self.index.find(key.hash, key.bytes)
    }

    /// The key's node, unless its time is over: then it goes first.
    fn find_alive(&mut self, key: Key<'_>, now_ms: u64) -> Option<u32> {
        let id = self.find(key)?;
        if self.index.entry(id).is_some_and(|entry| entry.is_over(now_ms)) {
            return self.age_out(id, now_ms);
        }
        Some(id)
    }

    /// Drops an entry whose time is over, and gives back what there is in its place.
    fn age_out(&mut self, id: u32, now_ms: u64) -> Option<u32> {
        if self.bury(id, now_ms) {
            self.counters.expired += 1;
            return Some(id);
        }
        self.forget(id, Cause::Age);
        None
    }

    /// Puts a tombstone in the place of a value that was taken as a spare, and gives back whether it was one: for as long as the
    /// owners may still be told what they missed, the spare floor can stay as it is.
    fn bury(&mut self, id: u32, now_ms: u64) -> bool {
        let value = self.index.entry(id).filter(|entry| !entry.is_tombstone() && self.index.is_spare(id));
        let Some(value) = value else { return false };
        let tombstone = value.tombstone(now_ms.saturating_add(self.tombstone_ttl_ms));
        self.index.exchange(id, tombstone, Holding { fetched: false, role: Role::Spare }, now_ms);
        true
    }

    /// Puts an accepted entry in. What must go for it goes before.
    fn store(&mut self, entry: Entry, holding: Holding, place: Place, now_ms: u64) {
        let hash = place.key.1;
        if let Some(id) = place.node {
            let freed = self.index.entry(id).map_or(0, Entry::memory_bytes);
            if self.index.bytes() - freed + entry.memory_bytes() <= self.max_bytes {
                self.index.replace(id, entry, holding, now_ms);
                return;
            }
            self.index.remove(hash, id);
        }
        let at_once = self.make_room(hash, entry.memory_bytes());
        self.index.insert(hash, entry, holding, now_ms, at_once);
        debug_assert!(self.index.peak_bytes() <= self.max_bytes, "a put went over the bound");
    }

    /// Evicts until an entry of this hash fits together with what the index allocates for it. If the index would have
    /// to grow past the bound, evicting makes it stay. Gives back the bytes that there will be at once.
    fn make_room(&mut self, hash: u64, entry_bytes: usize) -> usize {
        loop {
            let bytes = self.index.bytes() + self.index.growth_bytes(hash) + entry_bytes;
            let cause = match (bytes > self.max_bytes, self.index.len() >= self.max_items) {
                (_, true) => Cause::ItemBound,
                (true, false) => Cause::ByteBound,
                (false, false) => return bytes,
            };
            let Some(id) = self.index.oldest() else {
                // Only the empty index is left, grown for smaller entries than this one.
                self.index.reset();
                return self.index.growth_bytes(hash) + entry_bytes;
            };
            self.forget(id, cause);
        }
    }

    /// Drops an entry, so that nothing at or below its version comes back.
    fn forget(&mut self, id: u32, cause: Cause) {
        let Some(key) = self.index.entry(id).map(Entry::key) else { return };
        let hash = self.hasher.hash(key);
        let was_spare = self.index.is_spare(id);
        let Some(entry) = self.index.remove(hash, id) else { return };
        self.floors.forget(entry.bucket(), entry.version(), was_spare);
        let reason = match cause {
            _ if entry.is_tombstone() => MissReason::Deleted,
            Cause::ByteBound | Cause::ItemBound => MissReason::Evicted,
            Cause::Age => MissReason::Expired,
            Cause::Flush => MissReason::Deleted,
            Cause::Superseded => MissReason::Moved,
        };
        self.ghosts.remember(hash, reason);
        let counter = match cause {
            Cause::ByteBound => &mut self.counters.evicted_for_bytes,
            Cause::ItemBound => &mut self.counters.evicted_for_items,
            Cause::Age if entry.is_tombstone() => &mut self.counters.tombstones_dropped,
            Cause::Age => &mut self.counters.expired,
            Cause::Flush | Cause::Superseded => return,
        };
        *counter += 1;
    }
}
