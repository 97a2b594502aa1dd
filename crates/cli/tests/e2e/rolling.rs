//! Restarts one after the other, with and without what was there before, and what must not come back by them.

use std::time::Duration;

use annulus_testkit::{Cluster, Shape, eventually, path_of};
use tokio::time::Instant;

use crate::keys::Keys;
use crate::support::{BINARY, Load, sized};

const RATE: usize = 300;
const LOAD: Load = Load { keys: 1500, rate: RATE };

async fn start(shape: Shape) -> Cluster {
    let shape = shape.redis().lease_ttl("3s").set("auxiliary.backup_interval", "24h");
    shape.processes(BINARY).await.expect("a cluster starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_turns_no_hit_into_a_miss() {
    let mut cluster = start(Shape::default().disks()).await;
    let load = LOAD.start(&cluster).await;
    for auxiliary in 0..3 {
        cluster.drain(auxiliary).await;
        cluster.restart(auxiliary).await.expect("it comes back");
        cluster.settled().await;
    }
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_does_one_by_kill_and_without_disks() {
    let mut cluster = start(Shape::default()).await;
    let load = LOAD.start(&cluster).await;
    for auxiliary in 0..3 {
        cluster.kill_auxiliary(auxiliary);
        cluster.restart(auxiliary).await.expect("it comes back");
        cluster.settled().await;
    }
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_restart_one_after_the_other_are_noticed_by_nobody() {
    let mut cluster = start(Shape::default()).await;
    let load = LOAD.start(&cluster).await;
    for round in 0..sized(4, 40) {
        let (master, other) = (round % 2, 1 - round % 2);
        let status = cluster.master_mut(master).terminate(Duration::from_secs(10)).await;
        assert!(status.success(), "{status}");
        LOAD.answered_more_by(&cluster, &[other], RATE).await;
        cluster.master_mut(master).restart().await.expect("it comes back");
    }
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_snapshot_brings_nothing_back() {
    const EACH: usize = 1000;
    let mut cluster = start(Shape::default().disks().set("log.level", "info")).await;
    for round in 0..sized(10, 100) {
        let (client, auxiliary) = (cluster.client(round % 2), round % 3);
        Keys::new("k", 0..2 * EACH, &format!("old-{round}")).store(client).await;
        let answer = cluster.auxiliaries()[auxiliary].client().request("POST", "/backup").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut overwritten = Keys::new("k", 0..EACH, &format!("new-{round}"));
        overwritten.store(client).await;
        let mut deleted = Keys::new("k", EACH..2 * EACH, "");
        deleted.delete(client).await;

        let watches = [overwritten.watch(&cluster), deleted.watch(&cluster)];
        cluster.kill_auxiliary(auxiliary);
        cluster.restart(auxiliary).await.expect("it comes back");
        assert!(cluster.auxiliaries()[auxiliary].log().contains("found a snapshot"));
        cluster.settled().await;
        for watch in watches {
            assert!(watch.ends().await > 0);
        }
        overwritten.are_right(&cluster).await;
        deleted.are_right(&cluster).await;
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
    let limit = Duration::from_secs(TTL + 1).saturating_sub(after.elapsed());
    let all_gone = async || {
        for n in 0..KEYS {
            if cluster.client(n % 2).get(path_of(format!("k{n}"))).await.status != 404 {
                return false;
            }
        }
        true
    };
    eventually("all are gone", limit, all_gone).await;
}
