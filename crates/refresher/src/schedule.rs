//! When a dataset is refreshed next: what happened goes in, a time comes out.

use std::time::Duration;

use annulus_service::config::DatasetSettings;

/// The longest that an upstream may ask to be left alone for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The times of one dataset, in milliseconds of a steady clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    interval_ms: u64,
    backoff_ms: u64,
    max_backoff_ms: u64,
    next_ms: u64,
    failures: u32,
}

impl Schedule {
    /// Due at once.
    pub fn new(settings: &DatasetSettings) -> Self {
        let ms = |duration: Duration| duration.as_millis() as u64;
        Self {
            interval_ms: ms(settings.refresh_interval),
            backoff_ms: ms(settings.backoff),
            max_backoff_ms: ms(settings.max_backoff),
            next_ms: 0,
            failures: 0,
        }
    }

    /// When it is due.
    pub fn next_ms(&self) -> u64 {
        self.next_ms
    }

    /// How often in a row it has failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// A term begins. The last leader found the dataset up to date so long ago, `None`: never. What this replica knows of an
    /// upstream that fails still counts, or a lease that comes and goes would call it without a pause.
    pub fn resume(&mut self, now_ms: u64, checked_ago: Option<Duration>) {
        let left_ms = checked_ago.map_or(0, |ago| self.interval_ms.saturating_sub(ago.as_millis() as u64));
        let from_failures = if self.failures > 0 { self.next_ms } else { 0 };
        self.next_ms = (now_ms + left_ms).max(from_failures);
    }

    /// A refresh that began at `began_ms` went well.
    pub fn succeeded(&mut self, began_ms: u64) {
        self.failures = 0;
        self.next_ms = began_ms + self.interval_ms;
    }

    /// A refresh failed. Pauses double up to the longest one, less up to half of each: `random` is from 0 to 1. An upstream
    /// that says how long to wait is left alone so long.
    pub fn failed(&mut self, now_ms: u64, retry_after: Option<Duration>, random: f64) {
        let doubled = self.backoff_ms.saturating_mul(1 << self.failures.min(30));
        let pause_ms = doubled.min(self.max_backoff_ms.max(self.backoff_ms));
        let jittered_ms = pause_ms - (pause_ms as f64 / 2.0 * random.clamp(0.0, 1.0)) as u64;
        let asked_ms = retry_after.map_or(0, |asked| asked.min(MAX_RETRY_AFTER).as_millis() as u64);
        self.failures = self.failures.saturating_add(1);
        self.next_ms = now_ms + jittered_ms.max(asked_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule() -> Schedule {
        let mut settings = DatasetSettings::new("rates", "http://h/");
        settings.refresh_interval = Duration::from_secs(60);
        settings.backoff = Duration::from_secs(1);
        settings.max_backoff = Duration::from_secs(10);
        Schedule::new(&settings)
    }

    #[test]
    fn refreshes_follow_one_another_from_begin_to_begin() {
        let mut schedule = schedule();
        assert_eq!(schedule.next_ms(), 0);
        schedule.succeeded(5_000);
        assert_eq!(schedule.next_ms(), 65_000);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_lose_at_most_half() {
        let pauses = |random: f64| {
            let mut schedule = schedule();
            [(); 6].map(|()| {
                schedule.failed(1_000, None, random);
                schedule.next_ms() - 1_000
            })
        };
        assert_eq!(pauses(0.0), [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(pauses(1.0), [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        let mut schedule = schedule();
        schedule.failed(0, None, 0.0);
        schedule.succeeded(1_000);
        schedule.failed(0, None, 0.0);
        assert_eq!((schedule.next_ms(), schedule.failures()), (1_000, 1), "a success starts the count anew");
    }

    #[test]
    fn who_asks_to_be_left_alone_is_within_an_hour() {
        let mut schedule = schedule();
        let after = |schedule: &mut Schedule, seconds| {
            schedule.failed(0, Some(Duration::from_secs(seconds)), 0.0);
            schedule.next_ms()
        };
        assert_eq!(after(&mut schedule, 30), 30_000);
        assert_eq!(after(&mut schedule, 0), 2_000, "never less than the backoff");
        assert_eq!(after(&mut schedule, u64::MAX), 3_600_000);
    }

    #[test]
    fn a_new_leader_goes_on_where_the_last_one_was() {
        let mut schedule = schedule();
        schedule.resume(1_000, Some(Duration::from_secs(20)));
        assert_eq!(schedule.next_ms(), 41_000);
        schedule.resume(1_000, Some(Duration::from_secs(90)));
        assert_eq!(schedule.next_ms(), 1_000);
        schedule.resume(1_000, None);
        assert_eq!(schedule.next_ms(), 1_000);
        schedule.failed(1_000, Some(Duration::from_secs(100)), 0.0);
        schedule.resume(2_000, None);
        assert_eq!(schedule.next_ms(), 101_000, "an upstream that asked for a pause gets it all the same");
    }
}
