//! Looking at an entry in place, and reading and writing in one step.

use crate::access::Use;
use crate::api::{Condition, Holding, Lookup, Miss, PutError, Role, Write};
use crate::entry::Entry;
use crate::shard::Key;
use crate::store::Store;

/// New values above this size are copied without the lock, unless another write keeps coming in between.
const COPIED_UNDER_LOCK: usize = 4096;

/// How often that is tried.
const COPIES_WITHOUT_LOCK: usize = 3;

/// What is there, as seen under the lock.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// A live value.
    Hit {
        /// It. A clone may be kept.
        entry: &'a Entry,
        /// How it was used before.
        last_use: Use,
    },
    /// None.
    Miss(Miss),
}

impl<'a> Found<'a> {
    /// The version known here: the value's, the tombstone's or the floor. A write must be above it.
    pub fn version(&self) -> u64 {
        match self {
            Self::Hit { entry, .. } => entry.version(),
            Self::Miss(miss) => miss.version,
        }
    }

    /// The entry of a hit.
    pub fn hit(&self) -> Option<&'a Entry> {
        match self {
            Self::Hit { entry, .. } => Some(entry),
            Self::Miss(_) => None,
        }
    }

    /// How the entry of a hit was used.
    pub fn last_use(&self) -> Use {
        match self {
            Self::Hit { last_use, .. } => *last_use,
            Self::Miss(_) => Use::NONE,
        }
    }

    /// Whether nothing was written in between.
    pub(crate) fn is_same(&self, other: &Found<'_>) -> bool {
        self.version() == other.version() && self.hit().is_some() == other.hit().is_some()
    }

    /// The same, to be kept.
    pub fn to_lookup(&self) -> Lookup {
        match self {
            Self::Hit { entry, .. } => Lookup::Hit((*entry).clone()),
            Self::Miss(miss) => Lookup::Miss(*miss),
        }
    }
}

/// What an update makes of what it found.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'a> {
    /// Nothing.
    Keep,
    /// Nothing, and it counts as a read.
    Read,
    /// It is replaced, unless the store refuses.
    Write(Change<'a>),
}

/// What an update writes.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The new entry, but for what the other fields say.
    pub write: Write<'a>,
    /// Where its value comes from.
    pub value: ValueFrom,
    /// Whether it has the content type of what is there.
    pub keeps_type: bool,
    /// Whether it is one that was read since it was written: where only what came with a value changes.
    pub fetched: bool,
}

/// Where the value of a new entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueFrom {
    /// From the write itself, which may be a tombstone.
    Write,
    /// From the scratch buffer, where it was put together.
    Scratch,
    /// It stays.
    Entry,
}

impl<'a> From<Write<'a>> for Decision<'a> {
    /// To write just this.
    fn from(write: Write<'a>) -> Self {
        Self::Write(Change { write, value: ValueFrom::Write, keeps_type: false, fetched: false })
    }
}

impl<'a> Change<'a> {
    fn holding(&self) -> Holding {
        Holding { fetched: self.fetched, role: Role::Owner }
    }

    /// The whole write, given what was found.
    pub(crate) fn resolve<'v>(&self, found: Found<'v>, scratch: &'v [u8]) -> Write<'v>
    where
        'a: 'v,
    {
        let value = match self.value {
            ValueFrom::Write => self.write.value,
            ValueFrom::Scratch => Some(scratch),
            ValueFrom::Entry => Some(found.hit().map(Entry::value).unwrap_or_default()),
        };
        let kept = found.hit().filter(|_| self.keeps_type);
        let content_type = kept.map_or(self.write.content_type, Entry::content_type);
        Write { value, content_type, ..self.write }
    }
}

/// What an update found, and what it did.
#[derive(Clone, Debug)]
pub struct Updated {
    /// What was there.
    pub before: Lookup,
    /// How it was used; as never if it was not there.
    pub last_use: Use,
    /// The version that was written, if one was.
    pub written: Option<u64>,
}

impl Updated {
    /// What was there, as the update saw it.
    pub fn found(&self) -> Found<'_> {
        match &self.before {
            Lookup::Hit(entry) => Found::Hit { entry, last_use: self.last_use },
            Lookup::Miss(miss) => Found::Miss(*miss),
        }
    }
}

/// What came of an update under the lock.
enum Attempt {
    Done(Updated),
    /// Its value is too large to be copied there.
    TooLarge(Updated),
}

impl Store {
    /// Reads a key and writes what `decide` makes of what is there, in one step. The write is refused as any other; what
    /// it must be above, `decide` is told. In `scratch` it may put a value together.
    ///
    /// `decide` may be called again: a large value is copied without the lock, and anew if another write came in between.
    ///
    /// # Errors
    ///
    /// As [`Store::put`].
    pub fn update<'a>(
        &self,
        key: &[u8],
        hash: u64,
        now_ms: u64,
        scratch: &mut Vec<u8>,
        mut decide: impl FnMut(Found<'_>, &mut Vec<u8>) -> Decision<'a>,
    ) -> Result<Updated, PutError> {
        let key = self.key(key, hash);
        for _ in 0..COPIES_WITHOUT_LOCK {
            let seen = match self.update_locked(key, now_ms, COPIED_UNDER_LOCK, scratch, &mut decide)? {
                Attempt::Done(updated) => return Ok(updated),
                Attempt::TooLarge(seen) => seen,
            };
            let Decision::Write(change) = decide(seen.found(), scratch) else { return Ok(seen) };
            let entry = self.entry(key, &change.resolve(seen.found(), scratch), now_ms)?;
            let mut shard = self.shard(hash).lock();
            let place = shard.place(key, now_ms);
            if shard.found(place, now_ms).is_same(&seen.found()) {
                shard.put(entry, change.holding(), place, Condition::Always, now_ms)?;
                return Ok(Updated { written: Some(change.write.version), ..seen });
            }
        }
        match self.update_locked(key, now_ms, usize::MAX, scratch, &mut decide)? {
            Attempt::Done(updated) | Attempt::TooLarge(updated) => Ok(updated),
        }
    }

    /// Does an update in one step, unless it writes a value of more than `max_bytes`.
    fn update_locked<'a>(
        &self,
        key: Key<'_>,
        now_ms: u64,
        max_bytes: usize,
        scratch: &mut Vec<u8>,
        decide: &mut impl FnMut(Found<'_>, &mut Vec<u8>) -> Decision<'a>,
    ) -> Result<Attempt, PutError> {
        let mut shard = self.shard(key.ring_hash).lock();
        let place = shard.place(key, now_ms);
        let found = shard.found(place, now_ms);
        let seen = Updated { before: found.to_lookup(), last_use: found.last_use(), written: None };
        let change = match decide(found, scratch) {
            Decision::Keep => return Ok(Attempt::Done(seen)),
            Decision::Read => {
                shard.touch(place, now_ms);
                return Ok(Attempt::Done(seen));
            }
            Decision::Write(change) => change,
        };
        let write = change.resolve(found, scratch);
        if write.value.is_some_and(|value| value.len() > max_bytes) {
            return Ok(Attempt::TooLarge(seen));
        }
        let entry = self.entry(key, &write, now_ms)?;
        shard.put(entry, change.holding(), place, Condition::Always, now_ms)?;
        Ok(Attempt::Done(Updated { written: Some(change.write.version), ..seen }))
    }
}
