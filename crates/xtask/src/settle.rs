//! How fast data moves when a node joins or dies, and what clients notice of it.

use std::path::Path;
use std::time::Duration;

use annulus_testkit::{Cluster, Shape, Stored};
use anyhow::Context as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio::time::error::Elapsed;

use crate::load;

/// Copies of a key.
const REPLICAS: u64 = 2;
/// Nodes before one joins or dies.
const NODES: u64 = 4;
/// Entries that are made and stored in one go.
const BATCH: u64 = 50_000;
/// How long clients are looked at before anything moves.
const BEFORE: Duration = Duration::from_secs(10);
/// Between two looks for the end of a lease, while nothing is measured.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Between two looks at all nodes, which clients should not notice.
const RARE_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long to look.
const LOOKS_LIMIT: Duration = Duration::from_secs(300);
/// Connections of clients: few, because the first request of each takes longer, and a death is over in some hundred requests.
const CONNECTIONS: usize = 4;
/// Keys that clients ask for, at most.
const MAX_LOADED_KEYS: u64 = 100_000;
/// What keys start with; 12 digits follow.
const PREFIX: &str = "key-";
/// Clock ticks of 10 ms in microseconds.
const TICK_US: f64 = 1e4;

/// Why data moves.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Event {
    /// A node joins, and gets its share of all copies
    Join,
    /// A node is killed; the others get the copies that it held, counted from the end of its lease
    Death,
}

/// What is measured.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Why data moves
    #[arg(long, value_enum, default_value = "join")]
    event: Event,
    /// Entries that move, about
    #[arg(long, default_value_t = 1_000_000)]
    entries: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 100)]
    value_size: usize,
    /// Other entries, which expire before anything moves: what a node has forgotten stands for all keys of their buckets
    #[arg(long, default_value_t = 0)]
    expired: u64,
    /// Requests a second of the clients whose latency is measured
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// A setting of all nodes, such as auxiliary.settle_share=80; repeat for more
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
}

/// Fills a cluster, lets a node join or die, and prints how fast the copies came to where they should be, with the latency of
/// clients before and meanwhile.
pub(crate) async fn measure(binary: &Path, options: &Options) -> anyhow::Result<()> {
    let mut cluster = start(binary, options).await?;
    let nodes = match options.event {
        Event::Join => NODES + 1,
        Event::Death => NODES,
    };
    let keys = options.entries * nodes / REPLICAS;
    fill(&cluster, PREFIX, keys, &"v".repeat(options.value_size), None).await;
    fill(&cluster, "expired-", options.expired, "", Some(1)).await;
    let all = (keys * REPLICAS) as usize;
    let have_expired = async || options.expired == 0 || all_items(&cluster).await <= all;
    look_until(have_expired).await.context("what should expire is still there")?;
    let (url, load) = (cluster.url(0), load_flags(options.rate, keys));
    let before = load::run_until(&url, &load, tokio::time::sleep(BEFORE)).await?;
    let held_before = cluster.items().await;
    if matches!(options.event, Event::Death) {
        let epoch = cluster.nodes(0).await["epoch"].clone();
        cluster.kill_auxiliary(0);
        while cluster.nodes(0).await["epoch"] == epoch {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
    let (end, ended) = oneshot::channel::<()>();
    let load = tokio::spawn(async move { load::run_until(&url, &load, async { drop(ended.await) }).await });
    let cpu_before = cluster.cpu_ticks();
    let started = Instant::now();
    let moved = match options.event {
        Event::Join => {
            let node = cluster.add().await?;
            cluster.items().await[node].unwrap_or(0) as f64
        }
        Event::Death => {
            look_until(async || cluster.is_settled().await)
                .await
                .context("the copies were not made again")?;
            let survivors = |items: Vec<Option<usize>>| items[1..].iter().flatten().sum::<usize>() as f64;
            survivors(cluster.items().await) - survivors(held_before)
        }
    };
    let took = started.elapsed();
    let cpu = cluster.cpu_ticks() - cpu_before;
    drop(end);
    let meanwhile = load.await??;
    let missing = all as i64 - all_items(&cluster).await as i64;

    let [before_us, meanwhile_us] = [before, meanwhile].map(|report| report.latency[0].percentiles.p99_us);
    println!("entries moved         {moved:>12.0}");
    // Who gave copies to a node that joined drops them only later.
    if matches!(options.event, Event::Death) {
        println!("copies missing        {missing:>12.0}");
    }
    println!("time                  {:>12.2} s", took.as_secs_f64());
    println!("entries a second      {:>12.0}", moved / took.as_secs_f64());
    println!("CPU of all servers    {:>12.1} µs an entry", cpu as f64 * TICK_US / moved);
    println!("client p99 before     {:>12.2} ms", before_us as f64 / 1e3);
    println!("client p99 meanwhile  {:>12.2} ms", meanwhile_us as f64 / 1e3);
    println!("ratio                 {:>12.2}", meanwhile_us as f64 / before_us as f64);
    Ok(())
}

/// Looks so rarely that clients do not notice, until it is so.
async fn look_until(mut is_so: impl AsyncFnMut() -> bool) -> Result<(), Elapsed> {
    tokio::time::timeout(LOOKS_LIMIT, async {
        while !is_so().await {
            tokio::time::sleep(RARE_LOOK_INTERVAL).await;
        }
    })
    .await
}

async fn all_items(cluster: &Cluster) -> usize {
    cluster.items().await.iter().flatten().sum()
}

/// Reads and writes of the keys that are there, until told to end.
fn load_flags(rate: u32, keys: u64) -> String {
    let keys = keys.min(MAX_LOADED_KEYS);
    format!(
        "--keys {keys} --key-prefix {PREFIX} --rate {rate} --connections {CONNECTIONS} --read-ratio 0.9 --warm-up 0s --duration 1h"
    )
}

async fn start(binary: &Path, options: &Options) -> anyhow::Result<Cluster> {
    let shape = Shape::default().redis().masters(1).auxiliaries(NODES as usize).replicas(REPLICAS as usize);
    let mut shape = shape.memory("4Gi").set("log.level", "info");
    for setting in &options.settings {
        let (name, value) = setting.split_once('=').context("--set takes NAME=VALUE")?;
        shape = shape.set(name, value);
    }
    shape.processes(binary).await
}

/// Stores as many entries as there are keys.
async fn fill(cluster: &Cluster, prefix: &str, keys: u64, value: &str, ttl: Option<u64>) {
    let entry = |n| Stored { key: format!("{prefix}{n:012}"), value: value.to_owned(), ttl };
    for first in (0..keys).step_by(BATCH as usize) {
        let entries: Vec<_> = (first..keys.min(first + BATCH)).map(entry).collect();
        cluster.client(0).store_many(&entries).await;
    }
}
