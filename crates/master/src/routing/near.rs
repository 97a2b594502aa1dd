//! The near store: a small memory in the master in front of the cluster, for `cluster.route = near-then-cluster`.
//!
//! Pure: no IO, no clock; time is an argument, in microseconds. What it shows was read from the cluster no longer than its
//! `max_age` ago, counted from before the question was sent, so no answer is older than that. A write through this master
//! is seen at once: a read that was asked before the write ended never fills in what the write has replaced.

use annulus_protocol::Version;
use annulus_protocol::value::{Content, StoredValue, Used};
use bytes::Bytes;
use lru::LruCache;
use parking_lot::Mutex;

/// Parts with a lock of their own. The first bits of a key's hash on the ring say which.
const SHARDS: usize = 16;

/// About what a slot takes beside key, value and content type: its node in the list, its place in the table, and what the
/// allocator adds.
const OVERHEAD_BYTES: usize = 256;

/// Bounded memory of what the cluster said lately.
pub(crate) struct Near {
    shards: Vec<Mutex<Shard>>,
    max_age_us: u64,
    shard_bytes: usize,
}

struct Shard {
    slots: LruCache<Box<[u8]>, Slot>,
    bytes: usize,
    /// Slots that made room are known of no more: what was asked before the last of them changed counts for nothing.
    floor_us: u64,
}

/// What is known of a key.
struct Slot {
    /// Since when: nothing that was asked before says anything new.
    since_us: u64,
    /// When the cluster was asked: from then on its age counts.
    asked_us: u64,
    /// `None` after a write of which only that much is known.
    value: Option<StoredValue>,
}

/// How full it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

impl Near {
    /// An empty one that takes about `max_bytes` and shows nothing older than `max_age_us`. Where writes may be under way that
    /// it is not told of, they must have ended by `floor_us`: what is read before says nothing.
    pub(crate) fn new(max_bytes: usize, max_age_us: u64, floor_us: u64) -> Self {
        let shard = || Shard { slots: LruCache::unbounded(), bytes: 0, floor_us };
        let shards = (0..SHARDS).map(|_| Mutex::new(shard())).collect();
        Self { shards, max_age_us, shard_bytes: max_bytes / SHARDS }
    }

    /// What it holds of a key, with what is left of its time to live.
    pub(crate) fn get(&self, key: &[u8], hash: u64, now_us: u64) -> Option<StoredValue> {
        let mut shard = self.shard(hash).lock();
        let slot = shard.slots.get(key)?;
        let age_us = now_us.saturating_sub(slot.asked_us);
        if age_us >= self.max_age_us {
            return None;
        }
        let stored = slot.value.as_ref()?;
        let lived_ms = age_us.div_ceil(1000);
        match stored.ttl_left_ms {
            Some(left_ms) if left_ms <= lived_ms => None,
            left_ms => {
                let ttl_left_ms = left_ms.map(|left_ms| left_ms - lived_ms);
                Some(StoredValue { ttl_left_ms, ..stored.clone() })
            }
        }
    }

    /// Takes what the cluster said to a question that was asked at `asked_us`.
    pub(crate) fn fill(&self, key: &[u8], hash: u64, stored: &StoredValue, asked_us: u64) {
        let mut shard = self.shard(hash).lock();
        let known_us = shard.slots.peek(key).map_or(shard.floor_us, |slot| slot.since_us);
        if asked_us > known_us {
            let slot = Slot { since_us: asked_us, asked_us, value: Some(detached(stored)) };
            shard.put(key, slot, self.shard_bytes);
        }
    }

    /// A write of the key begins, or has ended in a way that does not show what it made of it.
    pub(crate) fn forget(&self, key: &[u8], hash: u64, now_us: u64) {
        let mut shard = self.shard(hash).lock();
        let since_us = shard.after(key, now_us);
        shard.put(key, Slot { since_us, asked_us: now_us, value: None }, self.shard_bytes);
    }

