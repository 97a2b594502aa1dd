//! What a GET through a master costs: user and system CPU time of all server processes, divided by the requests.

use std::path::Path;

use annulus_testkit::{Process, Shape};

use crate::load::{self, median};

/// Clock ticks of `/proc/PID/stat` in a second: 100 on every Linux that matters (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;
/// Values as text in JSON, which is what the bare handler answers.
const KEYS: &str = "--keys 10000 --value-size 100 --distribution uniform --interface json";

/// Measures both in turn, `rounds` times, and prints medians and their ratio.
pub(crate) async fn measure(binary: &Path, rounds: usize, requests: u64) -> anyhow::Result<()> {
    let shape = Shape::default().masters(1).auxiliaries(3).replicas(1);
    let cluster = shape.processes(binary).await?;
    let bare = Process::start(std::env::current_exe()?, &["bare".to_owned()]).await?;
    load::run(&cluster.url(0), &format!("{KEYS} --preload --requests 1 --warm-up 0s")).await?;
    let reads = format!("{KEYS} --connections 32 --read-ratio 1 --warm-up 0s --requests {requests}");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    println!("round  annulus µs/request  bare axum µs/request  annulus/s  bare/s");
    for round in 1..=rounds {
        let before = cluster.cpu_ticks();
        let rate = load::run(&cluster.url(0), &reads).await?.totals.rate_per_s;
        let cluster_us = micros(cluster.cpu_ticks() - before, requests);
        let before = bare.usage().cpu_ticks;
        let bare_url = format!("http://{}", bare.address());
        let bare_rate = load::run(&bare_url, &reads).await?.totals.rate_per_s;
        let bare_us = micros(bare.usage().cpu_ticks - before, requests);
        println!("{round:>5}  {cluster_us:>18.1}  {bare_us:>20.1}  {rate:>9.0}  {bare_rate:>6.0}");
        ours.push(cluster_us);
        theirs.push(bare_us);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!("median {ours:>18.1}  {theirs:>20.1}");
    println!("ratio  {:>18.2}", ours / theirs);
    Ok(())
}

fn micros(ticks: u64, requests: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND * 1e6 / requests as f64
}
