//! `cluster.route = replicated`: every node has every key.

use std::time::Duration;

use annulus_testkit::{Process, eventually, path_of};

use super::support::{auxiliaries, calls, found, items, master, names, store_all};

const KEYS: usize = 40;
const SOON: Duration = Duration::from_secs(10);

/// A master in the zone of `b`, and every key on each of three nodes.
async fn start() -> (Vec<Process>, Process) {
    let nodes = auxiliaries(3).await;
    // On a busy machine an answer may take its time; which node was asked first is what counts here.
    let settings = ["cluster.route=replicated", "master.zone=zone-b", "cluster.hedge_after=1s"];
    let settings = settings.map(|setting| ["--set", setting]).concat();
    let master = master(&nodes, &settings).await;
    store_all(master.address(), &names(KEYS));
    for node in &nodes {
        eventually("the node has every key", SOON, async || items(node).await == KEYS).await;
    }
    (nodes, master)
}

async fn reads_all(master: &Process) {
    for name in names(KEYS) {
        assert_eq!(master.client().get(path_of(&name)).await.status, 200, "{name}");
    }
    assert_eq!(found(master.address(), &names(KEYS)).len(), KEYS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_has_every_key_and_the_one_in_the_masters_zone_is_read() {
    let (_nodes, master) = start().await;
    let before = [calls(&master, "a").await, calls(&master, "b").await, calls(&master, "c").await];
    reads_all(&master).await;
    let after = [calls(&master, "a").await, calls(&master, "b").await, calls(&master, "c").await];
    assert_eq!([after[0] - before[0], after[2] - before[2]], [0, 0]);
    assert_eq!(after[1] - before[1], 2 * KEYS as u64, "one call for each read, those of a batch too");
    assert_eq!(master.client().get("/nodes").await.json()["replicas"], 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_needs_a_majority_and_a_read_one_node_that_lives() {
    let (mut nodes, master) = start().await;
    let client = master.client();
    nodes[1].kill();
    reads_all(&master).await;
    for name in names(KEYS) {
        let written = client.put(path_of(&name), "new").await;
        assert_eq!(written.status, 200, "one of three copies is down: {}", written.text());
    }
    nodes[2].kill();
    for name in names(KEYS) {
        let read = client.get(format!("{}?raw", path_of(&name))).await;
        assert_eq!((read.status, read.text()), (200, "new"), "{name}");
    }
    assert_eq!(client.put("/data/k", "v").await.status, 503, "one of three is no majority");
    assert_eq!(found(master.address(), &names(KEYS)).len(), KEYS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_empty_turns_no_hit_into_a_miss_and_is_refilled() {
    let (mut nodes, master) = start().await;
    nodes[1].restart().await.expect("it starts again");
    assert_eq!(items(&nodes[1]).await, 0);
    eventually("it is refilled", SOON, async || {
        reads_all(&master).await;
        items(&nodes[1]).await == KEYS
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_writes_is_brought_them() {
    let (mut nodes, master) = start().await;
    nodes[0].kill();
    for name in names(KEYS) {
        let written = master.client().put(path_of(&name), "new").await;
        assert_eq!(written.status, 200, "{}", written.text());
    }
    let in_doubt = async || super::support::metrics(&master).await.value("annulus_keys_in_doubt") as usize;
    assert!(in_doubt().await > 0, "what one of the nodes lacks is remembered");
    nodes[0].restart().await.expect("it starts again");
    // Nobody reads: the master's own zone is another.
    eventually("it has been brought them", SOON, async || items(&nodes[0]).await == KEYS).await;
    for name in names(KEYS) {
        let copy = nodes[0].client().get(format!("/entries/{name}")).await;
        assert_eq!((copy.status, copy.text()), (200, "new"), "{name}");
    }
}
