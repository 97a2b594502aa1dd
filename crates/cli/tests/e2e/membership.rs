//! Auxiliaries that join, die, come back, leave and are all gone at once, with a Redis that keeps the members.

use std::time::Duration;

use annulus_testkit::{Cluster, Direction, MetricsPage, Shape, eventually};
use tokio::time::Instant;

use crate::keys::Keys;
use crate::support::{BINARY, Load, sized};

const KEYS: usize = 1500;
/// Requests a second.
const RATE: usize = 300;
const LOAD: Load = Load { keys: KEYS, rate: RATE };

fn shape() -> Shape {
    Shape::default().redis().lease_ttl("3s").set("log.level", "info")
}

/// The requests of more than twice the time that a silent auxiliary stays a member; or of a minute.
fn longer_than_a_lease() -> usize {
    sized(7, 60) * RATE
}

async fn start(shape: Shape) -> Cluster {
    shape.processes(BINARY).await.expect("a cluster starts")
}

async fn store_all(cluster: &Cluster, value: &str) -> Keys {
    let mut keys = Keys::new("k", 0..KEYS, value);
    keys.store(cluster.client(0)).await;
    keys
}

/// A snapshot on every auxiliary.
async fn back_up(cluster: &Cluster) {
    for auxiliary in cluster.auxiliaries() {
        let answer = auxiliary.client().request("POST", "/backup").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn auxiliaries_that_only_know_redis_are_found_by_masters_that_only_know_redis() {
    let cluster = start(shape()).await;
    let (one, two) = (cluster.nodes(0).await, cluster.nodes(1).await);
    for field in ["epoch", "ring_fingerprint", "replicas"] {
        assert_eq!(one[field], two[field], "{field}");
    }
    assert_eq!(one["replicas"], 2);
    for (node, process) in one["nodes"].as_array().unwrap().iter().zip(cluster.auxiliaries()) {
        assert_eq!(node["address"], process.address().to_string());
        assert_eq!((&node["state"], &node["settled"]), (&"up".into(), &true.into()));
    }
    cluster.client(0).store("k", "v").await;
    assert_eq!(cluster.client(1).get("/data/k").await.json()["value"], "v");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_dies_under_load_is_made_up_for_and_comes_back_without_a_miss() {
    let mut cluster = start(shape()).await;
    let load = LOAD.start(&cluster).await;
    cluster.kill_auxiliary(1);
    cluster.settled().await;
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;

    // Two copies of each key stand on the two that are left, so either of them may go next.
    let load = LOAD.start(&cluster).await;
    cluster.restart(1).await.expect("it comes back");
    cluster.settled().await;
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
    cluster.kill_auxiliary(0);
    cluster.settled().await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_death_loses_nothing_once_no_key_lacks_a_copy() {
    let load = Load { keys: sized(2_000, 10_000), rate: RATE };
    let mut cluster = start(shape().auxiliaries(4)).await;
    for dead in [3, 1] {
        let running = load.start(&cluster).await;
        cluster.kill_auxiliary(dead);
        cluster.settled().await;
        running.ends_well(&cluster).await;
        for node in cluster.auxiliaries().iter().filter(|node| node.is_running()) {
            let page = MetricsPage::parse(node.client().get("/metrics").await.text());
            assert!(page.value("annulus_under_replicated_keys") < 1.0);
        }
        load.is_all_there(&cluster).await;
    }
}

/// After so many others, hardly a bucket has a floor that is not above what was written before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deaths_lose_nothing_after_many_other_keys_have_expired() {
    let mut cluster = start(shape().auxiliaries(4)).await;
    let keys = store_all(&cluster, "stays").await;
    for (round, dead) in [3, 1].into_iter().enumerate() {
        let mut others = Keys::new(&format!("other-{round}"), 0..20_000, "").with_ttl(1, 1);
        others.store(cluster.client(0)).await;
        let have_expired = async || cluster.items().await.iter().flatten().sum::<usize>() <= 2 * KEYS;
        eventually("the others have expired", Duration::from_secs(20), have_expired).await;
        cluster.kill_auxiliary(dead);
        keys.are_right(&cluster).await;
        cluster.settled().await;
        keys.are_right(&cluster).await;
    }
    cluster.restart(1).await.expect("it comes back");
    cluster.settled().await;
    cluster.kill_auxiliary(0);
    cluster.settled().await;
    keys.are_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_until_it_is_no_member_any_more_brings_nothing_old_back() {
    let cluster = start(shape()).await;
    let load = LOAD.start(&cluster).await;
    cluster.auxiliaries()[2].stop();
    let is_out = async || {
        let nodes = cluster.nodes(0).await;
        nodes["settled"] == true && nodes["nodes"].as_array().unwrap().len() == 2
    };
    eventually("the others go on without it", Duration::from_secs(30), is_out).await;
    LOAD.answered_more(&cluster, RATE).await;
    cluster.auxiliaries()[2].resume();
    cluster.settled().await;
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_and_adding_under_load_turns_no_hit_into_a_miss() {
    let mut cluster = start(shape()).await;
    let load = LOAD.start(&cluster).await;
    cluster.drain(2).await;
    cluster.settled().await;
    LOAD.answered_more(&cluster, RATE).await;
    cluster.restart(2).await.expect("it comes back");
    cluster.settled().await;
    LOAD.answered_more(&cluster, RATE).await;
    let index = cluster.add().await.expect("one more joins");
    cluster.settled().await;
    assert_eq!((index, cluster.nodes(0).await["nodes"].as_array().unwrap().len()), (3, 4));
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_dies_and_comes_back_empty_is_told_the_members_again() {
    let mut cluster = start(shape()).await;
    let before = cluster.nodes(0).await;
    let load = LOAD.start(&cluster).await;
    cluster.redis_mut().kill();
    LOAD.answered_more(&cluster, longer_than_a_lease()).await;
    cluster.redis_mut().restart().await.expect("it starts again");
    eventually("Redis holds the members again", Duration::from_secs(10), async || {
        cluster.redis_mut().has("annulus:roster").await
    })
    .await;
    LOAD.answered_more(&cluster, 7 * RATE).await;
    load.ends_well(&cluster).await;
    cluster.settled().await;
    assert_eq!(cluster.nodes(0).await["epoch"], before["epoch"], "somebody left and came back");
    LOAD.is_all_there(&cluster).await;

    // What was put back is worked with.
    cluster.kill_auxiliary(1);
    cluster.settled().await;
    assert!(cluster.nodes(0).await["epoch"].as_u64() > before["epoch"].as_u64());
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_is_noticed_by_nobody() {
    let mut cluster = start(shape()).await;
    let before = cluster.nodes(0).await;
    let load = LOAD.start(&cluster).await;
    cluster.redis_mut().stop();
    LOAD.answered_more(&cluster, longer_than_a_lease()).await;
    cluster.redis_mut().resume();
    LOAD.answered_more(&cluster, 7 * RATE).await;
    load.ends_well(&cluster).await;
    cluster.settled().await;
    assert_eq!(cluster.nodes(0).await["epoch"], before["epoch"], "somebody left and came back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_answers_after_two_seconds_is_noticed_by_nobody() {
    // As long as a lease is where nobody says otherwise.
    let cluster = start(shape().lease_ttl("10s")).await;
    let before = cluster.nodes(0).await;
    let load = LOAD.start(&cluster).await;
    cluster.redis_proxy().delay(Direction::ToClient, Duration::from_secs(2));
    LOAD.answered_more(&cluster, sized(12, 60) * RATE).await;
    cluster.redis_proxy().heal();
    LOAD.answered_more(&cluster, 2 * RATE).await;
    load.ends_well(&cluster).await;
    cluster.settled().await;
    assert_eq!(cluster.nodes(0).await["epoch"], before["epoch"], "somebody left and came back");
}

#[tokio::test]
async fn all_killed_at_once_come_back_with_what_their_last_snapshots_hold() {
    let mut cluster = start(shape().disks()).await;
    let kept = store_all(&cluster, "kept").await;
    back_up(&cluster).await;
    cluster.client(0).store("later", "perhaps lost").await;
    cluster.restart_auxiliaries().await.expect("they come back");
    cluster.settled().await;
    kept.are_right(&cluster).await;
    store_all(&cluster, "new").await.are_right(&cluster).await;
}

#[tokio::test]
async fn all_told_to_stop_at_once_end_soon_and_come_back_with_everything() {
    // Each has room for what is its own, and none for what all hold together: one must not push the others' entries out.
    let mut cluster =
        start(shape().disks().set("auxiliary.memory", "16Mi").set("auxiliary.cache_size", "1300")).await;
    let kept = store_all(&cluster, "kept").await;
    let told = Instant::now();
    cluster.drain_at_once(0..3).await;
    let took = told.elapsed();
    println!("all three have ended after {took:.1?}");
    // Far less than the half minute for which they would wait for somebody to hand over to.
    assert!(took < Duration::from_secs(10), "{took:?}");
    for auxiliary in cluster.auxiliaries() {
        assert!(auxiliary.log().contains("no other node stays to take over"), "{}", auxiliary.log());
        assert!(auxiliary.log().contains("took a last snapshot"), "{}", auxiliary.log());
    }
    cluster.restart_auxiliaries().await.expect("they come back");
    cluster.settled().await;
    kept.are_right(&cluster).await;
    store_all(&cluster, "new").await.are_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_three_told_to_stop_at_once_hand_over_to_the_third_under_load() {
    let mut cluster = start(shape()).await;
    let load = LOAD.start(&cluster).await;
    cluster.drain_at_once(0..2).await;
    cluster.settled().await;
    load.ends_well(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}

#[tokio::test]
async fn a_cluster_starts_while_redis_is_away_and_forms_when_it_comes() {
    let mut cluster = start(shape()).await;
    cluster.redis_mut().kill();
    for master in 0..2 {
        cluster.master_mut(master).respawn().await.expect("a master starts without Redis");
    }
    cluster.redis_mut().restart().await.expect("it starts again");
    cluster.settled().await;
    cluster.client(0).store("k", "v").await;
    assert_eq!(cluster.client(1).get("/data/k").await.json()["value"], "v");
}

#[tokio::test]
async fn a_lease_of_a_second_ends_too() {
    let mut cluster = start(Shape::default().redis().lease_ttl("1s")).await;
    cluster.kill_auxiliary(1);
    cluster.settled().await;
}
