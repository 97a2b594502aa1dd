//! What several of the tests need.

use std::future::pending;
use std::time::Duration;

use annulus_bench::{Args, Report};
use annulus_testkit::{Cluster, InProcess, MetricsPage, Shape, eventually};
use clap::Parser;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The program, built for this test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_annulus");

/// One size for every run, and a larger one for the runs that take their time: `cargo nextest run --profile full`.
pub(crate) fn sized<T>(usual: T, full: T) -> T {
    let is_full = std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| profile == "full");
    if is_full { full } else { usual }
}

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
    bench_until(url, flags, pending()).await
}

async fn bench_until(url: &str, flags: &str, stop: impl Future<Output = ()>) -> Report {
    let flags = format!("bench --quiet --url {url} {flags}");
    let args = Command::parse_from(flags.split_whitespace()).args;
    annulus_bench::run(&args, stop).await.expect("the load can be made")
}

/// A verified load through all masters at a fixed rate, with every key stored before. A client takes another master where
/// one refuses its connection or has closed it.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) keys: usize,
    /// Requests a second.
    pub(crate) rate: usize,
}

/// A load that is being made.
pub(crate) struct RunningLoad {
    load: Load,
    task: JoinHandle<Report>,
    stop: CancellationToken,
}

impl Load {
    /// Makes it until it is told to end; returns once all keys are stored and it has run for a second.
    pub(crate) async fn start(self, cluster: &Cluster) -> RunningLoad {
        let Self { keys, rate } = self;
        let urls: Vec<_> = (0..cluster.masters().len()).map(|master| cluster.url(master)).collect();
        let flags = format!(
            "--preload --verify --keys {keys} --rate {rate} --duration 1h --warm-up 0s --connections 32 \
             --read-ratio 0.8 --value-size 100 --timeout 3s"
        );
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move { bench_until(&urls.join(","), &flags, stopped).await });
        self.answered_more(cluster, keys + rate).await;
        RunningLoad { load: self, task, stop }
    }

    /// Waits until so many more requests are answered: at a fixed rate, a time.
    pub(crate) async fn answered_more(self, cluster: &Cluster, requests: usize) {
        let masters: Vec<_> = (0..cluster.masters().len()).collect();
        self.answered_more_by(cluster, &masters, requests).await;
    }

    /// The same of some masters.
    pub(crate) async fn answered_more_by(self, cluster: &Cluster, masters: &[usize], requests: usize) {
        let goal = answered(cluster, masters).await + requests;
        let limit = Duration::from_secs(20 + (requests / self.rate) as u64);
        let reached = async || answered(cluster, masters).await >= goal;
        eventually("the load is answered", limit, reached).await;
    }

    /// Every key of it is read, through one master and the other.
    pub(crate) async fn is_all_there(self, cluster: &Cluster) {
        let names: Vec<_> = (0..self.keys).map(|n| format!("key-{n:012}")).collect();
        for master in 0..cluster.masters().len() {
            let found = cluster.client(master).read_many(&names).await;
            let missing = names.iter().find(|name| !found.contains_key(*name));
            assert_eq!(missing, None, "through master {master}");
        }
    }
}

impl RunningLoad {
    /// Lets it go on for a second and ends it: no request failed, no value was old, and no key that was written was missed.
    pub(crate) async fn ends_well(self, cluster: &Cluster) -> Report {
        let report = self.ends(cluster).await;
        assert_all_well(&report);
        report
    }

    /// Lets it go on for a second and ends it.
    pub(crate) async fn ends(self, cluster: &Cluster) -> Report {
        self.load.answered_more(cluster, self.load.rate).await;
        self.stop.cancel();
        self.task.await.expect("the load can be made")
    }
}

/// Requests that masters have answered.
async fn answered(cluster: &Cluster, masters: &[usize]) -> usize {
    let mut answered = 0;
    for master in masters {
        let page = MetricsPage::parse(cluster.client(*master).get("/metrics").await.text());
        answered += page.sum("annulus_requests_total") as usize;
    }
    answered
}

/// No request failed, no value was old, and no key that was written was missed.
#[track_caller]
fn assert_all_well(report: &Report) {
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

/// No answer took longer.
#[track_caller]
pub(crate) fn assert_slowest(report: &Report, slowest: Duration) {
    let max_us = report.latency[0].percentiles.max_us;
    assert!(u128::from(max_us) < slowest.as_micros(), "{}", report.render_table());
}
