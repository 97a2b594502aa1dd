//! `cluster.route = near-then-cluster`: a small store in the master first.

use std::time::Duration;

use annulus_testkit::{Process, path_of};

use super::support::{auxiliaries, found, master, metrics, names, said, store_all};

const KEYS: usize = 20;

async fn near_master(nodes: &[Process], max_age: &str) -> Process {
    let max_age = format!("master.near_max_age={max_age}");
    master(nodes, &["--set", "cluster.route=near-then-cluster", "--set", &max_age]).await
}

async fn upstream_calls(master: &Process) -> f64 {
    metrics(master).await.sum("annulus_upstream_requests_total")
}

async fn value(master: &Process, name: &str) -> String {
    let read = master.client().get(format!("{}?raw", path_of(name))).await;
    assert_eq!(read.status, 200, "{name}");
    read.text().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_or_written_is_answered_from_memory() {
    let nodes = auxiliaries(2).await;
    let (near, other) = (near_master(&nodes, "10m").await, master(&nodes, &[]).await);
    let names = names(KEYS);
    store_all(near.address(), &names[..KEYS / 2]);
    store_all(other.address(), &names[KEYS / 2..]);
    assert_eq!(found(near.address(), &names).len(), KEYS);
    let before = upstream_calls(&near).await;
    for name in &names {
        assert_eq!(value(&near, name).await, *name);
    }
    assert_eq!(found(near.address(), &names).len(), KEYS);
    let after = upstream_calls(&near).await;
    assert!((after - before).abs() < f64::EPSILON, "{before} calls before, {after} after");
    let page = metrics(&near).await;
    assert!(page.value("annulus_near_lookups_total{outcome=\"hit\"}") >= 2.0 * KEYS as f64);
    assert!(page.value("annulus_near_items") >= KEYS as f64 && page.value("annulus_near_bytes") > 0.0);
    // Whoever insists is not answered from memory.
    other.client().put("/data/key-0", "newer").await;
    assert_eq!(value(&near, "key-0").await, "key-0");
    let read = near.client().get("/data/key-0?raw&consistency=quorum").await;
    assert_eq!(read.text(), "newer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_writes_are_seen_at_once_however_they_are_made() {
    let nodes = auxiliaries(2).await;
    let near = near_master(&nodes, "10m").await;
    for n in 0..20 {
        let written = near.client().put("/data/k", format!("{n}")).await;
        assert_eq!(written.status, 200);
        assert_eq!(value(&near, "k").await, n.to_string());
        let bumped = said(near.address(), "incr k 100\r\nget k\r\n");
        assert!(bumped.contains(&format!("\r\n{}", n + 100)), "{bumped}");
    }
    assert_eq!(said(near.address(), "delete k\r\nget k\r\n"), "DELETED\r\nEND\r\n");
    assert_eq!(near.client().get("/data/k").await.status, 404);
    near.client().put("/data/k", "v").await;
    assert_eq!(said(near.address(), "get k\r\nflush_all\r\nget k\r\n").matches("VALUE").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_through_another_master_are_seen_within_the_longest_age() {
    const MAX_AGE: Duration = Duration::from_millis(200);
    let nodes = auxiliaries(2).await;
    let (near, other) = (near_master(&nodes, "200ms").await, master(&nodes, &[]).await);
    for n in 0..5 {
        // Whatever it shows now it remembers.
        near.client().get("/data/k").await;
        assert_eq!(other.client().put("/data/k", format!("{n}")).await.status, 200);
        // The age is the promise: it has to pass.
        tokio::time::sleep(MAX_AGE).await;
        assert_eq!(value(&near, "k").await, n.to_string());
    }
    other.client().put("/data/short?ttl=1", "v").await;
    assert_eq!(value(&near, "short").await, "v");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(near.client().get("/data/short").await.status, 404);
}
