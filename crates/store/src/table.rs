//! From a key's hash to its node: open addressing with linear probing and backward-shift deletion (Knuth, The Art of
//! Computer Programming 3, 6.4, algorithms L and R).
//!
//! Why not a library's map: deletions leave no marks here, so churn alone never makes the table grow, and every
//! allocation is announced beforehand ([`Table::growth_bytes`]). A map that may double at any insert cannot be kept
//! under a byte bound. A slot's home is monotone in the hash, so any size will do, and growing by a quarter keeps the
//! table 64 % to 80 % full: 10 to 12.5 bytes an entry.

use crate::size::allocated;

const EMPTY: u64 = u64::MAX;

/// Slots of the first table.
const FIRST: usize = 8;

/// Slots hold the hash's upper 32 bits and the node's number.
pub(crate) struct Table {
    slots: Box<[u64]>,
    len: usize,
}

impl Table {
    /// Bytes of the smallest table that holds an entry.
    pub(crate) const FIRST_BYTES: usize = allocated(8 * FIRST);

    pub(crate) fn new() -> Self {
        Self { slots: Box::default(), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        allocated(8 * self.slots.len())
    }

    /// Bytes that the next insert allocates, before it frees the old table.
    pub(crate) fn growth_bytes(&self) -> usize {
        if self.has_room() { 0 } else { allocated(8 * self.next_size()) }
    }

    /// The node of the first slot with this hash that `is_it` accepts.
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let tag = hash >> 32;
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            if slot == EMPTY {
                return None;
            }
            if slot >> 32 == tag && is_it(slot as u32) {
                return Some(slot as u32);
            }
            at = self.after(at);
        }
    }

    /// Adds a node that is not in the table. Amortised O(1): every fourth of the length, all slots are copied.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        if !self.has_room() {
            let bigger = vec![EMPTY; self.next_size()].into_boxed_slice();
            let old = std::mem::replace(&mut self.slots, bigger);
            for slot in old.into_iter().filter(|slot| *slot != EMPTY) {
                self.place(slot);
            }
        }
        self.place((hash >> 32) << 32 | u64::from(id));
        self.len += 1;
    }

    /// Removes a node, if it is there.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        let wanted = (hash >> 32) << 32 | u64::from(id);
        let mut hole = self.home(hash >> 32);
        while self.slots[hole] != wanted {
            if self.slots[hole] == EMPTY {
                return;
            }
            hole = self.after(hole);
        }
        // Slots behind the hole move up unless that would put them in front of their home.
        let mut at = hole;
        loop {
            at = self.after(at);
            let slot = self.slots[at];
            if slot == EMPTY {
                break;
            }
            if self.distance(self.home(slot >> 32), at) >= self.distance(hole, at) {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
        self.len -= 1;
    }

    fn has_room(&self) -> bool {
        (self.len + 1) * 5 <= self.slots.len() * 4
    }

    fn next_size(&self) -> usize {
        self.slots.len() + (self.slots.len() / 4).max(FIRST)
    }

    fn place(&mut self, slot: u64) {
        let mut at = self.home(slot >> 32);
        while self.slots[at] != EMPTY {
            at = self.after(at);
        }
        self.slots[at] = slot;
    }

    fn home(&self, tag: u64) -> usize {
        ((u128::from(tag) * self.slots.len() as u128) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::Table;

    proptest! {
        /// Few distinct hashes at the table's very end, so that runs are long and wrap.
        #[test]
        fn it_holds_what_a_hash_map_holds(ops in proptest::collection::vec((any::<bool>(), 0u32..200), 1..600)) {
            let mut table = Table::new();
            let mut reference = HashSet::new();
            let hash = |id: u32| u64::MAX - (u64::from(id % 7) << 61) - (u64::from(id % 3) << 32);
            for (insert, id) in ops {
                if insert && !reference.contains(&id) {
                    let (before, growth) = (table.bytes(), table.growth_bytes());
                    table.insert(hash(id), id);
                    prop_assert_eq!(table.bytes(), if growth == 0 { before } else { growth });
                    reference.insert(id);
                } else if !insert && reference.remove(&id) {
                    table.remove(hash(id), id);
                }
                prop_assert_eq!(table.len(), reference.len());
                for id in 0..200 {
                    let found = table.find(hash(id), |other| other == id).is_some();
                    prop_assert_eq!(found, reference.contains(&id));
                }
            }
        }
    }
}
