//! Restarts one after the other, with and without what was there before, and what must not come back by them.

use std::time::Duration;

use annulus_testkit::{Cluster, Shape, path_of};
use tokio::time::Instant;

use crate::support::{BINARY, Load, assert_all_well};

const RATE: usize = 300;
const LOAD: Load = Load { keys: 1500, rate: RATE };

async fn start(shape: Shape) -> Cluster {
    let shape = shape.redis().lease_ttl("3s").set("auxiliary.backup_interval", "24h");
    shape.processes(BINARY).await.expect("a cluster starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_turns_no_hit_into_a_miss() {
    let mut cluster = start(Shape::default().disks()).await;
    let load = tokio::spawn(LOAD.run(&cluster, 20));
    LOAD.answered_more(&cluster, LOAD.keys + RATE).await;
    for auxiliary in 0..3 {
        cluster.drain(auxiliary).await;
        cluster.restart(auxiliary).await.expect("it comes back");
        cluster.settled().await;
    }
    assert_all_well(&load.await.expect("the load ends"));
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_by_kill_and_without_disks() {
    let mut cluster = start(Shape::default()).await;
    let load = tokio::spawn(LOAD.run(&cluster, 20));
    LOAD.answered_more(&cluster, LOAD.keys + RATE).await;
    for auxiliary in 0..3 {
        cluster.kill_auxiliary(auxiliary);
        cluster.restart(auxiliary).await.expect("it comes back");
        cluster.settled().await;
    }
    assert_all_well(&load.await.expect("the load ends"));
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test]
async fn an_old_snapshot_brings_nothing_back() {
    const EACH: usize = 50;
    let mut cluster = start(Shape::default().disks()).await;
    let client = cluster.client(0);
    for n in 0..2 * EACH {
        client.store(&format!("k{n}"), "old").await;
    }
    for auxiliary in cluster.auxiliaries() {
        assert_eq!(auxiliary.client().request("POST", "/backup").send().await.status, 200);
    }
    for round in 0..20 {
        let now = format!("new-{round}");
        for n in 0..EACH {
            client.store(&format!("k{n}"), &now).await;
            let deleted = path_of(format!("k{}", EACH + n));
            let answer = client.request("DELETE", &deleted).send().await;
            assert!([200, 404].contains(&answer.status), "{}", answer.text());
        }
        let auxiliary = round % 3;
        cluster.kill_auxiliary(auxiliary);
        cluster.restart(auxiliary).await.expect("it comes back");
        cluster.settled().await;
        for n in 0..EACH {
            let read = cluster.client(n % 2).get(path_of(format!("k{n}"))).await;
            assert_eq!(
                (read.status, &read.json()["value"]),
                (200, &now.as_str().into()),
                "k{n}, round {round}"
            );
            let deleted = cluster.client(n % 2).get(path_of(format!("k{}", EACH + n))).await;
            assert_eq!(deleted.status, 404, "round {round}: {}", deleted.text());
        }
    }
}

#[tokio::test]
async fn a_time_to_live_is_neither_lost_nor_longer_after_a_kill_a_restart_a_move_and_a_restore() {
    const TTL: u64 = 45;
    const KEYS: usize = 200;
    let mut cluster = start(Shape::default().disks()).await;
    let before = Instant::now();
    for n in 0..KEYS {
        let document = serde_json::json!({ "key": format!("k{n}"), "value": "v", "ttl": TTL });
        assert_eq!(cluster.client(0).post("/data", &document).await.status, 200);
    }
    let after = Instant::now();
    for auxiliary in cluster.auxiliaries() {
        assert_eq!(auxiliary.client().request("POST", "/backup").send().await.status, 200);
    }
    cluster.kill_auxiliary(0);
    cluster.restart(0).await.expect("it comes back");
    cluster.settled().await;
    cluster.add().await.expect("one more joins");
    cluster.settled().await;
    cluster.drain(1).await;
    cluster.settled().await;
    assert_eq!(cluster.client(0).request("POST", "/restore").send().await.status, 200);
    for n in 0..KEYS {
        let asked = Instant::now();
        let read = cluster.client(n % 2).get(path_of(format!("k{n}"))).await;
        let left =
            read.json()["ttl"].as_f64().unwrap_or_else(|| panic!("k{n} has lost its time: {}", read.text()));
        let least = TTL as f64 - before.elapsed().as_secs_f64() - 1.0;
        let most = TTL as f64 - (asked - after).as_secs_f64() + 1.0;
        assert!((least..=most).contains(&left), "k{n} has {left} s left, not {least} to {most}");
    }
    tokio::time::sleep_until(after + Duration::from_secs(TTL + 1)).await;
    for n in 0..KEYS {
        assert_eq!(cluster.client(n % 2).get(path_of(format!("k{n}"))).await.status, 404, "k{n}");
    }
}
