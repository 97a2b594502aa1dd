//! A page of the table: open addressing with linear probing and backward-shift deletion (Knuth, The Art of Computer
//! Programming 3, 6.4, algorithms L and R), so that deletions leave no marks.

use super::TAG_BITS;
use crate::size::allocated;
use crate::slab::NIL;

/// Slots of the first page.
const FIRST: usize = 8;

/// Slots are filled up to this part.
const FULL: (usize, usize) = (4, 5);

/// The hash's tag and, below it, the node's number: 48 bits, little-endian.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Slot([u8; 6]);

impl Slot {
    const EMPTY: Self = Self([0xff; 6]);

    fn new(tag: u32, id: u32) -> Self {
        let mut slot = Self::EMPTY;
        slot.0.copy_from_slice(&(u64::from(tag) << TAG_BITS | u64::from(id)).to_le_bytes()[..6]);
        slot
    }

    #[inline]
    fn tag_and_id(self) -> (u32, u32) {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.0);
        let number = u64::from_le_bytes(bytes);
        ((number >> TAG_BITS) as u32, number as u32 & NIL)
    }
}

/// Slots by the tags that they hold: a tag's home is monotone in it, so any size will do.
pub(super) struct Page {
    slots: Box<[Slot]>,
    len: u32,
}

impl Page {
    /// Bytes of the first page.
    pub(super) const FIRST_BYTES: usize = allocated(FIRST * size_of::<Slot>());

    pub(super) fn first() -> Self {
        Self::of_bytes(Self::FIRST_BYTES)
    }

    fn of_bytes(bytes: usize) -> Self {
        Self { slots: vec![Slot::EMPTY; bytes / size_of::<Slot>()].into_boxed_slice(), len: 0 }
    }

    pub(super) fn bytes(&self) -> usize {
        allocated(size_of_val(&*self.slots))
    }

    /// Bytes that the next insert allocates, before it frees any.
    pub(super) fn growth_bytes(&self) -> usize {
        if self.has_room() { 0 } else { bytes_of(self.slots.len() + 1) }
    }

    /// Bytes of the two pages that [`Page::split`] makes.
    pub(super) fn split_bytes(&self, bit: u32) -> (usize, usize) {
        let high = self.filled().filter(|(tag, _)| tag >> bit & 1 == 1).count();
        (bytes_for(self.len as usize - high + 1), bytes_for(high + 1))
    }

    /// Two pages, of the slots without this bit in their tag and of those with it. Each has room for one slot more.
    pub(super) fn split(&self, bit: u32) -> (Self, Self) {
        let (low, high) = self.split_bytes(bit);
        let (mut low, mut high) = (Self::of_bytes(low), Self::of_bytes(high));
        for (tag, id) in self.filled() {
            if tag >> bit & 1 == 0 { low.insert(tag, id) } else { high.insert(tag, id) }
        }
        (low, high)
    }

    /// The node of the first slot with this tag that `is_it` accepts.
    #[inline]
    pub(super) fn find(&self, wanted: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.home(wanted);
        loop {
            let (tag, id) = self.slots[at].tag_and_id();
            if id == NIL {
                return None;
            }
            if tag == wanted && is_it(id) {
                return Some(id);
            }
            at = self.after(at);
        }
    }

    /// Makes room where [`Page::growth_bytes`] asks for it.
    pub(super) fn grow(&mut self) {
        let mut larger = Self::of_bytes(bytes_of(self.slots.len() + 1));
        self.filled().for_each(|(tag, id)| larger.insert(tag, id));
        *self = larger;
    }

    /// Adds a slot for which there is room.
    pub(super) fn insert(&mut self, tag: u32, id: u32) {
        let mut at = self.home(tag);
        while self.slots[at] != Slot::EMPTY {
            at = self.after(at);
        }
        self.slots[at] = Slot::new(tag, id);
        self.len += 1;
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, tag: u32, id: u32) -> bool {
        let wanted = Slot::new(tag, id);
        let mut hole = self.home(tag);
        while self.slots[hole] != wanted {
            if self.slots[hole] == Slot::EMPTY {
                return false;
            }
            hole = self.after(hole);
        }
        // Slots behind the hole move up unless that would put them in front of their home.
        let mut at = hole;
        loop {
            at = self.after(at);
            let (tag, id) = self.slots[at].tag_and_id();
            if id == NIL {
                break;
            }
            if self.distance(self.home(tag), at) >= self.distance(hole, at) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
        }
        self.slots[hole] = Slot::EMPTY;
        self.len -= 1;
        true
    }

    fn has_room(&self) -> bool {
        (self.len as usize + 1) * FULL.1 <= self.slots.len() * FULL.0
    }

    fn filled(&self) -> impl Iterator<Item = (u32, u32)> {
        self.slots.iter().filter(|slot| **slot != Slot::EMPTY).map(|slot| slot.tag_and_id())
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.slots.len() as u64) >> TAG_BITS) as usize
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        if at + 1 == self.slots.len() { 0 } else { at + 1 }
    }

    #[inline]
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.slots.len() - from }
    }
}

/// Bytes of the memory for so many entries.
fn bytes_for(entries: usize) -> usize {
    bytes_of((entries * FULL.1).div_ceil(FULL.0).max(FIRST))
}

/// Bytes of the memory for so many slots.
fn bytes_of(slots: usize) -> usize {
    allocated(slots * size_of::<Slot>())
}
