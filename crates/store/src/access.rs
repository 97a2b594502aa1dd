//! When an entry was last used on this node, and whether it was read since it was written: what a node knows for itself.

/// How an entry was used here. It stays on the node: a copy, a move or a restore starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    last: LastUse,
    now: Second,
}

impl Use {
    /// Of what is not there.
    pub(crate) const NONE: Self = Self { last: LastUse(0), now: Second(0) };

    /// Whether it was read since it was written.
    pub fn fetched(self) -> bool {
        self.last.0 & FETCHED != 0
    }

    /// Whole seconds since it was last read or written.
    pub fn idle_s(self) -> u32 {
        self.now.0.saturating_sub(self.last.0 & !FETCHED)
    }
}

/// Marks an entry that was read.
const FETCHED: u32 = 1 << 31;

/// Seconds since the store was made, and [`FETCHED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastUse(pub(crate) u32);

impl LastUse {
    pub(crate) const fn at(second: Second, fetched: bool) -> Self {
        Self(second.0 | if fetched { FETCHED } else { 0 })
    }

    pub(crate) const fn seen(self, now: Second) -> Use {
        Use { last: self, now }
    }
}

/// A second since the store was made: 31 bits of them are 68 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Second(u32);

impl Second {
    pub(crate) fn of(now_ms: u64, created_ms: u64) -> Self {
        Self((now_ms.saturating_sub(created_ms) / 1000).min(u64::from(FETCHED - 1)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_count_from_when_the_store_was_made_and_stay_at_the_last() {
        let at = |now_ms| Second::of(now_ms, 5_000);
        let shown = |written, fetched, now| {
            let seen = LastUse::at(at(written), fetched).seen(at(now));
            (seen.fetched(), seen.idle_s())
        };
        assert_eq!(shown(5_999, false, 8_000), (false, 3));
        assert_eq!(shown(8_000, true, 7_000), (true, 0));
        assert_eq!(shown(u64::MAX, true, u64::MAX), (true, 0));
        assert_eq!(shown(0, false, 0), (false, 0));
        assert_eq!((Use::NONE.fetched(), Use::NONE.idle_s()), (false, 0));
    }
}
