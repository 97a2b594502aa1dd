//! How a node holds an entry: when it was last used here, whether it was read since it was written, and in what role it was
//! taken. What a node knows for itself.

use crate::api::Holding;

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
        self.now.0.saturating_sub(self.last.0 & SECONDS)
    }
}

/// Marks an entry that was read.
const FETCHED: u32 = 1 << 31;

/// Marks an entry that was taken as a spare.
const SPARE: u32 = 1 << 30;

/// The rest.
const SECONDS: u32 = SPARE - 1;

/// Seconds since the store was made, [`FETCHED`] and [`SPARE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastUse(pub(crate) u32);

impl LastUse {
    /// As it is taken.
    pub(crate) const fn new(second: Second, holding: Holding) -> Self {
        let fetched = if holding.fetched { FETCHED } else { 0 };
        let spare = if holding.role.takes_as_spare() { SPARE } else { 0 };
        Self(second.0 | fetched | spare)
    }

    /// As it is read.
    pub(crate) const fn read_at(self, second: Second) -> Self {
        Self(second.0 | FETCHED | self.0 & SPARE)
    }

    pub(crate) const fn is_spare(self) -> bool {
        self.0 & SPARE != 0
    }

    pub(crate) const fn with_spare(self, spare: bool) -> Self {
        Self(self.0 & !SPARE | if spare { SPARE } else { 0 })
    }

    pub(crate) const fn seen(self, now: Second) -> Use {
        Use { last: self, now }
    }
}

/// A second since the store was made: 30 bits of them are 34 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Second(u32);

impl Second {
    pub(crate) fn of(now_ms: u64, created_ms: u64) -> Self {
        Self((now_ms.saturating_sub(created_ms) / 1000).min(u64::from(SECONDS)) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn seconds_count_from_when_the_store_was_made_and_stay_at_the_last() {
        let at = |now_ms| Second::of(now_ms, 5_000);
        let shown = |written, fetched, now| {
            let seen = LastUse::new(at(written), Holding { fetched, role: Role::Spare }).seen(at(now));
            (seen.fetched(), seen.idle_s())
        };
        assert_eq!(shown(5_999, false, 8_000), (false, 3));
        assert_eq!(shown(8_000, true, 7_000), (true, 0));
        assert_eq!(shown(u64::MAX, true, u64::MAX), (true, 0));
        assert_eq!(shown(0, false, 0), (false, 0));
        assert_eq!((Use::NONE.fetched(), Use::NONE.idle_s()), (false, 0));
    }

    #[test]
    fn the_role_outlasts_a_read() {
        let spare = LastUse::new(Second(9), Holding { fetched: false, role: Role::Spare });
        let read = spare.read_at(Second(SECONDS));
        assert!(spare.is_spare() && read.is_spare() && read.seen(Second(SECONDS)).fetched());
        assert_eq!(read.with_spare(false), LastUse(FETCHED | SECONDS));
        assert!(!LastUse::new(Second(9), Holding::default()).is_spare());
    }
}
