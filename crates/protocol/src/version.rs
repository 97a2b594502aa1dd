//! Versions and the hybrid logical clock that makes them.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SWAP_BIT: u64 = 1;
const SWAP_BITS: u32 = 1;
const NODE_BITS: u32 = 14;
const COUNTER_BITS: u32 = 8;
const BELOW_MS_BITS: u32 = COUNTER_BITS + NODE_BITS + SWAP_BITS;
const BELOW_COUNTER: u64 = (1 << (NODE_BITS + SWAP_BITS)) - 1;
/// Version milliseconds count from 2024-01-01T00:00:00Z, which leaves room until the year 2093.
const EPOCH_UNIX_MS: u64 = 1_704_067_200_000;

/// When a value was written, in an order that all nodes agree on: the newest version wins, everywhere.
///
/// 64 bits from the top: 41 bits of milliseconds since 2024, 8 bits of a counter, 14 bits of the writing master's
/// number, and one bit that tells a swap: a write that depends on what was there.
/// Zero is older than any write. As text (ETags, JSON) it is decimal; JSON carries it as a string, because a
/// JavaScript number loses the low bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl Version {
    /// Older than every write.
    pub const ZERO: Self = Self(0);

    /// Milliseconds since the Unix epoch at which the version was made, by the clock of the master that made it.
    pub fn unix_ms(self) -> u64 {
        (self.0 >> BELOW_MS_BITS) + EPOCH_UNIX_MS
    }

    /// Whether the write depended on what was there before: then nothing can have come between the two.
    pub fn is_swap(self) -> bool {
        self.0 & SWAP_BIT != 0
    }

    /// The version as that of a swap.
    pub fn as_swap(self) -> Self {
        Self(self.0 | SWAP_BIT)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A hybrid logical clock (Kulkarni et al., "Logical Physical Clocks", 2014): it follows the wall clock where it can,
/// never runs backwards, and runs ahead of every version that it has been shown.
#[derive(Debug)]
pub struct HybridClock {
    last: AtomicU64,
    node: u64,
}

impl HybridClock {
    /// A clock for the master numbered `node`; the low 14 bits count. Take the number at random: two masters that share
    /// one could make the same version of a key within the same 1/256 ms.
    pub fn new(node: u64) -> Self {
        Self { last: AtomicU64::new(0), node: (node & ((1 << NODE_BITS) - 1)) << SWAP_BITS }
    }

    /// A version newer than all that this clock made or observed. `now_ms` counts from the Unix epoch.
    pub fn tick(&self, now_ms: u64) -> Version {
        let physical = now_ms.saturating_sub(EPOCH_UNIX_MS) << BELOW_MS_BITS;
        let next = |last: u64| physical.max((last | BELOW_COUNTER).saturating_add(1)) | self.node;
        let previous = self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)))
            .unwrap_or_else(|unchanged| unchanged);
        Version(next(previous))
    }

    /// Moves the clock to or past `seen`, so that the next tick is newer.
    pub fn observe(&self, seen: Version) {
        self.last.fetch_max(seen.0, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    #[test]
    fn versions_of_one_clock_only_rise_even_when_the_wall_clock_steps_back() {
        let clock = HybridClock::new(7);
        let mut last = Version::ZERO;
        for now in [NOW, NOW, NOW - 60_000, NOW + 1, NOW - 1] {
            let next = clock.tick(now);
            assert!(next > last);
            last = next;
        }
    }

    #[test]
    fn a_clock_passes_what_it_was_shown() {
        let ahead = HybridClock::new(1).tick(NOW + 10_000);
        let behind = HybridClock::new(2);
        assert!(behind.tick(NOW) < ahead);
        behind.observe(ahead);
        assert!(behind.tick(NOW) > ahead);
    }

    #[test]
    fn two_masters_never_make_the_same_version() {
        let (a, b) = (HybridClock::new(1), HybridClock::new(2));
        let mut seen = std::collections::HashSet::new();
        for i in 0..10_000 {
            assert!(seen.insert(a.tick(NOW + i / 5_000)));
            assert!(seen.insert(b.tick(NOW + i / 5_000)));
        }
    }

    #[test]
    fn the_time_of_a_version_reads_back() {
        assert_eq!(HybridClock::new(0).tick(NOW).unix_ms(), NOW);
    }

    #[test]
    fn a_swap_is_told_by_its_version_and_ordered_like_any_other() {
        let clock = HybridClock::new(0x3fff);
        let (plain, swap) = (clock.tick(NOW), clock.tick(NOW).as_swap());
        assert!(!plain.is_swap() && swap.is_swap());
        assert!(plain < swap && swap < clock.tick(NOW));
        assert_eq!(swap.unix_ms(), NOW);
    }

    #[test]
    fn json_carries_a_version_as_a_string() {
        let version = Version(u64::MAX);
        let json = serde_json::to_string(&version).unwrap();
        assert_eq!(json, "\"18446744073709551615\"");
        assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
    }
}
