//! Recorded and generated request traces, replayed as a cache user would, with the hit ratio that theory demands.

use std::collections::HashSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use annulus_bench::lru_reference::{Capacity, simulate};
use annulus_bench::{Report, trace};
use annulus_testkit::{Cluster, MetricsPage, Shape};

use crate::support::{BINARY, bench, sized};

const AUXILIARIES: usize = 3;
/// Memory of each auxiliary for the trace of large objects: room for one of the largest, and not for all.
const CDN_MIB: u64 = 16;
/// How far from an exact LRU a hit ratio may be.
const TOLERANCE: f64 = 0.005;

/// A trace, or as much of it as is replayed.
struct Trace {
    path: PathBuf,
    limit: usize,
    requests: Vec<(String, usize)>,
}

impl Trace {
    fn read(path: &Path, limit: usize) -> Self {
        let lines = trace::open(path).expect("the trace can be opened").take(limit);
        let requests =
            lines.map(|line| line.expect("the trace can be read")).map(|line| (line.key, line.size));
        Self { path: path.to_owned(), limit, requests: requests.collect() }
    }

    fn distinct(&self) -> usize {
        self.requests.iter().map(|(key, _)| key).collect::<HashSet<_>>().len()
    }

    fn lru(&self, capacity: Capacity) -> f64 {
        simulate(self.requests.iter().map(|(key, size)| (key, *size)), capacity).hit_ratio()
    }

    async fn replay(&self, url: &str) -> Report {
        let flags = format!("--trace {} --limit {} --connections 1", self.path.display(), self.limit);
        let report = bench(url, &flags).await;
        assert_eq!(report.totals.errors, 0, "{}", report.render_table());
        report
    }

    /// With room for everything, what misses is what was never seen before.
    async fn hits_all_but_the_first_of_each_key(&self) {
        let cluster = shape().memory("256Mi").in_process().await.expect("a cluster starts");
        let counts = self.replay(&cluster.url(0)).await.trace.expect("a replay");
        let (requests, distinct) = (self.requests.len() as u64, self.distinct() as u64);
        println!("{}: {requests} requests, {distinct} keys, {} misses", self.path.display(), counts.misses);
        assert_eq!((counts.requests, counts.misses, counts.hits), (requests, distinct, requests - distinct));
    }

    /// With room for a quarter of the keys, it is as good as one exact LRU of that size.
    async fn with_a_quarter_of_the_keys_it_is_as_good_as_an_exact_lru(&self) {
        let each = self.distinct() / 4 / AUXILIARIES;
        let cluster = shape().memory("256Mi").cache_size(each).in_process().await.expect("a cluster starts");
        let report = self.replay(&cluster.url(0)).await;
        let reference = self.lru(Capacity::Items(each * AUXILIARIES));
        self.assert_close(&report, reference, &format!("{} items", each * AUXILIARIES));
    }

    /// With a bound in bytes it is as good as one exact LRU of as many entries as fit, for all are of one size.
    async fn with_little_memory_it_is_as_good_as_an_exact_lru(&self) {
        let cluster = shape().memory("1Mi").in_process().await.expect("a cluster starts");
        let report = self.replay(&cluster.url(0)).await;
        let mut items = 0;
        for auxiliary in 0..AUXILIARIES {
            let page = MetricsPage::parse(cluster.auxiliary(auxiliary).get("/metrics").await.text());
            assert!(page.value("annulus_cache_evictions_total{reason=\"bytes\"}") > 0.0);
            items += page.value("annulus_cache_items") as usize;
        }
        self.assert_close(&report, self.lru(Capacity::Items(items)), &format!("{items} items in 3 MiB"));
    }

    fn assert_close(&self, report: &Report, reference: f64, room: &str) {
        let ratio = report.totals.hit_ratio.expect("there were reads");
        let path = self.path.display();
        println!(
            "{path}: {room}: hit ratio {ratio:.4}, exact LRU {reference:.4}, off by {:+.4}",
            ratio - reference
        );
        assert!((ratio - reference).abs() < TOLERANCE, "{path}: {ratio} instead of {reference}");
    }
}

fn shape() -> Shape {
    Shape::default().masters(1).auxiliaries(AUXILIARIES).replicas(1)
}

/// The folder of recorded traces: `TRACES`, or `../shared/traces` beside the checkout. They are no part of the
/// project, so tests do without them where there are none.
fn recorded(name: &str, limit: usize) -> Option<Trace> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/traces");
    let folder = std::env::var_os("TRACES").map_or(beside, PathBuf::from);
    let path = folder.join(name);
    if path.exists() {
        println!("replaying {}", path.display());
        return Some(Trace::read(&path, limit));
    }
    println!("left out: there is no {}", path.display());
    None
}

