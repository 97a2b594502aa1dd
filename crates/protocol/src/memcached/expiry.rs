//! Times on the wire.

/// More seconds than this are a date.
const MAX_RELATIVE_S: i64 = 30 * 24 * 60 * 60;

/// When an operation takes place. An argument, as all time here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
}

/// An expiry as a client writes it, in seconds: 0 never, negative at once, up to thirty days from now on, above that
/// since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exptime(pub i32);

/// How long an item is to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// It does not expire.
    Never,
    /// So many milliseconds, 1 or more.
    Ms(u64),
    /// It is over already.
    Over,
}

impl Exptime {
    /// What is left of it at `now`.
    pub fn ttl(self, now: Now) -> Ttl {
        let seconds = i64::from(self.0);
        let left_ms = match seconds {
            0 => return Ttl::Never,
            ..0 => 0,
            1..=MAX_RELATIVE_S => seconds * 1000,
            _ => seconds * 1000 - i64::try_from(now.unix_ms).unwrap_or(i64::MAX),
        };
        u64::try_from(left_ms).ok().filter(|left| *left > 0).map_or(Ttl::Over, Ttl::Ms)
    }
}

impl Ttl {
    /// For an item that lives: `None` for one that does not expire.
    pub fn left_ms(self) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::Ms(ms) => Some(ms),
            Self::Over => Some(0),
        }
    }

    /// Whether nothing is to be kept at all.
    pub fn is_over(self) -> bool {
        self == Self::Over
    }
}

/// Milliseconds left as the seconds of an answer: a living item has at least one.
pub(super) fn seconds_left(ms: u64) -> u64 {
    ms.div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_never_over_relative_or_a_date() {
        let now = Now { unix_ms: 1_800_000_000_500 };
        for (seconds, ttl) in [
            (0, Ttl::Never),
            (-1, Ttl::Over),
            (i32::MIN, Ttl::Over),
            (1, Ttl::Ms(1000)),
            (2_592_000, Ttl::Ms(2_592_000_000)),
            (2_592_001, Ttl::Over),
            (1_800_000_000, Ttl::Over),
            (1_800_000_001, Ttl::Ms(500)),
            (i32::MAX, Ttl::Ms(347_483_646_500)),
        ] {
            assert_eq!(Exptime(seconds).ttl(now), ttl, "{seconds}");
        }
    }

    #[test]
    fn seconds_left_are_rounded_up_so_that_what_lives_shows_one_at_least() {
        assert_eq!([1, 999, 1000, 1001].map(seconds_left), [1, 1, 1, 2]);
    }
}
