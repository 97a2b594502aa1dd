//! Which writes a shard took lately, those included that newer ones have replaced.

use std::collections::VecDeque;

use crate::api::Taken;
use crate::promises::Fingerprint;

/// Writes remembered, for each shard.
const MAX_WRITES: usize = 1024;

struct Write {
    key: Fingerprint,
    version: u64,
    at_ms: u64,
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
        self.writes.push_back(Write { key, version, at_ms: now_ms });
    }

    /// Whether this very write was taken.
    pub(crate) fn ask(&self, key: Fingerprint, version: u64, now_ms: u64) -> Taken {
        if self.writes.iter().any(|write| write.version == version && write.key == key) {
            return Taken::Once;
        }
        Taken::NotWithin { ms: now_ms.saturating_sub(self.since_ms) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.writes.capacity() * size_of::<Write>()
    }
}