    /// A write of the key that began at `asked_us` has made this of it; of two writes the one of the newer version counts.
    pub(crate) fn wrote(&self, key: &[u8], hash: u64, stored: &StoredValue, asked_us: u64, now_us: u64) {
        let mut shard = self.shard(hash).lock();
        let is_newer = |slot: &Slot| slot.value.as_ref().is_none_or(|known| known.version < stored.version);
        if shard.slots.peek(key).is_none_or(is_newer) {
            let since_us = shard.after(key, now_us);
            let slot = Slot { since_us, asked_us, value: Some(detached(stored)) };
            shard.put(key, slot, self.shard_bytes);
        }
    }

    /// Forgets everything, and all that is on its way.
    pub(crate) fn clear(&self, now_us: u64) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.slots.clear();
            shard.bytes = 0;
            shard.floor_us = shard.floor_us.max(now_us);
        }
    }

    pub(crate) fn size(&self) -> Fill {
        self.shards.iter().fold(Fill::default(), |size, shard| {
            let shard = shard.lock();
            Fill { items: size.items + shard.slots.len(), bytes: size.bytes + shard.bytes }
        })
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 60) as usize % SHARDS]
    }
}

impl Shard {
    /// A moment that is `now_us` and after all that is known of the key.
    fn after(&self, key: &[u8], now_us: u64) -> u64 {
        self.slots.peek(key).map_or(now_us, |slot| now_us.max(slot.since_us + 1))
    }

    fn put(&mut self, key: &[u8], slot: Slot, max_bytes: usize) {
        let bytes = cost(key, &slot);
        if let Some((_, before)) = self.slots.pop_entry(key) {
            self.bytes -= cost(key, &before);
        }
        if bytes > max_bytes {
            self.floor_us = self.floor_us.max(slot.since_us);
            return;
        }
        while self.bytes + bytes > max_bytes {
            let Some((key, oldest)) = self.slots.pop_lru() else { break };
            self.bytes -= cost(&key, &oldest);
            self.floor_us = self.floor_us.max(oldest.since_us);
        }
        self.bytes += bytes;
        self.slots.put(key.into(), slot);
    }
}

fn cost(key: &[u8], slot: &Slot) -> usize {
    let value = slot
        .value
        .as_ref()
        .map_or(0, |stored| stored.content.bytes.len() + stored.content.content_type.len());
    OVERHEAD_BYTES + key.len() + value
}

/// The same with bytes of its own: those of an answer may be a part of more, and are counted as under way.
fn detached(stored: &StoredValue) -> StoredValue {
    let bytes = Bytes::copy_from_slice(&stored.content.bytes);
    StoredValue { content: Content { bytes, ..stored.content.clone() }, ..stored.clone() }
}

