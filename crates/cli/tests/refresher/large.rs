//! A hundred thousand items in one dataset.

use std::fmt::Write as _;
use std::time::Duration;

use annulus_testkit::eventually;
use tokio::time::Instant;

use crate::support::{Group, LIMIT, NAME, Reply, Shape};

const ITEMS: usize = 100_000;
/// Enough that everything that large data needs has been done once: code that was never run is not in memory.
const FEW_ITEMS: usize = 2_000;
const SWAPS: usize = 5;
/// What a process takes besides, however large the data is: buffers for the pieces that it comes in, and what the allocator
/// keeps of them.
const SLACK: u64 = 4 << 20;

fn body(items: usize, call: u64) -> String {
    let mut body = String::with_capacity(items * 160);
    body.push('[');
    for item in 0..items {
        let comma = if item == 0 { "" } else { "," };
        let _ = write!(
            body,
            "{comma}{{\"id\":\"item-{item:06}\",\"call\":{call},\"name\":\"a name of some length\",\
             \"value\":{item}.25,\"tags\":[\"one\",\"two\",\"three\"],\"text\":\"some more text for its size\"}}"
        );
    }
    body.push(']');
    body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_items_are_swapped_in_twice_their_memory() {
    let dataset = "key = 'items/{id}'\nmax_bytes = '64Mi'".to_owned();
    let mut group = Group::new(Shape { dataset, ttl: "10s", check: "2s", ..Shape::default() }).await;
    group.upstream.answers(|call| Reply::Json(body(FEW_ITEMS, call)));
    group.add(group.redis.address()).await;
    group.ready().await;
    group.leader().await;
    group.add(group.redis.address()).await;
    group.ready().await;
    let warm = group.all_revisions_max().await;
    group.all_above(warm, LIMIT).await;
    let (leader_before, before) = (group.replicas[0].usage().rss_bytes, group.replicas[1].usage().rss_bytes);
    group.upstream.answers(|call| Reply::Json(body(ITEMS, call)));
    let client = group.replicas[1].client();
    let (mut slowest, mut reads) = (Duration::ZERO, 0);
    let (mut seen, mut swaps) = (0_u64, 0);
    eventually("all swaps are done", 2 * LIMIT, async || {
        let started = Instant::now();
        let item = client.get(format!("/datasets/{NAME}/item-050000")).await;
        slowest = slowest.max(started.elapsed());
        reads += 1;
        let revision = item.header("etag").map_or(0, |etag| etag.trim_matches('"').parse().unwrap());
        swaps += usize::from(revision > seen);
        seen = seen.max(revision);
        swaps >= SWAPS
    })
    .await;
    let data = group.dataset(1).await["memory_cache_bytes"].as_u64().unwrap();
    let peak = group.replicas[1].usage().peak_rss_bytes - before;
    let leader_peak = group.replicas[0].usage().peak_rss_bytes - leader_before;
    assert_eq!(group.dataset(1).await["memory_cache_size"], ITEMS);
    println!(
        "{ITEMS} items, {data} bytes: a follower grew by {peak} bytes, {:.2} times the data; the leader by {leader_peak}, \
         {:.2} times; {reads} reads over HTTP during {swaps} swaps, the slowest {slowest:?}",
        peak as f64 / data as f64,
        leader_peak as f64 / data as f64
    );
    assert!(peak <= 2 * data + SLACK, "{peak} bytes for {data}");
}
