//! From a key's hash to its node: linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing",
//! 1980) over pages that are small hash tables of their own.
//!
//! Why not a library's map: nothing here ever needs more than two pages' room at once, and it says so beforehand
//! ([`Table::growth_bytes`]). A map that may double at any insert cannot be kept under a byte bound, and what it lets go
//! of when it grows stays resident. A slot takes six bytes, and pages are 64 % to 80 % full: 7.5 to 9.4 bytes an entry.

mod page;

use self::page::Page;
use crate::size::allocated;

/// Entries of a page, on average over all pages, at which one more page is made.
const PAGE: usize = 1024;

/// Pages that the first list has room for.
const FIRST_PAGES: usize = 4;

/// Bits of the hash that are kept.
const TAG_BITS: u32 = 24;

/// The tag of this hash.
fn tag_of(hash: u64) -> u32 {
    (hash >> (u64::BITS - TAG_BITS)) as u32
}

/// The pages of `n` entries: page `i` holds the tags that end in the bits of `i`.
pub(crate) struct Table {
    pages: Vec<Page>,
    len: usize,
    bytes: usize,
}

impl Table {
    /// Bytes of the smallest table that holds an entry.
    pub(crate) const FIRST_BYTES: usize = Page::FIRST_BYTES + allocated(FIRST_PAGES * size_of::<Page>());

    pub(crate) const fn new() -> Self {
        Self { pages: Vec::new(), len: 0, bytes: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that an insert of this hash allocates at most, before it frees any.
    pub(crate) fn growth_bytes(&self, hash: u64) -> usize {
        let at = self.page_of(tag_of(hash));
        let Some(page) = self.pages.get(at) else { return Self::FIRST_BYTES };
        if !self.splits() {
            return page.growth_bytes();
        }
        let (split, bit) = self.next_split();
        let (low, high) = self.pages[split].split_bytes(bit);
        let list = if self.pages.len() < self.pages.capacity() { 0 } else { self.next_capacity() };
        let bytes = low + high + allocated(list * size_of::<Page>());
        bytes + if at == split { 0 } else { page.growth_bytes() }
    }

    /// The node of the first slot with this hash that `is_it` accepts.
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        self.pages.get(self.page_of(tag))?.find(tag, is_it)
    }

    /// Adds a node that is not in the table. O(1) but for the moves inside one page or two.
    pub(crate) fn insert(&mut self, hash: u64, id: u32) {
        let tag = tag_of(hash);
        if self.splits() {
            self.split();
        }
        let at = self.page_of(tag);
        let page = &mut self.pages[at];
        if page.growth_bytes() > 0 {
            self.bytes -= page.bytes();
            page.grow();
            self.bytes += page.bytes();
        }
        page.insert(tag, id);
        self.len += 1;
    }

    /// Removes a node, if it is there. Its page keeps its room.
    pub(crate) fn remove(&mut self, hash: u64, id: u32) {
        let tag = tag_of(hash);
        let at = self.page_of(tag);
        if self.pages.get_mut(at).is_some_and(|page| page.remove(tag, id)) {
            self.len -= 1;
        }
    }

    /// Whether the next insert makes a page.
    fn splits(&self) -> bool {
        self.len >= PAGE * self.pages.len()
    }

    /// Makes one page more: the first, or one from another's upper half.
    fn split(&mut self) {
        if self.pages.len() == self.pages.capacity() {
            self.bytes -= allocated(self.pages.capacity() * size_of::<Page>());
            self.pages.reserve_exact(self.next_capacity() - self.pages.len());
            self.bytes += allocated(self.pages.capacity() * size_of::<Page>());
        }
        let new = if self.pages.is_empty() {
            Page::first()
        } else {
            let (split, bit) = self.next_split();
            let (low, high) = self.pages[split].split(bit);
            self.bytes = self.bytes - self.pages[split].bytes() + low.bytes();
            self.pages[split] = low;
            high
        };
        self.bytes += new.bytes();
        self.pages.push(new);
    }

    /// The page to be split next, and the bit of the tag by which.
    fn next_split(&self) -> (usize, u32) {
        let level = self.pages.len().ilog2();
        (self.pages.len() - (1 << level), level)
    }

    /// Pages that were split in this round hold one bit more than the others.
    fn page_of(&self, tag: u32) -> usize {
        let level = self.pages.len().checked_ilog2().unwrap_or(0);
        let (more, fewer) = (tag as usize & ((2 << level) - 1), tag as usize & ((1 << level) - 1));
        if more < self.pages.len() { more } else { fewer }
    }

    fn next_capacity(&self) -> usize {
        FIRST_PAGES + self.pages.capacity() + self.pages.capacity() / 2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::Table;

    /// Inserts and removes by turns, with room said beforehand, and compares with a set after each.
    fn holds_what_a_set_holds(ops: &[(bool, u32)], hash: impl Fn(u32) -> u64, ids: u32) {
        let (mut table, mut reference) = (Table::new(), HashSet::new());
        for (insert, id) in ops {
            if *insert && reference.insert(*id) {
                let allowed = table.bytes() + table.growth_bytes(hash(*id));
                table.insert(hash(*id), *id);
                assert!(table.bytes() <= allowed, "{} > {allowed}", table.bytes());
            } else if !*insert && reference.remove(id) {
                table.remove(hash(*id), *id);
            }
            assert_eq!(table.len(), reference.len());
            let found = table.find(hash(*id), |other| other == *id);
            assert_eq!(found.is_some(), reference.contains(id));
        }
        for id in 0..ids {
            assert_eq!(table.find(hash(id), |other| other == id).is_some(), reference.contains(&id));
        }
    }

    proptest! {
        /// Few distinct hashes, most of them at the very ends, so that many slots are alike and guesses go wrong.
        #[test]
        fn it_holds_what_a_set_holds(ops in proptest::collection::vec((any::<bool>(), 0u32..200), 1..600)) {
            let hash = |id: u32| u64::MAX - (u64::from(id % 7) << 61) - (u64::from(id % 3) << 40);
            holds_what_a_set_holds(&ops, hash, 200);
        }

        #[test]
        fn it_holds_what_a_set_holds_over_many_splits(seed: u64, removes in 0..40u32) {
            let hash = |id: u32| (u64::from(id) + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul(seed | 1);
            let ops: Vec<(bool, u32)> = (0..6_000).map(|i| {
                let id = hash(i + 7) as u32 % 3_000;
                ((hash(i) >> 32) as u32 % 100 >= removes, id)
            }).collect();
            holds_what_a_set_holds(&ops, hash, 3_000);
        }
    }

    #[test]
    fn an_entry_takes_less_than_ten_bytes_however_many_there_are() {
        let hash = |id: u32| (u64::from(id) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut table = Table::new();
        for id in 0..300_000_u32 {
            table.insert(hash(id) ^ hash(id) >> 29, id);
            if id > 2_000 {
                let each = table.bytes() as f64 / f64::from(id + 1);
                assert!(each < 9.6, "{each} at {id}");
            }
        }
    }
}
