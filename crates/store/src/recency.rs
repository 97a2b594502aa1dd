//! The order of use, as a list through the slab's nodes.

use crate::slab::{NIL, Slab};

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
        node.newer.set(NIL);
        node.older.set(self.newest);
        match self.newest {
            NIL => self.oldest = id,
            second => slab.node_mut(second).newer.set(id),
        }
        self.newest = id;
    }

    pub(crate) fn remove(&mut self, slab: &mut Slab, id: u32) {
        let node = slab.node(id);
        let (newer, older) = (node.newer.id(), node.older.id());
        match newer {
            NIL => self.newest = older,
            newer => slab.node_mut(newer).older.set(older),
        }
        match older {
            NIL => self.oldest = newer,
            older => slab.node_mut(older).newer.set(newer),
        }
    }

    #[inline]
    pub(crate) fn touch(&mut self, slab: &mut Slab, id: u32) {
        if self.newest != id {
            self.remove(slab, id);
            self.push(slab, id);
        }
    }
}
