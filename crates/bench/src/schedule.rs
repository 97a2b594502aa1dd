//! The open loop's arrivals: request `i` is meant to start `i / rate` after the first, whatever happened to the others.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    rate_per_s: f64,
}

impl Schedule {
    pub(crate) fn new(rate_per_s: f64) -> Self {
        Self { rate_per_s }
    }

    /// When request `index` is meant to start, since the schedule's start.
    pub(crate) fn intended(self, index: u64) -> Duration {
        Duration::from_nanos((index as f64 * 1e9 / self.rate_per_s) as u64)
    }

    /// How many requests are due once `elapsed` has passed; the first is due at once.
    pub(crate) fn due(self, elapsed: Duration) -> u64 {
        let guess = (elapsed.as_secs_f64() * self.rate_per_s) as u64;
        // Floating point may be one off; `intended` decides.
        let mut due = guess.saturating_sub(1);
        while self.intended(due) <= elapsed {
            due += 1;
        }
        due
    }

    /// How many requests are meant to start before `moment`.
    pub(crate) fn before(self, moment: Duration) -> u64 {
        moment.checked_sub(Duration::from_nanos(1)).map_or(0, |elapsed| self.due(elapsed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_keep_the_rate_without_drift() {
        let schedule = Schedule::new(3000.0);
        assert_eq!(schedule.intended(0), Duration::ZERO);
        assert_eq!(schedule.intended(3000 * 3600), Duration::from_secs(3600));
        assert_eq!(schedule.due(Duration::ZERO), 1);
        assert_eq!(schedule.due(Duration::from_secs(2)), 6001);
        assert_eq!((schedule.before(Duration::ZERO), schedule.before(Duration::from_secs(2))), (0, 6000));
    }

    #[test]
    fn a_request_is_due_exactly_from_its_intended_start() {
        for rate in [0.5, 7.0, 999.9, 123_456.0] {
            let schedule = Schedule::new(rate);
            for index in [1, 2, 10, 999, 1_000_003] {
                let start = schedule.intended(index);
                assert_eq!(schedule.due(start), index + 1, "rate {rate}, request {index}");
                assert_eq!(
                    schedule.due(start.saturating_sub(Duration::from_nanos(1))),
                    index,
                    "rate {rate}, {index}"
                );
            }
        }
    }
}
