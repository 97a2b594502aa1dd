//! Where datasets and the lease of their leader lie: one home for both, because only who keeps the lease can refuse, in the
//! step that writes, what a deposed leader writes. What is in a dataset is none of its business.
//!
//! It may forget: be wiped, or come back older than it was. Revisions and tokens rise all the same, for each new one is above
//! what is stored, above what the leader knows, above what any follower has told ([`FencedStore::head`]), and not below the
//! home's clock in milliseconds since the Unix epoch.

mod memory;
mod notice;
mod redis;
mod state;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

pub use self::memory::MemoryStore;
pub use self::notice::{Heard, Notice};
pub use self::redis::RedisStore;
pub use self::state::FencedState;
use crate::registry::RegistryError;

/// Why the home did not do what it was asked; it may have been done all the same.
pub type StoreError = RegistryError;

/// What came of asking for the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is held, for a term with this token.
    Granted {
        /// Above that of any term before.
        token: u64,
    },
    /// Another has it.
    Held {
        /// What is left of it.
        left: Duration,
    },
}

/// Who writes: the holder of the lease, in one term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer<'a> {
    /// Who holds the lease.
    pub id: &'a str,
    /// Its term.
    pub token: u64,
}

/// A new revision of a dataset.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    /// 1 to 64 letters, digits, `_` and `-`.
    pub dataset: &'a str,
    /// What all replicas get: pieces that follow one another.
    pub data: Vec<Bytes>,
    /// What the next leader should know of where the data is from.
    pub note: &'a str,
    /// How long the data stays unless it is confirmed or replaced.
    pub ttl: Duration,
    /// The new revision is above this one.
    pub above: u64,
}

/// What came of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is the newest.
    As {
        /// Its revision.
        revision: u64,
        /// When, in milliseconds since the Unix epoch, by the home's clock.
        at_ms: u64,
    },
    /// The writer does not hold the lease: nothing was written.
    Refused,
}

/// What came of confirming that a revision is up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// It is, and stays for another TTL.
    Done,
    /// The home has it no more, or somebody knows a newer one: it is to be published again.
    Lost,
    /// The writer does not hold the lease.
    Refused,
}

/// A revision that somebody has in memory, and the term that published it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The revision; 0: none.
    pub revision: u64,
    /// The token of the term.
    pub token: u64,
}

/// What a home knows of a dataset beside its data. Times are milliseconds since the Unix epoch by the home's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The newest revision and the term that published it.
    pub known: Known,
    /// The highest revision that anybody has told of. Above the newest one, the home has lost something.
    pub floor: u64,
    /// The length of its data; 0: it is gone.
    pub bytes: u64,
    /// When it was published.
    pub updated_ms: u64,
    /// When a leader last found it up to date.
    pub checked_ms: u64,
    /// The newest revision of which the cache has all entries.
    pub cached: u64,
    /// What its leader noted.
    pub note: String,
    /// When this was asked.
    pub now_ms: u64,
}

impl Head {
    /// Whether the home has lost data or publications, so that its leader should publish again.
    pub fn has_lost_something(&self) -> bool {
        self.bytes == 0 || self.floor > self.known.revision
    }
}

/// The home of the lease and of the datasets. Every operation ends within a few seconds.
pub trait FencedStore: Send + Sync + 'static {
    /// Asks for the lease in the name of `id`, for a term with a token above `known_token`. Who holds it already gets a new
    /// term, for it may never have heard of the last.
    fn acquire<'a>(
        &'a self,
        id: &'a str,
        known_token: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Lets the lease last `ttl` from now. `false`: this writer does not hold it.
    fn renew<'a>(&'a self, writer: Writer<'a>, ttl: Duration) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Frees the lease where `id` holds it.
    fn release<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Writes data, revision and times and tells everybody, all in one step, if the writer holds the lease.
    fn publish<'a>(
        &'a self,
        writer: Writer<'a>,
        publication: Publication<'a>,
    ) -> BoxFuture<'a, Result<Published, StoreError>>;

    /// Notes that a revision was found up to date, and lets its data stay for another `ttl`.
    fn confirm<'a>(
        &'a self,
        writer: Writer<'a>,
        dataset: &'a str,
        revision: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Confirmed, StoreError>>;

    /// Notes that the cache has all entries of a revision. `false`: this writer does not hold the lease.
    fn mark_cached<'a>(
        &'a self,
        writer: Writer<'a>,
        dataset: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// What there is of a dataset, and tells the home what the caller has: where that is newer, [`Head::floor`] says so from
    /// then on.
    fn head<'a>(&'a self, dataset: &'a str, known: Known) -> BoxFuture<'a, Result<Head, StoreError>>;

    /// Some of the data of one revision. `None`: that revision is not there any more. A piece at a time, so that nobody has
    /// to hold large data twice.
    fn read<'a>(
        &'a self,
        dataset: &'a str,
        revision: u64,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>>;

    /// Hears of publications until the receiver is dropped. Some may be missed, so whoever listens asks besides. To be called
    /// inside a tokio runtime.
    fn listen(&self, datasets: &[String]) -> mpsc::Receiver<Heard>;

    /// Whether the home answered when it was last asked.
    fn is_connected(&self) -> bool;
}
