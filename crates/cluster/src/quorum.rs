//! How many copies there are and how many must answer.

use crate::Layout;

/// Nodes that may hold one key at most: `replicas + 1`.
pub const MAX_PREFERENCE: usize = 8;

/// The counts of one view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Copies of each key that an acknowledged write has; a read takes as many answers, so that answers that agree show an
    /// acknowledged write.
    pub replicas: usize,
    /// Copies of each key that there should be, to which the nodes settle: as many, or with [`Layout::ALL`] one on each node.
    pub copies: usize,
    /// Nodes that may hold a key: one more than copies, where there are enough nodes and more than one copy.
    pub preference: usize,
    /// Answers without which a read fails: fewer might miss an acknowledged write altogether.
    pub reads_at_least: usize,
}

impl Quorum {
    /// The quorum for `replicas` copies on `nodes` nodes. With [`Layout::ALL`] each of the first [`MAX_PREFERENCE`] nodes has
    /// one, and a majority of them acknowledges a write.
    pub fn new(replicas: u32, nodes: usize) -> Self {
        if replicas == Layout::ALL {
            let copies = nodes.clamp(1, MAX_PREFERENCE);
            let majority = copies / 2 + 1;
            return Self {
                replicas: majority,
                copies,
                preference: copies,
                reads_at_least: copies - majority + 1,
            };
        }
        let replicas = (replicas as usize).clamp(1, nodes.clamp(1, MAX_PREFERENCE - 1));
        let preference = if replicas == 1 { 1 } else { (replicas + 1).min(nodes) };
        Self { replicas, copies: replicas, preference, reads_at_least: preference - replicas + 1 }
    }
}

/// A few nodes in order, by index. No allocation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeList {
    nodes: [u16; 2 * MAX_PREFERENCE],
    len: u8,
}

impl NodeList {
    /// Puts one more at the end, where there is room and it is not there yet.
    pub fn add(&mut self, node: usize) {
        if self.contains(node) {
            return;
        }
        if let Some(place) = self.nodes.get_mut(usize::from(self.len)) {
            *place = node as u16;
            self.len += 1;
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a node is among them.
    pub fn contains(&self, node: usize) -> bool {
        self.nodes[..usize::from(self.len)].iter().any(|known| usize::from(*known) == node)
    }

    /// The first so many of them.
    pub fn first(&self, count: usize) -> Self {
        let mut list = Self { nodes: self.nodes, len: self.len.min(count.min(self.nodes.len()) as u8) };
        list.nodes[usize::from(list.len)..].fill(0);
        list
    }

    /// The nodes in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = usize> + Clone + use<> {
        let nodes = self.nodes;
        (0..usize::from(self.len)).map(move |at| usize::from(nodes[at]))
    }

    /// The one at a place.
    pub fn get(&self, at: usize) -> Option<usize> {
        (at < self.len()).then(|| usize::from(self.nodes[at]))
    }

    /// Sorts by a rank, keeping the order of equals.
    pub fn sort_by_rank(&mut self, rank: impl Fn(usize) -> u8) {
        // By insertion: the list is short and mostly in order already.
        for end in 1..self.len() {
            let own = rank(usize::from(self.nodes[end]));
            let sorted = &self.nodes[..end];
            let at = sorted.iter().rposition(|other| rank(usize::from(*other)) <= own).map_or(0, |at| at + 1);
            self.nodes[at..=end].rotate_right(1);
        }
    }
}

impl FromIterator<usize> for NodeList {
    fn from_iter<I: IntoIterator<Item = usize>>(nodes: I) -> Self {
        let mut list = Self::default();
        nodes.into_iter().for_each(|node| list.add(node));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_meets_every_acknowledged_write() {
        for nodes in 1..=9 {
            for replicas in (1..=9).chain([Layout::ALL]) {
                let quorum = Quorum::new(replicas, nodes);
                assert!(quorum.reads_at_least + quorum.replicas > quorum.preference, "{quorum:?}");
                assert!((1..=quorum.replicas).contains(&quorum.reads_at_least), "{quorum:?}");
                assert!(quorum.preference <= nodes.min(MAX_PREFERENCE), "{quorum:?}");
                assert!((quorum.replicas..=quorum.preference).contains(&quorum.copies), "{quorum:?}");
            }
        }
    }

    #[test]
    fn one_node_of_three_may_be_away_with_two_copies() {
        assert_eq!(Quorum::new(2, 3), Quorum { replicas: 2, copies: 2, preference: 3, reads_at_least: 2 });
    }

    #[test]
    fn one_copy_asks_one_owner_and_copies_never_outnumber_the_nodes() {
        assert_eq!(Quorum::new(1, 5), Quorum { replicas: 1, copies: 1, preference: 1, reads_at_least: 1 });
        assert_eq!(Quorum::new(3, 2), Quorum { replicas: 2, copies: 2, preference: 2, reads_at_least: 1 });
    }

    #[test]
    fn with_a_copy_everywhere_a_majority_acknowledges() {
        let of = |nodes| {
            let quorum = Quorum::new(Layout::ALL, nodes);
            (quorum.copies, quorum.preference, quorum.replicas, quorum.reads_at_least)
        };
        assert_eq!(of(1), (1, 1, 1, 1));
        assert_eq!(of(2), (2, 2, 2, 1));
        assert_eq!(of(3), (3, 3, 2, 2));
        assert_eq!(of(5), (5, 5, 3, 3));
        assert_eq!(of(20), (8, 8, 5, 4));
    }

    #[test]
    fn a_list_keeps_its_order_and_takes_each_node_once() {
        let mut list: NodeList = [5, 6, 5, 7].into_iter().collect();
        assert!(list.iter().eq([5, 6, 7]));
        list.sort_by_rank(|node| u8::from(node == 5));
        assert!(list.iter().eq([6, 7, 5]));
        assert_eq!((list.get(2), list.get(3), list.contains(9)), (Some(5), None, false));
        (0..40).for_each(|node| list.add(node));
        assert_eq!(list.len(), 2 * MAX_PREFERENCE);
    }
}
