//! Wall clocks that are wrong, or jump.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use annulus_protocol::Version;
use annulus_testkit::{Cluster, Shape, eventually, path_of};

use crate::keys::Keys;
use crate::support::{BINARY, Load};

/// Requests a second.
const RATE: usize = 200;
const LOAD: Load = Load { keys: 500, rate: RATE };
const HOUR: i64 = 3600;

async fn start() -> Cluster {
    let shape = Shape::default().redis().disks().clocks().set("auxiliary.backup_interval", "24h");
    shape.processes(BINARY).await.expect("a cluster starts")
}

#[expect(clippy::disallowed_methods, reason = "the clock of the test is the one that is right")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_millis() as i64
}

/// Checks by how many seconds an auxiliary goes ahead of the time, by the snapshot that it takes now.
async fn is_ahead_by(cluster: &Cluster, auxiliary: usize, seconds: i64) {
    let answer = cluster.auxiliaries()[auxiliary].client().request("POST", "/backup").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let created_ms = answer.json()["created_ms"].as_i64().expect("a time");
    let ahead_ms = created_ms - now_ms();
    assert!((ahead_ms - 1000 * seconds).abs() < 60_000, "{ahead_ms} ms ahead, not {seconds} s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wall_clock_that_jumps_by_an_hour_expires_nothing_early_and_hides_nothing() {
    let mut cluster = start().await;
    // Gone within the hour, for whoever believes the clock.
    let mut keys = Keys::new("k", 0..1000, "kept").with_ttl(2, 1800);
    keys.store(cluster.client(0)).await;
    let load = LOAD.start(&cluster).await;
    for (started_with, jump) in [(0, HOUR), (HOUR, -HOUR)] {
        cluster.set_clock("aux-2", jump);
        LOAD.answered_more(&cluster, 2 * RATE).await;
        keys.are_right(&cluster).await;
        is_ahead_by(&cluster, 1, started_with).await;

        // The next life believes the clock that it finds.
        cluster.kill_auxiliary(1);
        cluster.restart(1).await.expect("it comes back");
        cluster.settled().await;
        is_ahead_by(&cluster, 1, jump).await;
        keys.are_right(&cluster).await;

        // What it holds is what others get from it.
        for other in [0, 2] {
            cluster.kill_auxiliary(other);
            cluster.restart(other).await.expect("it comes back");
            cluster.settled().await;
            keys.are_right(&cluster).await;
        }
    }
    load.ends_well(&cluster).await;
    keys.are_right(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_masters_whose_clocks_are_ten_seconds_wrong_either_writes_what_everybody_reads_next() {
    let mut cluster = start().await;
    for (master, seconds) in [(0, 10), (1, -10)] {
        cluster.set_clock(&format!("master-{}", master + 1), seconds);
        cluster.master_mut(master).respawn().await.expect("it starts again");
        cluster.masters()[master].ready().await;
    }
    cluster.settled().await;
    for (master, seconds) in [(1, -10_i64), (0, 10)] {
        let version = cluster.client(master).store(&format!("first-{master}"), "v").await;
        let version = Version(version.parse().expect("a version"));
        let ahead_ms = version.unix_ms() as i64 - now_ms();
        assert!((ahead_ms - 1000 * seconds).abs() < 5000, "master {master} is {ahead_ms} ms ahead");
    }
    for round in 0..100 {
        let (writer, other) = (cluster.client(round % 2), cluster.client(1 - round % 2));
        let (key, value) = (format!("k{}", round % 7), format!("v{round}"));
        writer.store(&key, &value).await;
        for reader in [other, writer] {
            assert_eq!(reader.get(path_of(&key)).await.json()["value"], *value, "round {round}");
        }
        if round % 3 == 0 {
            assert_eq!(other.request("DELETE", path_of(&key)).send().await.status, 200, "round {round}");
            for reader in [writer, other] {
                assert_eq!(reader.get(path_of(&key)).await.status, 404, "round {round}");
            }
        }
    }
    let mut keys = Keys::new("t", 0..200, "v").with_ttl(1, 600);
    keys.store(cluster.client(0)).await;
    keys.are_right(&cluster).await;
    keys.store(cluster.client(1)).await;
    keys.are_right(&cluster).await;
    let load = LOAD.start(&cluster).await;
    LOAD.answered_more(&cluster, 3 * RATE).await;
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

/// What a short time to live is worth on a node whose clock is an hour wrong: no more and no less than on the others.
#[tokio::test]
async fn on_a_node_whose_clock_is_wrong_everything_ends_when_it_should() {
    const TTL: u64 = 3;
    let mut cluster = start().await;
    for (n, jump) in [(1, HOUR), (2, -HOUR)] {
        cluster.set_clock(&format!("aux-{n}"), jump);
        cluster.restart(n - 1).await.expect("it comes back");
        cluster.settled().await;
    }
    let mut keys = Keys::new("k", 0..300, "short").with_ttl(1, TTL);
    keys.store(cluster.client(0)).await;
    keys.are_right(&cluster).await;
    let stored = tokio::time::Instant::now();
    let gone = async || cluster.client(1).read_many(&keys.names()).await.is_empty();
    eventually("all are gone", Duration::from_secs(TTL + 1), gone).await;
    assert!(stored.elapsed() > Duration::from_secs(TTL - 1), "they went early");
}
