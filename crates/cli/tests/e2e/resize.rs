//! A cluster that grows and shrinks under load, and how much moves for it.

use std::collections::BTreeMap;
use std::time::Duration;

use annulus_ring::{Member, Ring};
use annulus_testkit::{Cluster, Shape, eventually};

use crate::keys::Keys;
use crate::support::{BINARY, Load, sized};

const LOAD: Load = Load { keys: 1000, rate: 200 };
const REPLICAS: usize = 2;
const VIRTUAL_NODES: u32 = 4096;

/// Copies that may lie in a spare: a write that an owner is slow to take leaves one for some seconds, and the load writes all
/// the time.
const SPARE_COPIES: usize = LOAD.keys / 10;

/// Entries on each auxiliary that runs, by its name, once those that hold too many have let go of them.
async fn held(cluster: &Cluster, keys: usize) -> BTreeMap<String, f64> {
    let mut held = BTreeMap::new();
    let copies = REPLICAS * keys..=REPLICAS * keys + SPARE_COPIES;
    let nothing_too_much = async || {
        let items = (1..).zip(cluster.items().await);
        held = items.filter_map(|(n, items)| Some((format!("aux-{n}"), items? as f64))).collect();
        copies.contains(&(held.values().sum::<f64>() as usize))
    };
    eventually("each key has its copies and hardly more", Duration::from_secs(40), nothing_too_much).await;
    held
}

fn ring(names: impl Iterator<Item = String>) -> Ring {
    Ring::new(names.map(Member::new), VIRTUAL_NODES).expect("a ring")
}

/// What each auxiliary received is what the ring says, within a tenth.
#[track_caller]
fn assert_moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>, keys: usize) {
    let rings = [before, after].map(|held| ring(held.keys().cloned()));
    for (name, share) in rings[0].moves_of_copies(&rings[1], REPLICAS) {
        let expected = share * (REPLICAS * keys) as f64;
        let received = after[&name] - before.get(&name).unwrap_or(&0.0);
        println!("{name} received {received} entries, {expected:.0} by the ring");
        assert!((received / expected - 1.0).abs() < 0.1, "{name}: {received} entries, not {expected}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn growing_and_shrinking_under_load_turns_no_hit_into_a_miss_and_moves_what_the_ring_says() {
    let shape = Shape::default().redis().lease_ttl("3s").memory("128Mi").set("log.level", "info");
    let mut cluster = shape.processes(BINARY).await.expect("a cluster starts");
    let mut keys =
        Keys::new("k", 0..sized(50_000, 100_000), "a value that is some thirty bytes").with_ttl(4, 3600);
    let all = keys.entries.len() + LOAD.keys;
    keys.store(cluster.client(0)).await;
    let load = LOAD.start(&cluster).await;
    let watch = keys.watch(&cluster);
    for change in [1, 1, -1, -1] {
        let before = held(&cluster, all).await;
        if change > 0 {
            cluster.add().await.expect("one more joins");
        } else {
            cluster.drain(before.len() - 1).await;
        }
        cluster.settled().await;
        assert_moved(&before, &held(&cluster, all).await, all);
    }
    println!("{} reads of {} keys", watch.ends().await, keys.entries.len());
    load.ends_well(&cluster).await;
    keys.are_right(&cluster).await;
    LOAD.is_all_there(&cluster).await;
}
