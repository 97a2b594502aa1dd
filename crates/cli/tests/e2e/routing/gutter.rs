//! The gutter takes the keys whose owners are all away.

use std::time::Duration;

use annulus_testkit::{Process, eventually, path_of};

use super::support::{auxiliaries, auxiliary, found, items, master, metrics, names, said, store_all};

const KEYS: usize = 40;
const SOON: Duration = Duration::from_secs(10);

struct World {
    nodes: Vec<Process>,
    gutter: Process,
    master: Process,
}

/// Two owners of one copy, and a gutter.
async fn start() -> World {
    let (nodes, gutter) = (auxiliaries(2).await, auxiliary("g").await);
    let pool = format!("cluster.gutter=g={}", gutter.address());
    let settings = ["--replicas", "1", "--set", &pool, "--set", "cluster.gutter_ttl=10s"];
    let master = master(&nodes, &settings).await;
    store_all(master.address(), &names(KEYS));
    assert_eq!(items(&gutter).await, 0, "owners take their keys themselves");
    World { nodes, gutter, master }
}

/// The keys whose owner is dead.
async fn lost(world: &World) -> Vec<String> {
    let found = found(world.master.address(), &names(KEYS));
    names(KEYS).into_iter().filter(|name| !found.contains(name)).collect()
}

async fn requests_of(gutter: &Process) -> f64 {
    let page = metrics(gutter).await;
    page.families["annulus_requests_total"].series.values().sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_dead_node_are_taken_for_a_short_time_and_given_up_when_it_is_back() {
    let mut world = start().await;
    world.nodes[0].kill();
    let lost = lost(&world).await;
    assert!(!lost.is_empty() && lost.len() < KEYS, "{}", lost.len());
    let client = world.master.client();
    // Misses, not errors; then whatever is written, but no longer than the cap.
    for name in &lost {
        assert_eq!(client.get(path_of(name)).await.status, 404, "{name}");
        let written = client.put(format!("{}?ttl=3600", path_of(name)), "in the gutter").await;
        assert_eq!(written.status, 200, "{}", written.text());
        let read = client.get(path_of(name)).await.json();
        assert_eq!(read["value"], "aW4gdGhlIGd1dHRlcg==", "{read}");
        assert!(read["ttl"].as_u64().is_some_and(|ttl| ttl <= 10), "{read}");
    }
    assert_eq!(items(&world.gutter).await, lost.len());
    assert_eq!(found(world.master.address(), &names(KEYS)).len(), KEYS, "in one multiget");
    let first = &lost[0];
    let counted = said(
        world.master.address(),
        &format!("set {first} 0 0 1\r\n7\r\nincr {first} 1\r\nmg {first} v t\r\n"),
    );
    assert!(counted.starts_with("STORED\r\n8\r\nVA 1 t"), "{counted}");
    let helped = metrics(&world.master).await.sum("annulus_gutter_requests_total");
    assert!(helped >= 3.0 * lost.len() as f64, "{helped}");

    world.nodes[0].restart().await.expect("it starts again");
    let is_back = async || client.get(path_of(first)).await.status == 404;
    eventually("the owner is asked again, who has nothing", Duration::from_secs(5), is_back).await;
    let before = requests_of(&world.gutter).await;
    for name in &lost {
        assert_eq!(client.get(path_of(name)).await.status, 404, "{name}");
        assert_eq!(client.put(path_of(name), "v").await.status, 200);
    }
    assert_eq!(found(world.master.address(), &lost).len(), lost.len());
    assert!((requests_of(&world.gutter).await - before).abs() < f64::EPSILON, "it is not asked any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_the_gutter_ends_with_the_cap_and_a_dead_gutter_changes_nothing() {
    let (mut nodes, mut gutter) = (auxiliaries(1).await, auxiliary("g").await);
    let pool = format!("cluster.gutter=g={}", gutter.address());
    let master = master(&nodes, &["--set", &pool, "--set", "cluster.gutter_ttl=500ms"]).await;
    nodes[0].kill();
    let client = master.client();
    assert_eq!(client.put("/data/k", "v").await.status, 200);
    eventually("its time is over", SOON, async || client.get("/data/k").await.status == 404).await;
    gutter.kill();
    for _ in 0..3 {
        assert_eq!(client.get("/data/k").await.status, 503);
        assert_eq!(client.put("/data/k", "v").await.status, 503);
    }
}
