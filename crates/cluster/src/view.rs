//! Nodes that can stand on one ring, and how a list of them is read.

use crate::{Node, NodeError};

/// Nodes that can be members together: sorted by name, names and addresses distinct, each node valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    nodes: Vec<Node>,
}

/// Why nodes do not make a view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// One of the items is no node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// Nothing is listed.
    #[error("no node is listed: name at least one, as in a=10.0.0.1:3001")]
    Empty,
    /// Two nodes would stand on the same points of the ring.
    #[error("two nodes are named {0}: give each a name of its own, as in a=10.0.0.1:3001,b=10.0.0.2:3001")]
    DuplicateName(String),
    /// Two copies of a key would lie in one place.
    #[error("{0} and {1} are both at {2}: each node needs an address of its own")]
    DuplicateAddress(String, String, String),
}

impl View {
    /// The view of these nodes, in whatever order. No nodes is a valid view, of a cluster that has
    /// yet to form.
    ///
    /// # Errors
    /// A node that is not valid; a name or an address that two nodes share.
    pub fn new(nodes: impl IntoIterator<Item = Node>) -> Result<Self, ViewError> {
        let mut nodes: Vec<Node> = nodes.into_iter().collect();
        nodes.iter().try_for_each(Node::check)?;
        nodes.sort_by(|left, right| left.name.cmp(&right.name));
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(ViewError::DuplicateName(pair[0].name.clone()));
        }
        let mut by_address: Vec<&Node> = nodes.iter().collect();
        by_address.sort_by(|left, right| left.address.cmp(&right.address));
        if let Some([one, other]) = by_address.windows(2).find(|pair| pair[0].address == pair[1].address) {
            let (one, other) = (*one, *other);
            let address = one.address.clone();
            return Err(ViewError::DuplicateAddress(one.name.clone(), other.name.clone(), address));
        }
        Ok(Self { nodes })
    }

    /// The view of a static list: each item a node, or several separated by commas.
    ///
    /// # Errors
    /// As [`View::new`]; and an item that is no node, or no item at all.
    pub fn from_list<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Result<Self, ViewError> {
        let mut nodes = Vec::new();
        for item in items {
            for node in item.as_ref().split(',') {
                nodes.push(node.trim().parse()?);
            }
        }
        if nodes.is_empty() { Err(ViewError::Empty) } else { Self::new(nodes) }
    }

    /// The nodes, by name. An owner on [`ring`](crate::Placement::ring) is an index into this slice.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_sorted_by_name_whatever_its_order() {
        let view = View::from_list(["c=h:3, a=h:1", "b=h:2@east*2"]).unwrap();
        let names: Vec<_> = view.nodes().iter().map(|node| node.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(View::from_list(["a=h:1,b=h:2@east*2,c=h:3"]), Ok(view));
    }

    #[test]
    fn a_name_or_an_address_given_twice_is_refused() {
        let error = |list: &str| View::from_list([list]).unwrap_err().to_string();
        assert!(error("a=h:1,a=h:2").starts_with("two nodes are named a: "));
        assert!(error("h:1,h:1").starts_with("two nodes are named h:1: "));
        assert!(error("a=h:1,b=h:1").starts_with("a and b are both at h:1: "));
    }

    #[test]
    fn a_list_with_a_hole_or_nothing_in_it_is_refused() {
        assert_eq!(View::from_list([""; 0]), Err(ViewError::Empty));
        for list in ["", "a=h:1,", ",a=h:1", "a=h:1,,b=h:2"] {
            let error = View::from_list([list]).unwrap_err().to_string();
            assert!(error.starts_with("\"\" is no node"), "{list}: {error}");
        }
    }
}
