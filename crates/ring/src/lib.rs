//! The virtual-node ring: which nodes hold which key.
//!
//! Keys and nodes are hashed onto one circle of 2^64 positions with SipHash-1-3. A node stands on it
//! `virtual_nodes × weight` times, by its stable name; a key belongs to the first nodes met clockwise from its
//! hash. So a node that comes takes an even slice from each of the others, one that goes leaves an even slice to
//! each, and no other key moves (Karger et al., *Consistent Hashing and Random Trees*, STOC 1997; several points a
//! node as in DeCandia et al., *Dynamo*, SOSP 2007).
//!
//! ```
//! use annulus_ring::{DEFAULT_VIRTUAL_NODES, Member, Ring, key_hash};
//!
//! let members = ["a", "b", "c"].map(|name| Member::new(name).with_zone(format!("zone-{name}")));
//! let ring = Ring::new(members, DEFAULT_VIRTUAL_NODES)?;
//! let owners: Vec<&str> =
//!     ring.owners(key_hash(b"user:17"), 2).map(|owner| ring.members()[owner].name.as_str()).collect();
//! assert_eq!(owners.len(), 2);
//! # Ok::<(), annulus_ring::RingError>(())
//! ```
//!
//! # What never changes
//!
//! Two processes that were given the same members and the same `virtual_nodes` place every key alike, whatever the
//! order they were given in, the machine or the release. `tests/golden/owners.txt` guards that: a change of placement
//! empties every running cache.
//!
//! # What it costs
//!
//! A ring takes 8 bytes a point and one or two of index: 3.8 MB for 100 nodes at
//! [`DEFAULT_VIRTUAL_NODES`]. Share one behind an `Arc`; a clone copies the points. A lookup touches two cache lines or
//! three and allocates nothing (up to [`INLINE_OWNERS`] owners).
//!
//! # What it never does
//!
//! IO, reading a clock, randomness, tokio, statics. It knows names, never addresses; health never moves a key.

mod error;
mod hash;
mod member;
mod moves;
mod owners;
mod points;
mod ring;

pub use error::RingError;
pub use hash::{HASH_KEYS, key_hash};
pub use member::Member;
pub use moves::Move;
pub use owners::{INLINE_OWNERS, Owners};
pub use points::{MAX_MEMBERS, MAX_POINTS};
pub use ring::{DEFAULT_VIRTUAL_NODES, Ring};
