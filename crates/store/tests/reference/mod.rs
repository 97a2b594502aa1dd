//! The store as one would write it down: a list from least to most recently used.

use std::collections::HashMap;

use annulus_store::{Condition, Previous, PutError, Taken};

/// What a key holds; no content is a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) version: u64,
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) deadline: Option<u64>,
}

pub(crate) struct Reference {
    list: Vec<(u8, u64, Value)>,
    floors: [u64; 12],
    promises: HashMap<u8, (u64, u64)>,
    max_items: usize,
    tombstone_ttl: u64,
    promise_ttl: u64,
}

impl Reference {
    pub(crate) fn new(max_items: Option<usize>, tombstone_ttl: u64, promise_ttl: u64) -> Self {
        let (list, promises) = (Vec::new(), HashMap::new());
        let max_items = max_items.unwrap_or(usize::MAX);
        Self { list, floors: [0; 12], promises, max_items, tombstone_ttl, promise_ttl }
    }

    pub(crate) fn look(&mut self, key: u8, hash: u64, now: u64, touch: bool) -> (u64, Result<Vec<u8>, bool>) {
        self.end(key, now);
        let Some(at) = self.list.iter().position(|entry| entry.0 == key) else {
            return (self.floors[bucket(hash)], Err(false));
        };
        let value = self.list[at].2.clone();
        let Some(content) = value.content else { return (value.version, Err(true)) };
        if touch {
            let entry = self.list.remove(at);
            self.list.push(entry);
        }
        (value.version, Ok(content))
    }

    pub(crate) fn put(
        &mut self,
        key: u8,
        hash: u64,
        mut value: Value,
        condition: Condition,
        now: u64,
        evicted: usize,
    ) -> Result<Option<Previous>, PutError> {
        let (known, found) = self.look(key, hash, now, false);
        let old = self.list.iter().find(|entry| entry.0 == key).map(|entry| entry.2.clone());
        let previous =
            old.as_ref().map(|old| Previous { version: old.version, tombstone: old.content.is_none() });
        if let Some(old) = &old
            && old.version == value.version
            && old.content == value.content
        {
            return Ok(previous);
        }
        let promised = self.promises.get(&key).filter(|(_, until)| now < *until).map(|promise| promise.0);
        let exists = found.is_ok();
        let holds = match condition {
            Condition::Always => true,
            Condition::Absent => !exists,
            Condition::Present => exists,
            Condition::VersionIs(version) => exists && version == known,
            Condition::Promised => promised.is_some_and(|ballot| {
                let until = self.promises[&key].1;
                ballot > value.version
                    || ballot == value.version && now + self.promise_ttl - self.promise_ttl / 5 < until
            }),
        };
        if !holds {
            return Err(PutError::ConditionFailed { version: known, exists });
        }
        if known >= value.version {
            return Err(PutError::Refused { version: known, taken: Taken::Once });
        }
        if let Some(ballot) = promised.filter(|ballot| *ballot > value.version) {
            return Err(PutError::Promised { ballot });
        }
        if value.content.is_none() && value.deadline.is_none() {
            value.deadline = Some(now + self.tombstone_ttl);
        }
        self.promises.remove(&key);
        self.list.retain(|entry| entry.0 != key);
        if old.is_none() {
            assert!(evicted >= (self.list.len() + 1).saturating_sub(self.max_items));
        }
        for (_, hash, value) in self.list.drain(..evicted) {
            let floor = &mut self.floors[bucket(hash)];
            *floor = value.version.max(*floor);
        }
        self.list.push((key, hash, value));
        Ok(previous)
    }

    pub(crate) fn promise(
        &mut self,
        key: u8,
        hash: u64,
        ballot: u64,
        now: u64,
    ) -> Result<(u64, Result<Vec<u8>, bool>), PutError> {
        let found = self.look(key, hash, now, false);
        let standing = self.promises.get(&key).filter(|(_, until)| now < *until).map(|promise| promise.0);
        if found.0 >= ballot {
            return Err(PutError::Refused { version: found.0, taken: Taken::Once });
        }
        if let Some(ballot) = standing.filter(|other| *other > ballot) {
            return Err(PutError::Promised { ballot });
        }
        self.promises.insert(key, (ballot, now + self.promise_ttl));
        Ok(found)
    }

    /// What ended before the last full tick of 256 ms goes.
    pub(crate) fn expire(&mut self, now: u64) -> usize {
        let due = |value: &Value| value.deadline.is_some_and(|at| at.div_ceil(256) <= now / 256);
        let keys: Vec<u8> = self.list.iter().filter(|entry| due(&entry.2)).map(|entry| entry.0).collect();
        for key in &keys {
            self.end(*key, now);
        }
        keys.len()
    }

    pub(crate) fn clear(&mut self, version: u64) -> usize {
        for (_, hash, value) in &self.list {
            self.floors[bucket(*hash)] = self.floors[bucket(*hash)].max(value.version);
        }
        self.floors = self.floors.map(|floor| floor.max(version));
        self.promises.clear();
        self.list.drain(..).count()
    }

    pub(crate) fn raise(&mut self, hash: u64, version: u64) {
        self.floors[bucket(hash)] = self.floors[bucket(hash)].max(version);
    }

    pub(crate) fn drop_moved(&mut self, key: u8, version: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|entry| entry.0 != key || entry.2.version != version);
        self.list.len() < before
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn floors(&self) -> Vec<u64> {
        self.floors.to_vec()
    }

    pub(crate) fn live(&self, now: u64) -> Vec<(u8, u64, usize)> {
        let over = |value: &Value| value.deadline.is_some_and(|at| now >= at);
        let mut live: Vec<_> = self
            .list
            .iter()
            .filter(|entry| !over(&entry.2))
            .map(|(key, _, value)| (*key, value.version, value.content.as_ref().map_or(0, Vec::len)))
            .collect();
        live.sort_unstable();
        live
    }

    fn end(&mut self, key: u8, now: u64) {
        let over = |value: &Value| value.deadline.is_some_and(|at| now >= at);
        if let Some(at) = self.list.iter().position(|entry| entry.0 == key && over(&entry.2)) {
            let (_, hash, value) = self.list.remove(at);
            self.raise(hash, value.version);
        }
    }
}

fn bucket(hash: u64) -> usize {
    hash as usize % 4096
}
