//! What Annulus says on the wire: keys, versions, the REST types with their error codes, the headers of the hop
//! between a master and an auxiliary, and the memcached protocol.
//!
//! Everything here is bytes in, values out: no sockets, no clock and no framework.

pub mod condition;
pub mod dataset;
pub mod duration;
pub mod handshake;
pub mod hop;
pub mod key;
pub mod memcached;
pub mod networks;
pub mod problem;
pub mod rest;
pub mod value;
pub mod version;

pub use condition::{ETags, Precondition};
pub use handshake::Secret;
pub use key::{Key, KeyError};
pub use networks::Networks;
pub use problem::{ErrorCode, Problem};
pub use value::{Content, StoredValue};
pub use version::{HybridClock, Version};
