//! What several of the tests need.

use std::future::pending;
use std::time::Duration;

use annulus_bench::{Args, Report};
use annulus_testkit::{Cluster, InProcess, MetricsPage, Shape, eventually, path_of};
use clap::Parser;

/// The program, built for this test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_annulus");

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// The default cluster: two masters, three auxiliaries, two copies.
pub(crate) async fn cluster() -> InProcess {
    Shape::default().in_process().await.expect("a cluster starts")
}

/// Runs a load with flags as on the command line, separated by spaces.
pub(crate) async fn bench(url: &str, flags: &str) -> Report {
    let flags = format!("bench --quiet --url {url} {flags}");
    let args = Command::parse_from(flags.split_whitespace()).args;
    annulus_bench::run(&args, pending()).await.expect("the load can be made")
}

/// A verified load through two masters at a fixed rate, with every key stored before.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) keys: usize,
    /// Requests a second.
    pub(crate) rate: usize,
}

impl Load {
    /// Makes it, once polled.
    pub(crate) fn run(self, cluster: &Cluster, seconds: u32) -> impl Future<Output = Report> + use<> {
        let Self { keys, rate } = self;
        let urls = format!("{},{}", cluster.url(0), cluster.url(1));
        let flags = format!(
            "--preload --verify --keys {keys} --rate {rate} --duration {seconds}s --warm-up 1s --connections 32 \
             --read-ratio 0.8 --value-size 100 --timeout 3s"
        );
        async move { bench(&urls, &flags).await }
    }

    /// Waits until so many more requests are answered: at a fixed rate, a time.
    pub(crate) async fn answered_more(self, cluster: &Cluster, requests: usize) {
        let goal = answered(cluster).await + requests;
        let limit = Duration::from_secs(10 + (requests / self.rate) as u64);
        eventually("the load is answered", limit, async || answered(cluster).await >= goal).await;
    }

    /// Every key of it is read, through one master and the other.
    pub(crate) async fn is_all_there(self, cluster: &Cluster) {
        for n in 0..self.keys {
            let read = cluster.client(n % 2).get(path_of(format!("key-{n:012}"))).await;
            assert_eq!(read.status, 200, "key {n}: {}", read.text());
        }
    }
}

/// Requests that both masters have answered.
async fn answered(cluster: &Cluster) -> usize {
    let mut answered = 0;
    for master in 0..2 {
        let page = MetricsPage::parse(cluster.client(master).get("/metrics").await.text());
        answered += page.sum("annulus_requests_total") as usize;
    }
    answered
}

/// No request failed, no value was old, and no key that was written was missed.
#[track_caller]
pub(crate) fn assert_all_well(report: &Report) {
    let found = report.verification.as_ref().expect("a verified run");
    println!(
        "{} requests, {} errors, {found:?}, p99 {} us, slowest {} us, generator late by {:?}",
        report.totals.requests,
        report.totals.errors,
        report.latency[0].percentiles.p99_us,
        report.latency[0].percentiles.max_us,
        report.generator_lateness
    );
    assert_eq!(report.totals.errors, 0, "{}", report.render_table());
    assert_eq!((found.stale, found.corrupt, found.misses_of_written_keys), (0, 0, 0));
}
