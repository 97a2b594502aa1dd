//! Where entries live: nodes in chunks that never move, so that growing copies nothing and costs one chunk.

use crate::entry::Entry;
use crate::size::allocated;

/// No node.
pub(crate) const NIL: u32 = u32::MAX;

/// Nodes of a chunk.
const CHUNK: usize = 64;

/// An entry's place in the recency list and in the wheel: 24 bytes.
pub(crate) struct Node {
    entry: Option<Entry>,
    pub(crate) newer: u32,
    pub(crate) older: u32,
    pub(crate) due_prev: u32,
    pub(crate) due_next: u32,
}

impl Node {
    const fn free(next: u32) -> Self {
        Self { entry: None, newer: NIL, older: next, due_prev: NIL, due_next: NIL }
    }
}

/// Nodes by number. A number stays its entry's own until the entry is removed.
#[expect(clippy::vec_box, reason = "unboxed, growing would copy all nodes and need room for them twice")]
pub(crate) struct Slab {
    chunks: Vec<Box<[Node; CHUNK]>>,
    /// First free node; the others follow by `older`.
    free: u32,
}

impl Slab {
    /// Bytes of a slab with one chunk.
    pub(crate) const FIRST_BYTES: usize = allocated(size_of::<[Node; CHUNK]>()) + allocated(4 * 8);

    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new(), free: NIL }
    }

    /// Bytes used now, empty nodes included.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.len() * allocated(size_of::<[Node; CHUNK]>()) + allocated(8 * self.chunks.capacity())
    }

    /// Bytes that the next insert allocates, before it frees any.
    pub(crate) fn growth_bytes(&self) -> usize {
        if self.free != NIL {
            return 0;
        }
        let list = if self.chunks.len() < self.chunks.capacity() { 0 } else { 8 * self.next_capacity() };
        allocated(size_of::<[Node; CHUNK]>()) + allocated(list)
    }

    pub(crate) fn insert(&mut self, entry: Entry) -> u32 {
        if self.free == NIL {
            self.grow();
        }
        let id = self.free;
        let node = self.node_mut(id);
        let next = node.older;
        *node = Node { entry: Some(entry), ..Node::free(NIL) };
        self.free = next;
        id
    }

    /// Takes the entry out; its node must be in no list any more.
    pub(crate) fn remove(&mut self, id: u32) -> Option<Entry> {
        let free = self.free;
        let removed = std::mem::replace(self.node_mut(id), Node::free(free));
        self.free = id;
        removed.entry
    }

    pub(crate) fn replace(&mut self, id: u32, entry: Entry) -> Option<Entry> {
        self.node_mut(id).entry.replace(entry)
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
        self.free = first;
    }
}

/// The order of use, as a list through the nodes.
pub(crate) struct Recency {
    newest: u32,
    oldest: u32,
}

impl Recency {
    pub(crate) const fn new() -> Self {
        Self { newest: NIL, oldest: NIL }
    }

    pub(crate) fn oldest(&self) -> Option<u32> {
        (self.oldest != NIL).then_some(self.oldest)
    }

    pub(crate) fn push(&mut self, slab: &mut Slab, id: u32) {
        let node = slab.node_mut(id);
        (node.newer, node.older) = (NIL, self.newest);
        match self.newest {
            NIL => self.oldest = id,
            second => slab.node_mut(second).newer = id,
        }
        self.newest = id;
    }

    pub(crate) fn remove(&mut self, slab: &mut Slab, id: u32) {
        let (newer, older) = (slab.node(id).newer, slab.node(id).older);
        match newer {
            NIL => self.newest = older,
            newer => slab.node_mut(newer).older = older,
        }
        match older {
            NIL => self.oldest = newer,
            older => slab.node_mut(older).newer = newer,
        }
    }

    pub(crate) fn touch(&mut self, slab: &mut Slab, id: u32) {
        if self.newest != id {
            self.remove(slab, id);
            self.push(slab, id);
        }
    }
}
