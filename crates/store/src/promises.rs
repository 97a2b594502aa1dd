//! Which ballots were promised: the side table of a two-phase compare-and-swap.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use siphasher::sip::SipHasher13;

/// Promises of a shard at most.
const MAX_PROMISES: usize = 1024;

/// A promise can be used for this part of the time that it stands.
pub(crate) const USABLE_PART: u64 = 5;

/// A key as two independent 64-bit hashes, one of them keyed in secret. Two keys that share both would share a
/// promise: one would see a refusal it need not have.
pub(crate) type Fingerprint = (u64, u64);

struct Promise {
    ballot: u64,
    until_ms: u64,
}

/// Ballots by key, each for a limited time, at most [`MAX_PROMISES`].
#[derive(Default)]
pub(crate) struct Promises(HashMap<Fingerprint, Promise, BuildHasherDefault<SipHasher13>>);

impl Promises {
    /// The ballot promised for the key and not yet over.
    pub(crate) fn standing(&self, key: Fingerprint, now_ms: u64) -> Option<u64> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&key).filter(|promise| now_ms < promise.until_ms).map(|promise| promise.ballot)
    }

    /// The ballot promised for the key, as long as its own write may still come: a fifth of the time that it keeps
    /// others out. So whoever collects promises from several copies within that fifth knows that none of them has let
    /// a lower write in by the time that its own arrives anywhere.
    pub(crate) fn usable(&self, key: Fingerprint, ttl_ms: u64, now_ms: u64) -> Option<u64> {
        self.standing(key, now_ms.saturating_add(ttl_ms - ttl_ms / USABLE_PART))
    }

    /// Whether the promise found room. At the bound, those that are over are forgotten first: 1,024 steps.
    pub(crate) fn insert(&mut self, key: Fingerprint, ballot: u64, until_ms: u64, now_ms: u64) -> bool {
        if self.0.len() >= MAX_PROMISES && !self.0.contains_key(&key) {
            self.forget_ended(now_ms);
            if self.0.len() >= MAX_PROMISES {
                return false;
            }
        }
        self.0.insert(key, Promise { ballot, until_ms });
        true
    }

    pub(crate) fn remove(&mut self, key: Fingerprint) {
        if !self.0.is_empty() {
            self.0.remove(&key);
        }
    }

    /// Forgets those that are over, and the table's memory once none is left.
    pub(crate) fn forget_ended(&mut self, now_ms: u64) {
        if self.0.capacity() > 0 {
            self.0.retain(|_, promise| now_ms < promise.until_ms);
            if self.0.is_empty() {
                self.clear();
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0 = HashMap::default();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Bytes, by the map's load of at most 7/8 and one control byte a bucket.
    pub(crate) fn bytes(&self) -> usize {
        self.0.capacity() * 8 / 7 * (size_of::<(Fingerprint, Promise)>() + 1)
    }
}
