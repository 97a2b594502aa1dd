//! Why a ring cannot be built.

use thiserror::Error;

use crate::{MAX_MEMBERS, MAX_POINTS};

/// What is wrong with the members or the number of virtual nodes given to [`Ring::new`](crate::Ring::new).
///
/// Each text names the member and what to change.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RingError {
    /// A member's name is the empty string, so nothing stable says where it stands.
    #[error("a member has an empty name: give each a stable, distinct one")]
    EmptyName,
    /// Two members share a name, and would stand on the same points.
    #[error("two members are named {name:?}: give each a distinct name")]
    DuplicateName {
        /// The name that was given twice.
        name: String,
    },
    /// A member of weight 0 has no point: it is no member.
    #[error("member {name:?} has weight 0: give it 1 or more, or leave it out")]
    ZeroWeight {
        /// The member's name.
        name: String,
    },
    /// `virtual_nodes` is 0: no member would have a point.
    #[error("virtual_nodes is 0: each member needs at least 1 point on the ring")]
    NoVirtualNodes,
    /// More than [`MAX_MEMBERS`] members.
    #[error("{members} members are too many for one ring: at most {MAX_MEMBERS}")]
    TooManyMembers {
        /// How many were given.
        members: usize,
    },
    /// `virtual_nodes × weight`, summed over the members, exceeds [`MAX_POINTS`].
    #[error(
        "{points} points are too many for one ring, at most {MAX_POINTS}: lower the weights (only their ratio matters) or virtual_nodes"
    )]
    TooManyPoints {
        /// How many points the members would need.
        points: u128,
    },
}
