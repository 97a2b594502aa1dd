//! The one place that reads a clock.

use std::time::{SystemTime, UNIX_EPOCH};

pub(crate) use tokio::time::Instant;

/// The monotonic clock that every latency is measured with.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The wall clock, in milliseconds, which dates a report and decides nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "a load generator measures real time; this is its only wall clock"
)]
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
