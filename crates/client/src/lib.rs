//! The Rust client of Annulus: REST over one or several masters.
//!
//! Any master can do any request, so a [`Client`] keeps asking the one that answered last and goes on to the next when
//! it cannot be reached. A miss is `None`, never an error; an error never means a miss.
//!
//! ```no_run
//! use annulus_client::{Client, Error, SetOptions};
//!
//! # async fn example() -> Result<(), Error> {
//! let cache = Client::new("http://127.0.0.1:8000")?;
//! let for_a_minute = SetOptions { ttl_seconds: Some(60), ..SetOptions::default() };
//! let version = cache.set("user:7", "Ada", &for_a_minute).await?;
//! if let Some(value) = cache.get("user:7").await? {
//!     assert_eq!((&value.bytes[..], value.version), (&b"Ada"[..], version));
//! }
//! let swap = SetOptions { condition: annulus_client::only_if_version(version), ..for_a_minute };
//! cache.set("user:7", "Grace", &swap).await?;
//! cache.delete("user:7").await?;
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `follower`, a program has the datasets of a refresher in its own memory: see [`follower`].
//!
//! # Limits
//!
//! - A key is 1 to 250 bytes, any bytes, except `.` and `..`: URLs cannot carry them, because URL libraries take such a
//!   path segment away even where it is escaped. They are refused with [`Error::DotKey`].
//! - It speaks plain HTTP: put a proxy that ends TLS beside it where the network is not trusted.
//! - `HTTP_PROXY` and redirects are not followed: a cache is asked directly or not at all.

mod answer;
mod builder;
mod bulk;
mod data;
mod error;
#[cfg(feature = "follower")]
pub mod follower;
mod operate;
mod transport;

use std::sync::Arc;

pub use annulus_protocol::condition::{ETags, Precondition};
pub use annulus_protocol::{ErrorCode, Problem, Version, rest};
pub use builder::Builder;
pub use bulk::{BulkItem, RawBulkItem};
pub use data::{SetOptions, Value, only_if_absent, only_if_version};
pub use error::Error;

use transport::Transport;

/// A client of a cluster. Cheap to clone: clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Arc<Transport>,
}

impl Client {
    /// A client of one master, with the defaults of [`Builder`].
    ///
    /// # Errors
    /// [`Error::Url`] where `url` is not one of a master.
    pub fn new(url: &str) -> Result<Self, Error> {
        Self::builder().master(url).build()
    }

    /// A client of several masters, or one with other limits.
    pub fn builder() -> Builder {
        Builder::default()
    }
}