/// 40,000 requests of 5,000 keys, few of which take most requests, sizes of 1 to 1,000 bytes.
fn generated() -> (tempfile::NamedTempFile, Trace) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    // A generator that is its own few lines, so that the trace is the same for ever (Marsaglia's xorshift, 2003).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    for _ in 0..40_000 {
        // The inverse of the distribution function of 1/x on 1..=5000: zipf with exponent 1, nearly.
        let rank = 5000_f64.powf(random()) as u32;
        writeln!(file, "key-{rank} {}", 1 + rank * 7919 % 1000).expect("the file takes a line");
    }
    let trace = Trace::read(file.path(), usize::MAX >> 1);
    (file, trace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_trace_hits_all_but_the_first_of_each_key() {
    let (_file, trace) = generated();
    trace.hits_all_but_the_first_of_each_key().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_trace_is_served_as_by_an_exact_lru() {
    let (_file, trace) = generated();
    trace.with_a_quarter_of_the_keys_it_is_as_good_as_an_exact_lru().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_trace_hits_all_but_the_first_of_each_key() {
    let Some(trace) = recorded("web12.txt.gz", usize::MAX >> 1) else { return };
    assert_eq!((trace.requests.len(), trace.distinct()), (95_607, 13_756));
    trace.hits_all_but_the_first_of_each_key().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shop_trace_is_served_as_by_an_exact_lru() {
    let Some(trace) = recorded("web12.txt.gz", usize::MAX >> 1) else { return };
    trace.with_a_quarter_of_the_keys_it_is_as_good_as_an_exact_lru().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_of_the_database_trace_is_served_as_by_an_exact_lru() {
    let Some(trace) = recorded("orm-busy.txt.gz", 100_000) else { return };
    trace.with_a_quarter_of_the_keys_it_is_as_good_as_an_exact_lru().await;
    trace.with_little_memory_it_is_as_good_as_an_exact_lru().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_database_trace_keeps_both_promises() {
    let Some(trace) = recorded("orm-busy.txt.gz", sized(100_000, usize::MAX >> 1)) else { return };
    if sized(false, true) {
        assert_eq!((trace.requests.len(), trace.distinct()), (1_000_000, 44_178));
    }
    trace.hits_all_but_the_first_of_each_key().await;
    trace.with_a_quarter_of_the_keys_it_is_as_good_as_an_exact_lru().await;
}

/// Large objects through little memory: nothing fails, and the bounds hold at every look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_web_trace_of_large_objects_stays_within_its_memory() {
    let Some(trace) = recorded("cdn.txt.gz", 20_000) else { return };
    let shape = shape().memory(&format!("{CDN_MIB}Mi")).set("limits.max_value_bytes", "8Mi");
    let cluster = shape.processes(BINARY).await.expect("a cluster starts");
    let url = cluster.url(0);
    let watch = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            ticks.tick().await;
            assert_bounded(&cluster).await;
        }
    };
    let report = tokio::select! {
        report = trace.replay(&url) => report,
        () = watch => unreachable!("the watch goes on for ever"),
    };
    let evicted = assert_bounded(&cluster).await;
    println!("cdn: hit ratio {:?}, {evicted} evicted", report.totals.hit_ratio);
    assert!(evicted > 0.0, "the trace is larger than the memory");
    let master = cluster.masters()[0].usage().peak_rss_bytes >> 20;
    println!("cdn: the master's resident memory at its peak: {master} MiB");
    for auxiliary in cluster.auxiliaries() {
        let peak = auxiliary.usage().peak_rss_bytes >> 20;
        let bound = CDN_MIB * 13 / 10 + 64;
        println!(
            "cdn: an auxiliary's resident memory at its peak: {peak} MiB, {CDN_MIB} of them for entries"
        );
        assert!(peak < bound, "{peak} of {bound} MiB");
    }
}

/// Checks each auxiliary's bytes against its bound; returns how many entries were evicted in all.
async fn assert_bounded(cluster: &Cluster) -> f64 {
    let mut evicted = 0.0;
    for auxiliary in cluster.auxiliaries() {
        let page = MetricsPage::parse(auxiliary.client().get("/metrics").await.text());
        let (bytes, bound) = (page.value("annulus_cache_bytes"), page.value("annulus_cache_max_bytes"));
        assert!(bytes <= bound && bound <= (CDN_MIB << 20) as f64, "{bytes} of {bound} bytes");
        evicted += page.sum("annulus_cache_evictions_total");
    }
    evicted
}