/// An entry as a write has made it.
pub(crate) fn written(change: &crate::coordinator::Change, version: Version) -> Option<StoredValue> {
    let content = change.value.clone()?;
    let (flags, marks) = (change.flags, change.marks);
    Some(StoredValue {
        version,
        origin: change.cas.map(Version),
        ttl_left_ms: change.ttl_left_ms,
        flags,
        marks,
        used: Used::default(),
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGE_US: u64 = 1_000_000;

    fn stored(version: u64, ttl_left_ms: Option<u64>) -> StoredValue {
        let content = Content { content_type: "text/plain".into(), bytes: "value".into() };
        StoredValue {
            version: Version(version),
            origin: None,
            ttl_left_ms,
            flags: 7,
            marks: 0,
            used: Used::default(),
            content,
        }
    }

    fn near() -> Near {
        Near::new(1 << 20, AGE_US, 0)
    }

    fn version_of(near: &Near, now_us: u64) -> Option<u64> {
        near.get(b"k", 1, now_us).map(|stored| stored.version.0)
    }

    #[test]
    fn what_was_read_is_shown_for_the_longest_age_counted_from_the_question() {
        let near = near();
        near.fill(b"k", 1, &stored(1, None), 100);
        assert_eq!(version_of(&near, 100 + AGE_US - 1), Some(1));
        assert_eq!(version_of(&near, 100 + AGE_US), None);
        near.fill(b"k", 1, &stored(1, None), 100 + AGE_US);
        assert_eq!(version_of(&near, 200 + AGE_US), Some(1));
    }

    #[test]
    fn a_time_to_live_goes_on_and_ends() {
        let near = near();
        near.fill(b"k", 1, &stored(1, Some(500)), 0);
        near.fill(b"k", 1, &stored(1, Some(500)), 1_000);
        assert_eq!(near.get(b"k", 1, 101_000).unwrap().ttl_left_ms, Some(400));
        assert_eq!(near.get(b"k", 1, 501_000), None);
    }

    #[test]
    fn a_read_that_was_asked_before_a_write_ended_says_nothing() {
        let near = near();
        near.forget(b"k", 1, 100);
        near.fill(b"k", 1, &stored(1, None), 90);
        assert_eq!(version_of(&near, 110), None);
        near.wrote(b"k", 1, &stored(2, None), 100, 200);
        near.fill(b"k", 1, &stored(1, None), 150);
        assert_eq!(version_of(&near, 210), Some(2));
        near.fill(b"k", 1, &stored(3, None), 201);
        assert_eq!(version_of(&near, 210), Some(3));
    }

    #[test]
    fn the_age_of_what_was_written_counts_from_the_beginning_of_the_write() {
        let near = near();
        near.wrote(b"k", 1, &stored(2, None), 100, 900);
        assert_eq!(version_of(&near, 99 + AGE_US), Some(2));
        assert_eq!(version_of(&near, 100 + AGE_US), None);
    }

    #[test]
    fn one_that_is_made_under_way_believes_no_read_that_a_write_may_have_overtaken() {
        let near = Near::new(1 << 20, AGE_US, 500);
        near.fill(b"k", 1, &stored(1, None), 400);
        assert_eq!(version_of(&near, 510), None);
        near.fill(b"k", 1, &stored(2, None), 501);
        assert_eq!(version_of(&near, 510), Some(2));
    }

    #[test]
    fn of_two_writes_the_newer_version_counts_whichever_ends_first() {
        let near = near();
        near.forget(b"k", 1, 100);
        near.forget(b"k", 1, 100);
        near.wrote(b"k", 1, &stored(9, None), 100, 200);
        near.wrote(b"k", 1, &stored(8, None), 100, 201);
        assert_eq!(version_of(&near, 210), Some(9));
    }

    #[test]
    fn nothing_that_is_on_its_way_survives_a_flush_or_the_loss_of_its_slot() {
        let near = near();
        near.fill(b"k", 1, &stored(1, None), 100);
        near.clear(200);
        near.fill(b"k", 1, &stored(1, None), 150);
        assert_eq!((version_of(&near, 210), near.size()), (None, Fill::default()));

        let small = Near::new(SHARDS * (OVERHEAD_BYTES + 20), AGE_US, 0);
        small.wrote(b"k", 1, &stored(2, None), 290, 300);
        small.fill(b"l", 1, &stored(5, None), 310);
        assert_eq!(version_of(&small, 320), None, "it made room");
        small.fill(b"k", 1, &stored(1, None), 250);
        assert_eq!(version_of(&small, 320), None, "asked before the write ended");
    }

    #[test]
    fn its_bytes_are_bounded_and_the_least_recently_used_goes_first() {
        let cost = OVERHEAD_BYTES + 2 + 5 + "text/plain".len();
        let near = Near::new(SHARDS * 10 * cost, AGE_US, 0);
        for n in 0..100_u64 {
            near.get(b"00", 1, n + 1);
            near.fill(format!("{n:02}").as_bytes(), 1, &stored(n, None), n + 1);
            assert!(near.size().bytes <= 10 * cost);
        }
        assert_eq!(near.size(), Fill { items: 10, bytes: 10 * cost });
        assert!(near.get(b"00", 1, 200).is_some() && near.get(b"99", 1, 200).is_some());
        assert!(near.get(b"50", 1, 200).is_none());
        let huge = StoredValue {
            content: Content { content_type: "".into(), bytes: vec![0; 10 * cost].into() },
            ..stored(200, None)
        };
        near.fill(b"99", 1, &huge, 300);
        assert!(near.get(b"99", 1, 310).is_none(), "too large, and the old value is gone");
    }
}
