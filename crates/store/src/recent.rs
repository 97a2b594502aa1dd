//! Which writes a shard took lately, those included that newer ones have replaced.

use std::collections::VecDeque;

use crate::api::Taken;
use crate::promises::Fingerprint;

/// Writes remembered, for each shard.
const MAX_WRITES: usize = 1024;

struct Write {
    mark: u64,
    at_ms: u64,
}

/// Of one write: 32 bits of its key's keyed hash, and 32 of that and the version.
fn mark(key: Fingerprint, version: u64) -> u64 {
    let of_write = (key.1 ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key.0;
    of_key(key) << 32 | of_write >> 32
}

fn of_key(key: Fingerprint) -> u64 {
    key.1 >> 32
}

/// The last [`MAX_WRITES`] writes of a shard. Asked only when a write is refused, and then read through: 1,024 steps.
pub(crate) struct Recent {
    writes: VecDeque<Write>,
    /// Everything taken after this is remembered.
    since_ms: u64,
}

impl Recent {
    /// Nothing was taken before `created_ms`.
    pub(crate) fn new(created_ms: u64) -> Self {
        Self { writes: VecDeque::new(), since_ms: created_ms }
    }

    pub(crate) fn took(&mut self, key: Fingerprint, version: u64, now_ms: u64) {
        if self.writes.len() == MAX_WRITES
            && let Some(oldest) = self.writes.pop_front()
        {
            self.since_ms = oldest.at_ms;
        }
        self.writes.push_back(Write { mark: mark(key, version), at_ms: now_ms });
    }

    /// Whether this very write was taken.
    pub(crate) fn ask(&self, key: Fingerprint, version: u64, now_ms: u64) -> Taken {
        let mark = mark(key, version);
        if self.writes.iter().any(|write| write.mark == mark) {
            return Taken::Once;
        }
        Taken::NotWithin { ms: now_ms.saturating_sub(self.since_ms) }
    }

    /// Whether no write of this key was taken for so long; not where that is not remembered.
    pub(crate) fn is_quiet(&self, key: Fingerprint, quiet_ms: u64, now_ms: u64) -> bool {
        let from_ms = now_ms.saturating_sub(quiet_ms);
        let is_of_key = |write: &Write| write.at_ms >= from_ms && write.mark >> 32 == of_key(key);
        self.since_ms < from_ms && !self.writes.iter().any(is_of_key)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.writes.capacity() * size_of::<Write>()
    }
}
