//! The store in the words of the hop: versions, times left to live, refusals.

use std::sync::Arc;

use annulus_protocol::hop::{Condition, CopyState, MissReason, Refusal, Taken, TakenBefore};
use annulus_protocol::value::{Content, OCTET_STREAM, StoredValue, Used};
use annulus_protocol::{Key, Version};
use annulus_service::net::Clock;
use annulus_store::{self as store, Entry, Holding, Lookup, PutError, Role, Stats, Store};
use bytes::Bytes;

/// Values up to this size are copied out of the store; larger ones are shared with it, which costs an allocation.
const COPIED_BYTES: usize = 2048;

/// One node's copies of the keys that it owns.
pub(crate) struct Copies {
    store: Store,
    clock: Arc<dyn Clock>,
    keeps_tombstones: bool,
}

/// A write as it came in, its value still in the request's buffer.
pub(crate) struct Incoming<'a> {
    pub(crate) version: Version,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) content_type: &'a str,
    pub(crate) flags: u32,
    pub(crate) marks: u8,
    pub(crate) origin: Option<Version>,
    pub(crate) ttl_left_ms: Option<u64>,
    pub(crate) condition: Condition,
    pub(crate) fetched: bool,
}

impl Copies {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, keeps_tombstones: bool) -> Self {
        Self { store, clock, keeps_tombstones }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The copy as it is; looking at it does not make it more recently used.
    pub(crate) fn look_at(&self, key: &Key) -> CopyState {
        let now_ms = self.clock.now_ms();
        state(self.store.peek(key.as_bytes(), annulus_ring::key_hash(key.as_bytes()), now_ms), now_ms)
    }

    /// Takes a write in this role. `hash` is the key's on the ring.
    pub(crate) fn put(
        &self,
        key: &[u8],
        hash: u64,
        incoming: &Incoming<'_>,
        role: Role,
        now_ms: u64,
    ) -> Result<Taken, Refusal> {
        let write = store::Write {
            version: incoming.version.0,
            value: incoming.value,
            // The store's empty content type stands for the most common one and takes no memory.
            content_type: if incoming.content_type == OCTET_STREAM { "" } else { incoming.content_type },
            flags: incoming.flags,
            marks: incoming.marks,
            origin: incoming.origin.map(|origin| origin.0),
            deadline_ms: incoming.ttl_left_ms.map(|left| now_ms.saturating_add(left)),
        };
        if write.value.is_none() && !self.keeps_tombstones {
            let found = self.store.peek(key, hash, now_ms).version();
            let was_live = self.store.drop_moved(key, hash, found);
            return Ok(Taken { previous: None, was_live });
        }
        let condition = condition(incoming.condition);
        let holding = Holding { fetched: incoming.fetched, role };
        match self.store.put_as(key, hash, &write, condition, holding, now_ms) {
            Ok(previous) => Ok(Taken {
                previous: previous.map(|previous| Version(previous.version)),
                was_live: previous.is_some_and(|previous| !previous.tombstone),
            }),
            Err(error) => Err(refusal(error)),
        }
    }

    /// Promises to take nothing below `ballot`, and says what is there.
    pub(crate) fn promise(
        &self,
        key: &[u8],
        hash: u64,
        ballot: Version,
        role: Role,
        now_ms: u64,
    ) -> Result<Lookup, Refusal> {
        self.store.promise_as(key, hash, ballot.0, role, now_ms).map_err(refusal)
    }

    pub(crate) fn expire(&self, max: usize) -> usize {
        self.store.expire(self.clock.now_ms(), max)
    }

    pub(crate) fn stats(&self) -> Stats {
        self.store.stats()
    }
}

fn state(found: Lookup, now_ms: u64) -> CopyState {
    match found {
        Lookup::Hit(entry) => CopyState::Value(StoredValue {
            version: Version(entry.version()),
            origin: entry.origin().map(Version),
            ttl_left_ms: entry.deadline_ms().map(|deadline| deadline.saturating_sub(now_ms)),
            flags: entry.flags(),
            marks: entry.marks(),
            used: Used::default(),
            content: Content { content_type: content_type(&entry).to_owned().into(), bytes: value_of(entry) },
        }),
        Lookup::Miss(miss) => CopyState::Miss {
            version: Version(miss.version),
            reason: miss_reason(miss.reason),
            tombstone: miss.tombstone,
        },
    }
}

/// The media type of an entry's value.
pub(crate) fn content_type(entry: &Entry) -> &str {
    match entry.content_type() {
        "" => OCTET_STREAM,
        other => other,
    }
}

/// The reason of a miss in the words of the hop.
pub(crate) fn miss_reason(reason: store::MissReason) -> MissReason {
    match reason {
        store::MissReason::Cold => MissReason::Cold,
        store::MissReason::Expired => MissReason::Expired,
        store::MissReason::Evicted => MissReason::Evicted,
        store::MissReason::Deleted => MissReason::Deleted,
        store::MissReason::Moved => MissReason::Moved,
    }
}

/// Whether the value is small enough to be copied into an answer.
pub(crate) fn is_copied(entry: &Entry) -> bool {
    entry.value().len() <= COPIED_BYTES
}

/// An entry's value; a large one stays where it is and is shared.
pub(crate) fn value_of(entry: Entry) -> Bytes {
    struct Value(Entry);
    impl AsRef<[u8]> for Value {
        fn as_ref(&self) -> &[u8] {
            self.0.value()
        }
    }
    if is_copied(&entry) {
        return Bytes::copy_from_slice(entry.value());
    }
    Bytes::from_owner(Value(entry))
}

fn condition(condition: Condition) -> store::Condition {
    match condition {
        Condition::Always => store::Condition::Always,
        Condition::Absent => store::Condition::Absent,
        Condition::Present => store::Condition::Present,
        Condition::VersionIs(version) => store::Condition::VersionIs(version.0),
        Condition::Promised => store::Condition::Promised,
    }
}

fn refusal(error: PutError) -> Refusal {
    match error {
        PutError::Refused { version, taken } => {
            let taken = match taken {
                store::Taken::Once => TakenBefore::Yes,
                store::Taken::NotWithin { ms } => TakenBefore::NotWithin { ms },
            };
            Refusal::Newer { version: Version(version), taken }
        }
        PutError::Promised { ballot } => Refusal::Promised(Version(ballot)),
        PutError::ConditionFailed { version, exists } => {
            Refusal::Condition(exists.then_some(Version(version)))
        }
        PutError::TooLarge { .. } => Refusal::TooLarge,
        PutError::Busy => Refusal::Busy,
    }
}
