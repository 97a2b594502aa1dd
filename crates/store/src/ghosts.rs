//! Why keys went, for the metric of misses: an approximate memory of fixed size.

use crate::api::MissReason;

/// Slots of a shard.
const SLOTS: usize = 4096;

const REASON_BITS: u32 = 3;

/// A direct-mapped table of 13-bit tags and reasons. A newer key with the same slot takes it over.
pub(crate) struct Ghosts(Box<[u16; SLOTS]>);

impl Ghosts {
    /// Bytes of a table.
    pub(crate) const BYTES: usize = size_of::<[u16; SLOTS]>();

    pub(crate) fn new() -> Self {
        Self(Box::new([0; SLOTS]))
    }

    pub(crate) fn remember(&mut self, hash: u64, reason: MissReason) {
        let code = match reason {
            MissReason::Cold => 0,
            MissReason::Expired => 1,
            MissReason::Evicted => 2,
            MissReason::Deleted => 3,
            MissReason::Moved => 4,
        };
        self.0[slot(hash)] = tag(hash) | code;
    }

    pub(crate) fn reason(&self, hash: u64) -> MissReason {
        let ghost = self.0[slot(hash)];
        if ghost >> REASON_BITS != tag(hash) >> REASON_BITS {
            return MissReason::Cold;
        }
        match ghost & ((1 << REASON_BITS) - 1) {
            1 => MissReason::Expired,
            2 => MissReason::Evicted,
            3 => MissReason::Deleted,
            4 => MissReason::Moved,
            _ => MissReason::Cold,
        }
    }
}

fn slot(hash: u64) -> usize {
    hash as usize % SLOTS
}

fn tag(hash: u64) -> u16 {
    (hash / SLOTS as u64) as u16 >> REASON_BITS << REASON_BITS
}
