//! What came of a request.

use super::item::Item;

/// What came of a request, for one key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome<'v> {
    /// The item is there and is shown.
    Hit(Hit<'v>),
    /// The value was stored.
    Stored {
        /// The version that it got.
        cas: u64,
        /// Length of the item's value.
        value_bytes: usize,
    },
    /// It was not, as something was there that must not, or the other way round.
    NotStored,
    /// An item with another CAS unique is there.
    Exists,
    /// No item is there.
    NotFound,
    /// The item was removed, or made stale.
    Deleted,
    /// The time to live was set.
    Touched,
    /// A number was changed.
    Number(Number),
    /// The item is no number.
    NotANumber,
    /// Done, for a request that asks no more than that: `flush_all`.
    Done,
    /// The new value is over a limit.
    TooLarge,
    /// There is no room for the new value.
    NoMemory,
    /// The server could not do it, for this reason: one line without its end. Line ends and control characters are
    /// left out of the answer.
    Failed(&'v str),
}

/// An item that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit<'v> {
    /// As it was found, but for the version: that is the one after a write, if there was one.
    pub item: Item<'v>,
    /// Milliseconds left to live after the request.
    pub ttl_ms: Option<u64>,
    /// Whether this client is to replace the item (`W`).
    pub won: bool,
}

/// A number that was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// As it is now.
    pub number: u64,
    /// The version that it got.
    pub cas: u64,
    /// Milliseconds left to live before the request.
    pub ttl_before_ms: Option<u64>,
    /// Milliseconds left to live after it.
    pub ttl_ms: Option<u64>,
}

impl<'v> From<Item<'v>> for Hit<'v> {
    fn from(item: Item<'v>) -> Self {
        Self { item, ttl_ms: item.ttl_ms, won: false }
    }
}

impl Outcome<'_> {
    /// The outcome after a write that got this version.
    pub fn written(mut self, version: u64) -> Self {
        match &mut self {
            Self::Hit(hit) => hit.item.cas = version,
            Self::Stored { cas, .. } => *cas = version,
            Self::Number(number) => number.cas = version,
            _ => {}
        }
        self
    }
}
