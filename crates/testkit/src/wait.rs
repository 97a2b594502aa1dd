//! Waiting for what holds sooner or later.

use std::time::Duration;

use tokio::time::Instant;

/// How often a condition is looked at: often enough that a test is not slower for it, rarely enough to cost nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, and returns how long that took.
///
/// # Panics
/// Where it does not hold within `limit`; `what` says what was waited for.
pub async fn eventually(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> Duration {
    let started = Instant::now();
    loop {
        if condition().await {
            return started.elapsed();
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_is_asked_until_it_holds() {
        let mut asked = 0;
        let condition = async || {
            asked += 1;
            asked == 3
        };
        eventually("asked three times", Duration::from_secs(5), condition).await;
        assert_eq!(asked, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "pigs fly")]
    async fn what_was_waited_for_stands_in_the_panic() {
        eventually("pigs fly", Duration::from_millis(20), async || false).await;
    }
}
