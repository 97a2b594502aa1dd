//! The entries of a shard by key, by use and by deadline, and the bytes that all this takes.

use crate::access::{LastUse, Second, Use};
use crate::api::Holding;
use crate::entry::Entry;
use crate::recency::Recency;
use crate::slab::Slab;
use crate::table::Table;
use crate::wheel::{Step, Wheel};

pub(crate) struct Index {
    slab: Slab,
    table: Table,
    recency: Recency,
    wheel: Wheel,
    entry_bytes: usize,
    peak_bytes: usize,
    tombstones: usize,
    created_ms: u64,
}

impl Index {
    /// Bytes that do not depend on what is stored.
    pub(crate) const FIXED_BYTES: usize = Wheel::BYTES;

    /// Bytes that the index of a single entry takes.
    pub(crate) const FIRST_BYTES: usize = Slab::FIRST_BYTES + Table::FIRST_BYTES;

    pub(crate) fn new(created_ms: u64) -> Self {
        Self {
            slab: Slab::new(),
            table: Table::new(),
            recency: Recency::new(),
            wheel: Wheel::new(),
            entry_bytes: 0,
            peak_bytes: 0,
            tombstones: 0,
            created_ms,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn tombstones(&self) -> usize {
        self.tombstones
    }

    /// Bytes allocated now.
    pub(crate) fn bytes(&self) -> usize {
        self.entry_bytes + self.slab.bytes() + self.table.bytes()
    }

    /// The most bytes there ever were at once, with the old table still there while the new one is filled.
    pub(crate) fn peak_bytes(&self) -> usize {
        self.peak_bytes
    }

    /// Bytes that an insert of this hash needs at most at once, beside the entry's own.
    pub(crate) fn growth_bytes(&self, hash: u64) -> usize {
        self.slab.growth_bytes() + self.table.growth_bytes(hash)
    }

    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.table.find(hash, |id| self.slab.entry(id).is_some_and(|entry| entry.key() == key))
    }

    pub(crate) fn entry(&self, id: u32) -> Option<&Entry> {
        self.slab.entry(id)
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        self.recency.oldest()
    }

    /// Notes that an entry is read.
    #[inline]
    pub(crate) fn touch(&mut self, id: u32, now_ms: u64) {
        let second = self.second(now_ms);
        self.recency.touch(&mut self.slab, id);
        let node = self.slab.node_mut(id);
        node.set_last_use(node.last_use().read_at(second));
    }

    /// How an entry was used last.
    pub(crate) fn last_use(&self, id: u32, now_ms: u64) -> Use {
        self.slab.node(id).last_use().seen(self.second(now_ms))
    }

    /// Whether an entry was taken as a spare.
    pub(crate) fn is_spare(&self, id: u32) -> bool {
        self.slab.node(id).last_use().is_spare()
    }

    pub(crate) fn set_spare(&mut self, id: u32, spare: bool) {
        let node = self.slab.node_mut(id);
        node.set_last_use(node.last_use().with_spare(spare));
    }

    /// Adds a key that is not there as the newest. There are `at_once` bytes meanwhile.
    pub(crate) fn insert(&mut self, hash: u64, entry: Entry, holding: Holding, now_ms: u64, at_once: usize) {
        self.peak_bytes = self.peak_bytes.max(at_once);
        self.count(&entry);
        let deadline = entry.deadline_ms();
        let last_use = LastUse::new(self.second(now_ms), holding);
        let id = self.slab.insert(entry, last_use);
        self.table.insert(hash, id);
        self.recency.push(&mut self.slab, id);
        if let Some(deadline) = deadline {
            self.wheel.add(&mut self.slab, id, deadline, now_ms);
        }
    }

    /// Gives a key another entry and makes it the newest.
    pub(crate) fn replace(&mut self, id: u32, entry: Entry, holding: Holding, now_ms: u64) {
        self.exchange(id, entry, holding, now_ms);
        self.recency.touch(&mut self.slab, id);
    }

    /// Gives a key another entry, which is as old as the one before.
    pub(crate) fn exchange(&mut self, id: u32, entry: Entry, holding: Holding, now_ms: u64) {
        self.wheel.remove(&mut self.slab, id);
        let deadline = entry.deadline_ms();
        self.count(&entry);
        let last_use = LastUse::new(self.second(now_ms), holding);
        if let Some(old) = self.slab.replace(id, entry, last_use) {
            self.discount(&old);
        }
        self.peak_bytes = self.peak_bytes.max(self.bytes());
        if let Some(deadline) = deadline {
            self.wheel.add(&mut self.slab, id, deadline, now_ms);
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, id: u32) -> Option<Entry> {
        self.wheel.remove(&mut self.slab, id);
        self.recency.remove(&mut self.slab, id);
        self.table.remove(hash, id);
        let entry = self.slab.remove(id)?;
        self.discount(&entry);
        Some(entry)
    }

    /// One step of the wheel; a node that is due is still in the index.
    pub(crate) fn next_due(&mut self, now_ms: u64) -> Step {
        self.wheel.step(&mut self.slab, now_ms)
    }

    /// Gives back the memory of an index from which all entries are gone.
    pub(crate) fn reset(&mut self) {
        debug_assert_eq!(self.len(), 0, "entries would be lost");
        (self.slab, self.table) = (Slab::new(), Table::new());
    }

    /// Up to `max` nodes from number `from` on, each with whether it was taken as a spare; and the number to go on with, if
    /// there are more.
    pub(crate) fn scan(&self, from: u32, max: usize) -> (impl Iterator<Item = (&Entry, bool)>, Option<u32>) {
        let end = self.slab.end().min(from.saturating_add(u32::try_from(max).unwrap_or(u32::MAX)));
        let next = (end < self.slab.end()).then_some(end);
        ((from..end).filter_map(|id| Some((self.slab.entry(id)?, self.is_spare(id)))), next)
    }

    fn second(&self, now_ms: u64) -> Second {
        Second::of(now_ms, self.created_ms)
    }

    fn count(&mut self, entry: &Entry) {
        self.entry_bytes += entry.memory_bytes();
        self.tombstones += usize::from(entry.is_tombstone());
    }

    fn discount(&mut self, entry: &Entry) {
        self.entry_bytes -= entry.memory_bytes();
        self.tombstones -= usize::from(entry.is_tombstone());
    }
}
