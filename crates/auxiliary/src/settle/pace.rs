//! How fast data moves.

use std::time::Duration;

use annulus_service::config::AuxiliarySettings;

/// Bytes a second below which nothing is slowed for [`Pace::spread`].
const GENTLE_RATE: u64 = 4 << 20;

/// How fast data moves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) bytes_per_second: u64,
    /// Percent of the time spent on it at most.
    pub(crate) share: u32,
    /// How long what a view moves should take, if it could be moved in less.
    pub(crate) spread: Duration,
}

/// What has been done since the last rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) took: Duration,
    pub(crate) bytes: usize,
}

/// How far what a view moves is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// Entries that are done, of so many; of 0 where that is not known.
    pub(crate) done: u64,
    pub(crate) of: u64,
    /// Since the first of them.
    pub(crate) elapsed: Duration,
}

impl Pace {
    pub(crate) fn of(settings: &AuxiliarySettings) -> Self {
        let AuxiliarySettings { settle_rate, settle_share, settle_spread, .. } = settings;
        Self { bytes_per_second: *settle_rate as u64, share: *settle_share, spread: *settle_spread }
    }

    /// How long to rest, so that no more bytes go out and no more time is spent than is allowed, and so that clients notice
    /// little.
    pub(crate) fn rest(&self, work: Work, way: Way) -> Duration {
        let share = self.share.clamp(1, 100);
        let by_share = work.took * (100 - share) / share;
        let by_rate = time_of(work.bytes, self.bytes_per_second).saturating_sub(work.took);
        let part = if way.of == 0 { 0.0 } else { way.done.min(way.of) as f64 / way.of as f64 };
        let gentle = time_of(work.bytes, GENTLE_RATE).saturating_sub(work.took);
        let by_spread = self.spread.mul_f64(part).saturating_sub(way.elapsed).min(gentle);
        by_share.max(by_rate).max(by_spread)
    }
}

/// How long so many bytes take.
fn time_of(bytes: usize, per_second: u64) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / per_second.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { bytes_per_second: 64 << 20, share: 75, spread: Duration::from_secs(5) };
    const MIB: usize = 1 << 20;

    const NOTHING_KNOWN: Way = Way { done: 0, of: 0, elapsed: Duration::ZERO };

    fn work(took_ms: u64, bytes: usize) -> Work {
        Work { took: Duration::from_millis(took_ms), bytes }
    }

    fn way(done: u64, of: u64, elapsed_ms: u64) -> Way {
        Way { done, of, elapsed: Duration::from_millis(elapsed_ms) }
    }

    fn rest_ms(pace: &Pace, work: Work, way: Way) -> u128 {
        pace.rest(work, way).as_millis()
    }

    #[test]
    fn work_takes_its_share_of_the_time() {
        assert_eq!(rest_ms(&PACE, work(30, 0), NOTHING_KNOWN), 10);
        assert_eq!(rest_ms(&Pace { share: 100, ..PACE }, work(30, 0), NOTHING_KNOWN), 0);
    }

    #[test]
    fn bytes_leave_at_their_rate() {
        assert_eq!(rest_ms(&PACE, work(25, 64 * MIB), NOTHING_KNOWN), 975);
        assert_eq!(rest_ms(&PACE, work(25, MIB), NOTHING_KNOWN), 8, "the share is less by then");
    }

    #[test]
    fn what_a_view_moves_is_spread_over_its_time() {
        assert_eq!(rest_ms(&PACE, work(25, MIB), way(1_000, 50_000, 25)), 75, "a fiftieth of five seconds");
        assert_eq!(
            rest_ms(&PACE, work(150, MIB), way(1_000, 50_000, 150)),
            50,
            "late already: only its share"
        );
        assert_eq!(rest_ms(&PACE, work(25, MIB), way(5_000, 50_000, 600)), 8, "late as a whole");
        assert_eq!(
            rest_ms(&PACE, work(25, MIB), way(1_000, 2_000, 25)),
            225,
            "little moves at 4 MiB a second"
        );
        assert_eq!(rest_ms(&PACE, work(25, MIB), way(1_000, 10, 25)), 225, "more has been written meanwhile");
        let at_once = Pace { spread: Duration::ZERO, ..PACE };
        assert_eq!(rest_ms(&at_once, work(25, MIB), way(1_000, 50_000, 25)), 8);
    }
}
