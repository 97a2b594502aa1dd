//! A node that hangs, as clients of memcached see it, each on one connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use annulus_testkit::{Cluster, MemcachedClient, Shape, eventually};
use tokio::time::Instant;

use crate::support::BINARY;

const CLIENTS: u64 = 8;
/// Of each client, and nobody else's.
const KEYS: u64 = 40;
/// What a request may take, as `server.default_deadline` says.
const DEADLINE: Duration = Duration::from_secs(1);
/// Far more than any answer takes that waits for nobody, and far less than a deadline.
const AT_ONCE: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(60);

/// What all clients do and see together.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    ends: AtomicBool,
}

/// What one client saw.
#[derive(Debug, Default)]
struct Report {
    requests: u64,
    errors: u64,
    misses: u64,
    slowest: Duration,
    /// Answers that took longer than [`AT_ONCE`].
    slow: u64,
}

impl Report {
    fn and(self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            errors: self.errors + other.errors,
            misses: self.misses + other.misses,
            slowest: self.slowest.max(other.slowest),
            slow: self.slow + other.slow,
        }
    }
}

/// One client's connection, and what it may read: of each of its keys, the last number that was acknowledged.
struct Writer {
    connection: MemcachedClient,
    acknowledged: Vec<u64>,
    report: Report,
}

impl Writer {
    fn ask(&mut self, request: &str) -> String {
        let started = Instant::now();
        let answer = self.connection.exchange(request.as_bytes()).expect("an answer");
        let took = started.elapsed();
        self.report.requests += 1;
        self.report.slowest = self.report.slowest.max(took);
        self.report.slow += u64::from(took > AT_ONCE);
        String::from_utf8(answer).expect("text")
    }

    /// Writes a number that only rises, then reads: nothing older than what was acknowledged may come.
    fn work(&mut self, client: u64, number: u64) {
        let (slot, key) = ((number % KEYS) as usize, format!("key-{client}-{}", number % KEYS));
        let text = number.to_string();
        match self.ask(&format!("set {key} 0 0 {}\r\n{text}\r\n", text.len())).as_str() {
            "STORED\r\n" => self.acknowledged[slot] = number,
            error => {
                assert!(error.starts_with("SERVER_ERROR "), "{error}");
                self.report.errors += 1;
            }
        }
        let answer = self.ask(&format!("get {key}\r\n"));
        match answer.split("\r\n").collect::<Vec<_>>()[..] {
            [_, value, "END", ""] => {
                let value: u64 = value.parse().expect("a number");
                assert!(value >= self.acknowledged[slot], "{key}: {value} after {}", self.acknowledged[slot]);
            }
            ["END", ""] => self.report.misses += 1,
            _ => {
                assert!(answer.starts_with("SERVER_ERROR "), "{answer}");
                self.report.errors += 1;
            }
        }
    }
}

/// One client's work, until told to end.
fn write_and_read(address: SocketAddr, client: u64, seen: &Seen) -> Report {
    let connection = MemcachedClient::connect(address).expect("the server accepts");
    let mut writer = Writer { connection, acknowledged: vec![0; KEYS as usize], report: Report::default() };
    for number in 1.. {
        if seen.ends.load(Ordering::Relaxed) {
            break;
        }
        writer.work(client, number);
        seen.requests.fetch_add(2, Ordering::Relaxed);
    }
    writer.report
}

/// Stops an auxiliary under load until each client has asked often, and lets it go on. What clients saw until it went on, and how
/// long it took then until it took part.
async fn hang(cluster: &Cluster) -> (Vec<Report>, Duration) {
    let seen = Seen::default();
    let address = cluster.masters()[0].address();
    let more = async |count: u64, what: &str| {
        let enough = seen.requests.load(Ordering::Relaxed) + count;
        eventually(what, LIMIT, async || seen.requests.load(Ordering::Relaxed) >= enough).await;
    };
    thread::scope(|threads| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let seen = &seen;
                threads.spawn(move || write_and_read(address, client, seen))
            })
            .collect();
        let took = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                more(CLIENTS * KEYS * 4, "all keys are written").await;
                cluster.auxiliaries()[1].stop();
                more(CLIENTS * KEYS * 64, "clients ask often while a node hangs").await;
                cluster.auxiliaries()[1].resume();
                let started = Instant::now();
                cluster.all_up(0, LIMIT).await;
                let took = started.elapsed();
                more(CLIENTS * KEYS * 4, "clients go on").await;
                took
            })
        });
        seen.ends.store(true, Ordering::Relaxed);
        (clients.into_iter().map(|client| client.join().expect("nothing stale")).collect(), took)
    })
}

async fn start(replicas: usize) -> Cluster {
    let cluster = Shape::default().masters(1).replicas(replicas).processes(BINARY).await;
    cluster.expect("a cluster starts")
}

fn total(reports: &[Report]) -> Report {
    reports.iter().fold(Report::default(), Report::and)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_copies_no_client_of_memcached_notices_a_node_that_hangs() {
    let cluster = start(2).await;
    let (reports, back) = hang(&cluster).await;
    let all = total(&reports);
    println!("{all:?}; back in {back:?}");
    assert_eq!((all.errors, all.misses), (0, 0));
    assert!(all.slowest <= Duration::from_millis(400) && back <= Duration::from_secs(2), "{all:?}, {back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_copies_each_connection_waits_for_a_node_that_hangs_at_most_once() {
    let cluster = start(1).await;
    let (reports, back) = hang(&cluster).await;
    let all = total(&reports);
    println!("{all:?}; back in {back:?}");
    assert!(all.errors > 0, "nobody asked the node that hung");
    for report in &reports {
        assert!(report.slow <= 1 && report.slowest <= DEADLINE + AT_ONCE, "{report:?}");
    }
    assert!(back <= Duration::from_secs(2), "{back:?}");
    let mut client = MemcachedClient::connect(cluster.masters()[0].address()).expect("the server accepts");
    for key in (0..CLIENTS).flat_map(|client| (0..KEYS).map(move |slot| format!("key-{client}-{slot}"))) {
        let answer = client.exchange(format!("get {key}\r\n").as_bytes()).expect("an answer");
        assert!(answer.starts_with(b"VALUE "), "{key}: {}", answer.escape_ascii());
    }
}
