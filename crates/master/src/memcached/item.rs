//! What copies hold, in memcached's words, and back.

use annulus_protocol::Problem;
use annulus_protocol::memcached::stats::{Counts, Prefixes};
use annulus_protocol::memcached::{Hit, Item, Marks, Number, Outcome, Store, Wants};
use annulus_protocol::value::{Content, OCTET_STREAM, StoredValue, Used};
use annulus_protocol::{ErrorCode, Version};
use annulus_service::metrics::Outcome as Ended;
use annulus_service::stream::Output;
use bytes::Bytes;

use crate::coordinator::Change;

/// An outcome whose value is held beside it, so that it borrows nothing.
pub(super) struct Said {
    outcome: Outcome<'static>,
    value: Bytes,
    failure: Option<String>,
    /// The unique of what was written, where it is not the version of the write.
    cas: Option<u64>,
}

impl Said {
    /// What is said without showing a value.
    pub(super) fn plain(outcome: Outcome<'static>) -> Self {
        Self { outcome, value: Bytes::new(), failure: None, cas: None }
    }

    /// Takes an outcome apart; `value` is what it shows, if it shows anything.
    pub(super) fn new(outcome: Outcome<'_>, value: Bytes) -> Self {
        Self { outcome: without_value(outcome), value, failure: None, cas: None }
    }

    /// What is said of a request that came to nothing.
    pub(super) fn failed(problem: &Problem) -> Self {
        match problem.code {
            ErrorCode::TooLarge => Self::plain(Outcome::TooLarge),
            _ => Self { failure: Some(problem.detail.clone()), ..Self::plain(Outcome::Failed("")) },
        }
    }

    /// The same of a write whose unique this is, if it is not its version.
    pub(super) fn with_cas(self, cas: Option<u64>) -> Self {
        Self { cas, ..self }
    }

    /// The same of an item that was used like this before the request came.
    pub(super) fn with_use(mut self, used: Used) -> Self {
        if let Outcome::Hit(hit) = &mut self.outcome {
            (hit.item.fetched, hit.item.idle_s) = (used.before, used.idle_s);
        }
        self
    }

    /// The same after a write that got this version.
    pub(super) fn written(self, version: Version) -> Self {
        Self { outcome: self.outcome.written(self.cas.unwrap_or(version.0)), ..self }
    }

    /// How the request ended, for its metrics.
    pub(super) fn ended(&self) -> Ended {
        match self.outcome {
            Outcome::Failed(_) | Outcome::NoMemory => Ended::Unavailable,
            Outcome::NotFound => Ended::Miss,
            Outcome::NotStored | Outcome::Exists | Outcome::NotANumber | Outcome::TooLarge => Ended::Rejected,
            _ => Ended::Ok,
        }
    }

    /// Counts it, as memcached does.
    pub(super) fn tally(&self, wants: &Wants, counts: &mut Counts) {
        counts.count(wants, &self.outcome);
    }

    /// Counts it by the prefix of its key, if that is wanted.
    pub(super) fn tally_prefix(&self, wants: &Wants, key: &[u8], prefixes: &Prefixes) {
        prefixes.count(wants, key, &self.outcome);
    }

    /// Writes it as the request wants it.
    pub(super) fn render(&self, wants: &Wants, key: &[u8], output: &mut Output) {
        let outcome = match (&self.failure, self.outcome) {
            (Some(why), _) => Outcome::Failed(why),
            (None, Outcome::Hit(hit)) => {
                Outcome::Hit(Hit { item: Item { value: &self.value, ..hit.item }, ..hit })
            }
            (None, outcome) => outcome,
        };
        if wants.render_head(key, &outcome, output.tail()).is_some() {
            output.put(&self.value);
            output.tail().extend_from_slice(annulus_protocol::memcached::VALUE_END);
        }
    }
}

fn without_value(outcome: Outcome<'_>) -> Outcome<'static> {
    match outcome {
        Outcome::Hit(Hit { item, ttl_ms, won }) => {
            let Item { flags, cas, ttl_ms: left, marks, fetched, idle_s, memory_bytes, value: _ } = item;
            let item = Item { value: &[], flags, cas, ttl_ms: left, marks, fetched, idle_s, memory_bytes };
            Outcome::Hit(Hit { item, ttl_ms, won })
        }
        Outcome::Stored { cas, value_bytes } => Outcome::Stored { cas, value_bytes },
        Outcome::NotStored => Outcome::NotStored,
        Outcome::Exists => Outcome::Exists,
        Outcome::NotFound => Outcome::NotFound,
        Outcome::Deleted => Outcome::Deleted,
        Outcome::Touched => Outcome::Touched,
        Outcome::Number(Number { number, cas, ttl_before_ms, ttl_ms }) => {
            Outcome::Number(Number { number, cas, ttl_before_ms, ttl_ms })
        }
        Outcome::NotANumber => Outcome::NotANumber,
        Outcome::Done => Outcome::Done,
        Outcome::TooLarge => Outcome::TooLarge,
        Outcome::NoMemory => Outcome::NoMemory,
        Outcome::Failed(_) => Outcome::Failed("it could not be done"),
    }
}

/// An entry as an item.
pub(super) fn item(stored: &StoredValue) -> Item<'_> {
    Item {
        value: &stored.content.bytes,
        flags: stored.flags,
        cas: Marks(stored.marks).cas(stored.version.0, stored.origin.map(|origin| origin.0)),
        ttl_ms: stored.ttl_left_ms,
        marks: Marks(stored.marks),
        fetched: stored.used.before,
        idle_s: stored.used.idle_s,
        memory_bytes: stored.content.bytes.len(),
    }
}

/// The write that makes an item of what a client sent, with so long to live.
pub(super) fn change(store: &Store<'_>, bytes: Bytes, ttl_left_ms: Option<u64>) -> Change {
    let content = Content { content_type: OCTET_STREAM.into(), bytes };
    let marks = store.marks.with_cas(store.new_cas).0;
    Change {
        value: Some(content),
        ttl_left_ms,
        flags: store.flags,
        marks,
        cas: store.new_cas,
        fetched: false,
    }
}

/// The write that removes an item.
pub(super) fn removal() -> Change {
    Change { value: None, ttl_left_ms: None, flags: 0, marks: 0, cas: None, fetched: false }
}
