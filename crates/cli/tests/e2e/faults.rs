//! Nodes that die or hang under load. The bars are promises: every answer in time, none of them wrong.

use std::time::Duration;

use annulus_testkit::{Cluster, Shape, eventually, path_of};
use tokio::time::Instant;

use crate::support::{BINARY, Load, assert_slowest, sized};

/// Requests a second.
const RATE: usize = 500;

fn mixed() -> Load {
    Load { keys: sized(2_000, 10_000), rate: RATE }
}

async fn start() -> Cluster {
    Shape::default().processes(BINARY).await.expect("a cluster starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_an_auxiliary_under_load_is_noticed_by_nobody() {
    let mut cluster = start().await;
    let load = mixed().start(&cluster).await;
    cluster.kill_auxiliary(1);
    mixed().answered_more(&cluster, 4 * RATE).await;
    assert_slowest(&load.ends_well(&cluster).await, Duration::from_millis(300));
    mixed().is_all_there(&cluster).await;
    cluster.auxiliary_mut(1).restart().await.expect("it comes back");
    for master in 0..2 {
        cluster.all_up(master, Duration::from_secs(5)).await;
    }
    mixed().is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auxiliary_that_hangs_for_ten_seconds_is_noticed_by_nobody() {
    let cluster = start().await;
    let load = mixed().start(&cluster).await;
    cluster.auxiliaries()[2].stop();
    mixed().answered_more(&cluster, 10 * RATE).await;
    cluster.auxiliaries()[2].resume();
    mixed().answered_more(&cluster, 2 * RATE).await;
    assert_slowest(&load.ends_well(&cluster).await, Duration::from_millis(400));
    for master in 0..2 {
        cluster.all_up(master, Duration::from_secs(5)).await;
    }
    mixed().is_all_there(&cluster).await;
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
