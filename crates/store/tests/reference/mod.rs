//! The store as one would write it down: a list from least to most recently used.

use std::collections::HashMap;

use annulus_store::{Condition, Previous, PutError, Role, Taken};

/// What a key holds; no content is a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) version: u64,
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) deadline: Option<u64>,
    /// In what role it is taken.
    pub(crate) role: Role,
}

impl Value {
    fn is_spare(&self) -> bool {
        self.role != Role::Owner
    }
}

/// Version, that of a spare, and the value of a hit, or whether a tombstone says miss.
pub(crate) type Described = (u64, u64, Result<Vec<u8>, bool>);

pub(crate) struct Reference {
    list: Vec<(u8, u64, Value)>,
    floors: [u64; 12],
    spare_floors: [u64; 12],
    promises: HashMap<u8, (u64, u64)>,
    /// Keys that were written, and when.
    taken: Vec<(u8, u64)>,
    max_items: usize,
    tombstone_ttl: u64,
    promise_ttl: u64,
}

impl Reference {
    pub(crate) fn new(max_items: Option<usize>, tombstone_ttl: u64, promise_ttl: u64) -> Self {
        let (list, promises, taken) = (Vec::new(), HashMap::new(), Vec::new());
        let max_items = max_items.unwrap_or(usize::MAX);
        let (floors, spare_floors) = ([0; 12], [0; 12]);
        Self { list, floors, spare_floors, promises, taken, max_items, tombstone_ttl, promise_ttl }
    }

    pub(crate) fn look(&mut self, key: u8, hash: u64, now: u64, touch: bool) -> Described {
        self.end(key, now);
        let Some(at) = self.list.iter().position(|entry| entry.0 == key) else {
            return (self.floors[bucket(hash)], self.spare_floors[bucket(hash)], Err(false));
        };
        let value = self.list[at].2.clone();
        let Some(content) = value.content else { return (value.version, value.version, Err(true)) };
        if touch {
            let entry = self.list.remove(at);
            self.list.push(entry);
        }
        (value.version, value.version, Ok(content))
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
        let (known, known_as_spare, found) = self.look(key, hash, now, false);
        let known = if value.role == Role::Spare { known_as_spare } else { known };
        let old = self.list.iter().find(|entry| entry.0 == key).map(|entry| entry.2.clone());
        let previous =
            old.as_ref().map(|old| Previous { version: old.version, tombstone: old.content.is_none() });
        if let Some(old) = &old
            && old.version == value.version
            && old.content == value.content
        {
            if value.is_spare() {
                self.list
                    .iter_mut()
                    .filter(|entry| entry.0 == key)
                    .for_each(|entry| entry.2.role = value.role);
            }
            return Ok(previous);
        }
        let promised = self.promises.get(&key).filter(|(_, until)| now < *until).map(|promise| promise.0);
        let exists = found.is_ok();
        let holds = match condition {
            Condition::Always | Condition::Newest { .. } => true,
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
        let is_quiet = |quiet: u64| !self.taken.iter().any(|(taken, at)| *taken == key && *at >= now - quiet);
        let is_newest =
            matches!(condition, Condition::Newest { quiet_ms } if old.is_none() && is_quiet(quiet_ms));
        if known >= value.version && !is_newest {
            return Err(PutError::Refused { version: known, taken: Taken::Once });
        }
        if let Some(ballot) = promised.filter(|ballot| *ballot > value.version) {
            return Err(PutError::Promised { ballot });
        }
        if value.content.is_none() && value.deadline.is_none() {
            value.deadline = Some(now + self.tombstone_ttl);
        }
        self.promises.remove(&key);
        self.taken.push((key, now));
        self.list.retain(|entry| entry.0 != key);
        if old.is_none() {
            assert!(evicted >= (self.list.len() + 1).saturating_sub(self.max_items));
        }
        let gone: Vec<_> = self.list.drain(..evicted).collect();
        for (_, hash, value) in &gone {
            self.forget(*hash, value);
        }
        self.list.push((key, hash, value));
        Ok(previous)
    }

    pub(crate) fn promise(
        &mut self,
        key: u8,
        hash: u64,
        ballot: u64,
        role: Role,
        now: u64,
    ) -> Result<Described, PutError> {
        let found = self.look(key, hash, now, false);
        let known = if role == Role::Spare { found.1 } else { found.0 };
        let standing = self.promises.get(&key).filter(|(_, until)| now < *until).map(|promise| promise.0);
        if known >= ballot {
            return Err(PutError::Refused { version: known, taken: Taken::Once });
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
        let gone = std::mem::take(&mut self.list);
        for (_, hash, value) in &gone {
            self.forget(*hash, value);
        }
        self.floors = self.floors.map(|floor| floor.max(version));
        self.spare_floors = self.spare_floors.map(|floor| floor.max(version));
        self.promises.clear();
        gone.len()
    }

    pub(crate) fn raise(&mut self, hash: u64, version: u64) {
        self.floors[bucket(hash)] = self.floors[bucket(hash)].max(version);
    }

    pub(crate) fn own(&mut self, key: u8) {
        self.list.iter_mut().filter(|entry| entry.0 == key).for_each(|entry| entry.2.role = Role::Owner);
    }

    pub(crate) fn spares(&self) -> usize {
        self.list.iter().filter(|entry| entry.2.is_spare()).count()
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
            let value = &mut self.list[at].2;
            if value.is_spare() && value.content.is_some() {
                (value.content, value.deadline) = (None, Some(now + self.tombstone_ttl));
            } else {
                let (_, hash, value) = self.list.remove(at);
                self.forget(hash, &value);
            }
        }
    }

    fn forget(&mut self, hash: u64, value: &Value) {
        self.raise(hash, value.version);
        if value.is_spare() {
            let floor = &mut self.spare_floors[bucket(hash)];
            *floor = value.version.max(*floor);
        }
    }
}

fn bucket(hash: u64) -> usize {
    hash as usize % 4096
}
