//! Where entries live: nodes in chunks that never move, so that growing copies nothing and costs one chunk.

use crate::access::LastUse;
use crate::entry::Entry;
use crate::size::allocated;

/// No node.
pub(crate) const NIL: u32 = (1 << ID_BITS) - 1;

/// Bits of a node's number.
const ID_BITS: u32 = 24;

/// Nodes of a slab at most: the numbers of three bytes without the last 512, which the wheel uses for its slots.
pub(crate) const MAX_NODES: u32 = NIL + 1 - 512;

/// Nodes of a chunk.
const CHUNK: usize = 64;

/// The number of a node, or another below 2^24, and a byte of something else above it.
#[derive(Clone, Copy)]
pub(crate) struct Link(u32);

impl Link {
    const NIL: Self = Self(NIL);

    pub(crate) const fn id(self) -> u32 {
        self.0 & NIL
    }

    /// Names another node; the byte stays.
    pub(crate) const fn set(&mut self, id: u32) {
        self.0 = self.0 & !NIL | id;
    }

    const fn byte(self) -> u8 {
        (self.0 >> ID_BITS) as u8
    }

    const fn set_byte(&mut self, byte: u8) {
        self.0 = self.id() | (byte as u32) << ID_BITS;
    }
}

/// An entry's place in the recency list and in the wheel: 24 bytes, in which its last use finds room too.
pub(crate) struct Node {
    entry: Option<Entry>,
    pub(crate) newer: Link,
    pub(crate) older: Link,
    pub(crate) due_prev: Link,
    pub(crate) due_next: Link,
}

impl Node {
    const fn free(next: u32) -> Self {
        Self { entry: None, newer: Link::NIL, older: Link(next), due_prev: Link::NIL, due_next: Link::NIL }
    }

    pub(crate) const fn last_use(&self) -> LastUse {
        let bytes = [self.newer.byte(), self.older.byte(), self.due_prev.byte(), self.due_next.byte()];
        LastUse(u32::from_le_bytes(bytes).rotate_left(2))
    }

    pub(crate) const fn set_last_use(&mut self, last_use: LastUse) {
        let [a, b, c, d] = last_use.0.rotate_right(2).to_le_bytes();
        self.newer.set_byte(a);
        self.older.set_byte(b);
        // They change every four hours only.
        if self.due_prev.byte() != c || self.due_next.byte() != d {
            self.due_prev.set_byte(c);
            self.due_next.set_byte(d);
        }
    }
}

/// Nodes by number. A number stays its entry's own until the entry is removed.
#[expect(clippy::vec_box, reason = "unboxed, growing would copy all nodes and need room for them twice")]
pub(crate) struct Slab {
    chunks: Vec<Box<[Node; CHUNK]>>,
    bytes: usize,
    /// First free node; the others follow by `older`.
    free: u32,
}

impl Slab {
    /// Bytes of a slab with one chunk.
    pub(crate) const FIRST_BYTES: usize = allocated(size_of::<[Node; CHUNK]>()) + allocated(4 * 8);

    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), bytes: 0, free: NIL }
    }

    /// Bytes used now, empty nodes included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes that the next insert allocates, before it frees any.
    pub(crate) fn growth_bytes(&self) -> usize {
        if self.free != NIL {
            return 0;
        }
        let list = if self.chunks.len() < self.chunks.capacity() { 0 } else { 8 * self.next_capacity() };
        allocated(size_of::<[Node; CHUNK]>()) + allocated(list)
    }

    pub(crate) fn insert(&mut self, entry: Entry, last_use: LastUse) -> u32 {
        if self.free == NIL {
            self.grow();
        }
        let id = self.free;
        let node = self.node_mut(id);
        let next = node.older.id();
        node.entry = Some(entry);
        node.set_last_use(last_use);
        self.free = next;
        id
    }

    /// Takes the entry out; its node must be in no list any more.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Entry> {
        let free = self.free;
        let node = self.node_mut(id);
        node.older.set(free);
        let entry = node.entry.take();
        self.free = id;
        entry
    }

    pub(crate) fn replace(&mut self, id: u32, entry: Entry, last_use: LastUse) -> Option<Entry> {
        let node = self.node_mut(id);
        node.set_last_use(last_use);
        node.entry.replace(entry)
    }

    pub(crate) fn entry(&self, id: u32) -> Option<&Entry> {
        self.node(id).entry.as_ref()
    }

    /// Numbers below this may hold entries.
    pub(crate) fn end(&self) -> u32 {
        (self.chunks.len() * CHUNK) as u32
    }

    pub(crate) fn node(&self, id: u32) -> &Node {
        &self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    pub(crate) fn node_mut(&mut self, id: u32) -> &mut Node {
        &mut self.chunks[id as usize / CHUNK][id as usize % CHUNK]
    }

    fn next_capacity(&self) -> usize {
        4 + self.chunks.capacity() + self.chunks.capacity() / 2
    }

    fn grow(&mut self) {
        if self.chunks.len() == self.chunks.capacity() {
            self.chunks.reserve_exact(self.next_capacity() - self.chunks.len());
        }
        let first = self.end();
        let chunk =
            std::array::from_fn(|i| Node::free(if i + 1 < CHUNK { first + i as u32 + 1 } else { NIL }));
        self.chunks.push(Box::new(chunk));
        self.bytes =
            self.chunks.len() * allocated(size_of::<[Node; CHUNK]>()) + allocated(8 * self.chunks.capacity());
        self.free = first;
    }
}

#[cfg(test)]
mod tests {
    use super::{LastUse, NIL, Node};

    #[test]
    fn a_node_takes_twenty_four_bytes_and_keeps_its_last_use_whatever_becomes_of_its_links() {
        assert_eq!(size_of::<Node>(), 24);
        let mut node = Node::free(7);
        for (last_use, id) in [(u32::MAX, 0), (0, NIL), (0x1234_5678, 0xab_cdef)] {
            node.set_last_use(LastUse(last_use));
            for link in [&mut node.newer, &mut node.older, &mut node.due_prev, &mut node.due_next] {
                link.set(id);
                assert_eq!(link.id(), id);
            }
            assert_eq!(node.last_use().0, last_use);
        }
    }
}
