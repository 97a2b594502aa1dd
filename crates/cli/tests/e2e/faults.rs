//! Nodes that die or hang under load. The bars are promises: every answer in time, none of them wrong.

use std::time::Duration;

use annulus_bench::Report;
use annulus_testkit::{Cluster, MetricsPage, Shape, eventually, path_of};
use tokio::time::Instant;

use crate::support::{BINARY, bench};

const KEYS: usize = 2000;
/// Requests a second.
const RATE: usize = 500;

async fn start() -> Cluster {
    Shape::default().processes(BINARY).await.expect("a cluster starts")
}

/// A verified load through both masters at a fixed rate, with every key stored before.
fn load(cluster: &Cluster, seconds: u32) -> impl Future<Output = Report> + use<> {
    let urls = format!("{},{}", cluster.url(0), cluster.url(1));
    let flags = format!(
        "--preload --verify --keys {KEYS} --rate {RATE} --duration {seconds}s --warm-up 1s --connections 32 \
         --read-ratio 0.8 --value-size 100 --timeout 3s"
    );
    async move { bench(&urls, &flags).await }
}

/// Requests that both masters have answered.
async fn answered(cluster: &Cluster) -> usize {
    let mut answered = 0;
    for master in 0..2 {
        let page = MetricsPage::parse(cluster.client(master).get("/metrics").await.text());
        answered += page.sum("annulus_requests_total") as usize;
    }
    answered
}

/// Waits until so many more requests are answered: at a fixed rate, a time.
async fn answered_more(cluster: &Cluster, requests: usize) {
    let goal = answered(cluster).await + requests;
    let limit = Duration::from_secs(10 + (requests / RATE) as u64);
    eventually("the load is answered", limit, async || answered(cluster).await >= goal).await;
}

fn assert_nothing_was_noticed(report: &Report, slowest: Duration) {
    let latency = report.latency[0].percentiles;
    let found = report.verification.as_ref().expect("a verified run");
    println!(
        "{} requests, {} errors, {found:?}, p99 {} us, slowest {} us, generator late by {:?}",
        report.totals.requests,
        report.totals.errors,
        latency.p99_us,
        latency.max_us,
        report.generator_lateness
    );
    assert_eq!(report.totals.errors, 0, "{}", report.render_table());
    assert_eq!((found.stale, found.corrupt, found.misses_of_written_keys), (0, 0, 0));
    assert!(u128::from(latency.max_us) < slowest.as_micros(), "{}", report.render_table());
}

async fn every_key_is_a_hit(cluster: &Cluster) {
    for n in 0..KEYS {
        let read = cluster.client(n % 2).get(path_of(format!("key-{n:012}"))).await;
        assert_eq!(read.status, 200, "key {n}: {}", read.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_an_auxiliary_under_load_is_noticed_by_nobody() {
    let mut cluster = start().await;
    let load = tokio::spawn(load(&cluster, 8));
    answered_more(&cluster, KEYS + 3 * RATE).await;
    cluster.kill_auxiliary(1);
    let report = load.await.expect("the load ends");
    assert_nothing_was_noticed(&report, Duration::from_millis(300));
    every_key_is_a_hit(&cluster).await;
    cluster.auxiliary_mut(1).restart().await.expect("it comes back");
    for master in 0..2 {
        cluster.all_up(master, Duration::from_secs(5)).await;
    }
    every_key_is_a_hit(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auxiliary_that_hangs_for_ten_seconds_is_noticed_by_nobody() {
    let cluster = start().await;
    let load = tokio::spawn(load(&cluster, 15));
    answered_more(&cluster, KEYS + 2 * RATE).await;
    cluster.auxiliaries()[2].stop();
    answered_more(&cluster, 10 * RATE).await;
    cluster.auxiliaries()[2].resume();
    let report = load.await.expect("the load ends");
    assert_nothing_was_noticed(&report, Duration::from_millis(400));
    for master in 0..2 {
        cluster.all_up(master, Duration::from_secs(5)).await;
    }
    every_key_is_a_hit(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_two_auxiliaries_away_every_request_is_answered_in_time_and_says_why() {
    let mut cluster = start().await;
    cluster.client(0).store("k", "v").await;
    cluster.auxiliaries()[0].stop();
    cluster.kill_auxiliary(1);
    let client = cluster.client(0);
    for n in 0..5 {
        let started = Instant::now();
        let read = client.request("GET", path_of(format!("{n}"))).header("x-deadline-ms", "400").send().await;
        let write =
            client.request("PUT", path_of(format!("{n}"))).header("x-deadline-ms", "400").send().await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        for answer in [read, write] {
            assert!(matches!(answer.status, 503 | 504), "{}", answer.text());
            assert_eq!(answer.header("retry-after").is_some(), answer.status == 503);
        }
    }
    cluster.auxiliaries()[0].resume();
    let reads = async || client.get("/data/k").await.status == 200;
    eventually("two of three are enough again", Duration::from_secs(5), reads).await;
    assert_eq!(client.get("/health").await.json()["status"], "ok");
}

#[tokio::test]
async fn a_node_that_is_told_to_stop_finishes_and_exits_without_an_error() {
    let mut cluster = start().await;
    cluster.client(0).store("k", "v").await;
    let master = cluster.master_mut(0).terminate(Duration::from_secs(5)).await;
    let auxiliary = cluster.auxiliary_mut(0).terminate(Duration::from_secs(5)).await;
    assert!(master.success() && auxiliary.success(), "{master} {auxiliary}");
    assert_eq!(cluster.client(1).get("/data/k").await.json()["value"], "v");
}
