//! The store in the words of the hop: versions, times left to live, refusals.

use std::sync::Arc;

use annulus_protocol::hop::{Condition, CopyState, MissReason, Refusal, Taken, TakenBefore};
use annulus_protocol::value::{Content, OCTET_STREAM, StoredValue};
use annulus_protocol::{Key, Version};
use annulus_service::net::Clock;
use annulus_store::{self as store, Entry, Lookup, PutError, Stats, Store};
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
    pub(crate) origin: Option<Version>,
    pub(crate) ttl_left_ms: Option<u64>,
    pub(crate) condition: Condition,
}

impl Copies {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>, keeps_tombstones: bool) -> Self {
        Self { store, clock, keeps_tombstones }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn get(&self, key: &Key) -> CopyState {
        let now_ms = self.clock.now_ms();
        state(self.store.get(key.as_bytes(), annulus_ring::key_hash(key.as_bytes()), now_ms), now_ms)
    }

    pub(crate) fn put(&self, key: &Key, incoming: &Incoming<'_>) -> Result<Taken, Refusal> {
        let now_ms = self.clock.now_ms();
        let write = store::Write {
            version: incoming.version.0,
            value: incoming.value,
            // The store's empty content type stands for the most common one and takes no memory.
            content_type: if incoming.content_type == OCTET_STREAM { "" } else { incoming.content_type },
            flags: incoming.flags,
            origin: incoming.origin.map(|origin| origin.0),
            deadline_ms: incoming.ttl_left_ms.map(|left| now_ms.saturating_add(left)),
        };
        let hash = annulus_ring::key_hash(key.as_bytes());
        if write.value.is_none() && !self.keeps_tombstones {
            let found = self.store.peek(key.as_bytes(), hash, now_ms).version();
            let was_live = self.store.drop_moved(key.as_bytes(), hash, found);
            return Ok(Taken { previous: None, was_live });
        }
        match self.store.put(key.as_bytes(), hash, &write, condition(incoming.condition), now_ms) {
            Ok(previous) => Ok(Taken {
                previous: previous.map(|previous| Version(previous.version)),
                was_live: previous.is_some_and(|previous| !previous.tombstone),
            }),
            Err(error) => Err(refusal(error)),
        }
    }

    pub(crate) fn promise(&self, key: &Key, ballot: Version) -> Result<CopyState, Refusal> {
        let now_ms = self.clock.now_ms();
        let hash = annulus_ring::key_hash(key.as_bytes());
        let found = self.store.promise(key.as_bytes(), hash, ballot.0, now_ms).map_err(refusal)?;
        Ok(state(found, now_ms))
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
        Lookup::Hit(entry) => {
            let content_type = match entry.content_type() {
                "" => OCTET_STREAM,
                other => other,
            };
            CopyState::Value(StoredValue {
                version: Version(entry.version()),
                origin: entry.origin().map(Version),
                ttl_left_ms: entry.deadline_ms().map(|deadline| deadline.saturating_sub(now_ms)),
                flags: entry.flags(),
                content: Content { content_type: content_type.to_owned(), bytes: value_of(entry) },
            })
        }
        Lookup::Miss(miss) => {
            let reason = match miss.reason {
                store::MissReason::Cold => MissReason::Cold,
                store::MissReason::Expired => MissReason::Expired,
                store::MissReason::Evicted => MissReason::Evicted,
                store::MissReason::Deleted => MissReason::Deleted,
                store::MissReason::Moved => MissReason::Moved,
            };
            CopyState::Miss { version: Version(miss.version), reason, tombstone: miss.tombstone }
        }
    }
}

fn value_of(entry: Entry) -> Bytes {
    struct Value(Entry);
    impl AsRef<[u8]> for Value {
        fn as_ref(&self) -> &[u8] {
            self.0.value()
        }
    }
    if entry.value().len() <= COPIED_BYTES {
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
