//! Seventy replicas, one of which polls.

use std::time::Duration;

use annulus_testkit::eventually;
use tokio::time::Instant;

use crate::support::{Group, LIMIT, NAME, Notices, Reply, Shape};

const REPLICAS: usize = 70;
const WINDOW: Duration = Duration::from_secs(60);
const INTERVAL_SECONDS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seventy_replicas_call_the_upstream_as_often_as_one_and_have_each_change_at_once() {
    let shape = Shape { ttl: "10s", check: "2s", interval: "2s", ..Shape::default() };
    let group = Group::start(shape, REPLICAS).await;
    let notices = Notices::listen(group.redis.address()).await;
    let revision = notices.next_after(Instant::now(), LIMIT).await.1;
    group.each_above(revision - 1, LIMIT).await;
    let (before, counts) = (lags(&group).await, group.upstream.count());
    let start = Instant::now();
    eventually("the window is over", 2 * WINDOW, async || start.elapsed() >= WINDOW).await;
    let calls = group.upstream.count() - counts;
    // What it is now stays.
    group.upstream.answer(Reply::Json("{\"last\":true}".to_owned()));
    let last = notices.next_after(Instant::now(), LIMIT).await.1;
    let end = group.all_above(last - 1, LIMIT).await;
    let after = lags(&group).await;

    let alone = WINDOW.as_secs() as usize / INTERVAL_SECONDS;
    let reduction = 100.0 * (1.0 - calls as f64 / (REPLICAS * alone.max(calls)) as f64);
    let (all, within) = (after.0 - before.0, after.1 - before.1);
    println!(
        "{REPLICAS} replicas, {WINDOW:?}: {calls} calls rather than {}, {reduction:.1} % fewer; \
         {all} syncs, {:.2} % of them within 250 ms, mean {:.1} ms; all at revision {end}",
        REPLICAS * alone.max(calls),
        100.0 * within / all,
        1000.0 * (after.2 - before.2) / all,
    );
    assert!(calls <= 31, "{calls} calls");
    assert!(reduction >= 98.55, "{reduction} % fewer calls");
    assert!(all >= (REPLICAS * (calls - 2)) as f64, "{all} syncs of {calls} changes");
    assert!(within >= 0.99 * all, "{within} of {all} syncs within 250 ms");
    notices.rising();
}

/// Syncs of all replicas, those within 250 ms, and the sum of their lags in seconds.
async fn lags(group: &Group) -> (f64, f64, f64) {
    let mut lags = (0.0, 0.0, 0.0);
    for at in 0..group.replicas.len() {
        let page = group.metrics(at).await;
        let value = |of: &str| page.value(&format!("annulus_sync_lag_seconds_{of}"));
        lags.0 += value(&format!("count{{dataset=\"{NAME}\"}}"));
        lags.1 += value(&format!("bucket{{dataset=\"{NAME}\",le=\"0.25\"}}"));
        lags.2 += value(&format!("sum{{dataset=\"{NAME}\"}}"));
    }
    lags
}
