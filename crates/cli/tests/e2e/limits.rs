//! Clients that take without giving: half a header, a body without end, an answer never read. Servers are processes of
//! their own, so that memory can be read and files are counted apart.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use annulus_protocol::ErrorCode;
use annulus_testkit::{Client, Cluster, MetricsPage, RawHttp, Received, Shape, eventually, raise_file_limit};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::BINARY;

const MIB: u64 = 1 << 20;
/// What bodies under way may take in a master, by default.
const MASTER_BYTES: u64 = 32 * MIB;

async fn start() -> Cluster {
    let shape = Shape::default().masters(1).set("server.write_timeout", "2s");
    shape.processes(BINARY).await.expect("a cluster starts")
}

async fn connections(client: Client) -> f64 {
    MetricsPage::parse(client.get("/metrics").await.text()).value("annulus_connections")
}

/// What is promised: 1.3 × the byte bound + 64 MiB + 16 KiB a connection.
fn assert_memory_is_bounded(cluster: &Cluster, connections: u64) {
    let peak = cluster.masters()[0].usage().peak_rss_bytes;
    let bound = MASTER_BYTES * 13 / 10 + 64 * MIB + connections * 16 * 1024;
    println!("master's peak resident memory: {} of {} MiB", peak / MIB, bound / MIB);
    assert!(peak < bound, "{peak} of {bound} bytes");
}

/// A client that reads a key 200 times a second until told to stop, on a thread of its own so that nothing else of the
/// test stands in its way; returns when it asked
/// and how long the answer took, the slowest last.
fn good_client(address: SocketAddr, stop: CancellationToken) -> JoinHandle<Vec<(Duration, Duration)>> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let request = Client::new(address).request("GET", "/data/good?raw").bytes();
            let mut connection = RawHttp::connect(address).await.expect("a good client connects");
            let mut ticks = tokio::time::interval(Duration::from_millis(5));
            let mut latencies = Vec::new();
            let begun = Instant::now();
            while !stop.is_cancelled() {
                ticks.tick().await;
                let started = Instant::now();
                connection.send(&request).await.expect("a good client is not closed");
                assert_eq!(connection.receive(Duration::from_secs(5)).await.answer().status, 200);
                latencies.push((started - begun, started.elapsed()));
            }
            latencies.sort_unstable_by_key(|(_, latency)| *latency);
            latencies
        })
    })
}

/// Opens a connection, sends half a header, and returns how long the server took to close it.
async fn half_a_header(address: SocketAddr) -> Duration {
    let mut connection = RawHttp::connect(address).await.expect("the server accepts");
    let started = Instant::now();
    connection.send("GET /data/k HTTP/1.1\r\nhost: x\r\nx-half").await.expect("half a header is sent");
    assert!(connection.closes_within(Duration::from_secs(30)).await, "still open after 30 s");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_half_headers_are_closed_and_a_good_client_does_not_notice() {
    let limit = raise_file_limit(12_000).expect("the limit of open files can be read");
    let count = (limit - 1000).min(10_000);
    let cluster = start().await;
    cluster.client(0).store("good", "v").await;
    let stop = CancellationToken::new();
    let good = good_client(cluster.address(0), stop.clone());
    let mut half = JoinSet::new();
    for _ in 0..count {
        half.spawn(half_a_header(cluster.address(0)));
        tokio::task::yield_now().await;
    }
    let times = half.join_all().await;
    stop.cancel();
    let latencies = good.join().expect("the good client is served");
    let (_, p99) = latencies[latencies.len() * 99 / 100];
    let slowest = times.iter().max().copied().unwrap_or_default();
    println!("{count} half headers (limit of files: {limit}) closed after {slowest:?} at the latest");
    println!("good client: {} requests, p99 {p99:?}, slowest (when, how long):", latencies.len());
    latencies.iter().rev().take(20).for_each(|(when, latency)| println!("  {when:?} {latency:?}"));
    assert!(
        slowest < Duration::from_secs(6),
        "{count} connections (limit of files: {limit}): closed after {slowest:?}"
    );
    assert!(p99 < Duration::from_millis(20), "{count} connections (limit of files: {limit}): p99 {p99:?}");
    assert_memory_is_bounded(&cluster, count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_bodies_of_64_mib_at_once_are_refused_by_their_length() {
    let cluster = start().await;
    let body = vec![b'x'; 64 << 20];
    let mut refused = JoinSet::new();
    for n in 0..8 {
        let (client, body) = (cluster.client(0), body.clone());
        let method = if n % 2 == 0 { "PUT" } else { "POST" };
        let target = if n % 2 == 0 { "/data/k" } else { "/data" };
        refused.spawn(async move { client.request(method, target).json(body).send().await });
    }
    for answer in refused.join_all().await {
        answer.problem(ErrorCode::TooLarge);
    }
    assert_memory_is_bounded(&cluster, 8);
    // Refused without a byte of it: the head alone is answered.
    let mut connection = RawHttp::connect(cluster.address(0)).await.expect("a connection");
    connection
        .send("PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: 67108864\r\n\r\n")
        .await
        .expect("sent");
    connection.receive(Duration::from_secs(1)).await.answer().problem(ErrorCode::TooLarge);
}

#[tokio::test]
async fn a_client_that_sends_a_byte_a_second_is_closed_at_the_deadline() {
    let cluster = start().await;
    let address = cluster.address(0);
    let slow = async |at_once: &str, slowly: &str| {
        let mut connection = RawHttp::connect(address).await.expect("a connection");
        let started = Instant::now();
        connection.send(at_once).await.expect("sent");
        let closed = connection.send_slowly(slowly.as_bytes(), 1, Duration::from_secs(1)).await.is_err();
        let answered = matches!(connection.receive(Duration::from_secs(1)).await, Received::Answer(_));
        assert!(closed || answered, "{at_once:?} is still open");
        started.elapsed()
    };
    let long = "x".repeat(12);
    let ended = tokio::join!(
        slow("", "GET /data/k HTTP/1.1\r\n"),
        slow("GET /data/k HTTP/1.1\r\nhost: x\r\nx: ", &long),
        slow("PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n", &long),
        slow(
            "POST /data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n",
            &long
        ),
    );
    println!("byte-a-second clients ended after {ended:?}");
    for ended in <[Duration; 4]>::from(ended) {
        // The next byte after the close, a second later, is the one that finds out.
        assert!(ended < Duration::from_secs(13), "{ended:?}");
    }
    eventually("no connection is left", Duration::from_secs(3), async || {
        connections(cluster.client(0)).await < 1.5
    })
    .await;
    cluster.client(0).store("still", "here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_never_read_are_closed_and_others_are_served_meanwhile() {
    let cluster = start().await;
    let client = cluster.client(0);
    let put = client.put("/data/large", vec![7; 1 << 20]).await;
    assert_eq!(put.status, 200, "{}", put.text());
    client.store("small", "v").await;
    let request = client.request("GET", "/data/large?raw").bytes();
    let mut deaf = Vec::new();
    for _ in 0..16 {
        let mut connection = RawHttp::connect(cluster.address(0)).await.expect("a connection");
        connection.send(request.repeat(50)).await.expect("sent");
        deaf.push(connection);
    }
    let started = Instant::now();
    eventually("the deaf are connected", Duration::from_secs(2), async || connections(client).await > 16.0)
        .await;
    let closed = async || {
        assert_eq!(client.get("/data/small").await.json()["value"], "v");
        connections(client).await < 1.5
    };
    eventually("all that never read are closed", Duration::from_secs(6), closed).await;
    println!("16 clients that never read were closed after {:?}", started.elapsed());
    assert_memory_is_bounded(&cluster, 17);
    let large = client.get("/data/large?raw").await;
    assert_eq!((large.status, large.body.len()), (200, 1 << 20));
    drop(deaf);
}

#[tokio::test]
async fn a_connection_over_the_limit_is_told_so_at_once() {
    let shape = Shape::default().masters(1).set("server.max_connections", "3");
    let cluster = shape.in_process().await.expect("a cluster starts");
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(RawHttp::connect(cluster.address(0)).await.expect("a connection"));
    }
    let refused = async || {
        let mut more = RawHttp::connect(cluster.address(0)).await.expect("a connection");
        match more.receive(Duration::from_millis(500)).await {
            Received::Answer(answer) => answer.problem(ErrorCode::Overloaded).status == 503,
            _ => false,
        }
    };
    eventually("one connection too many is answered 503", Duration::from_secs(3), refused).await;
    open.pop();
    let served = async || {
        let mut next = RawHttp::connect(cluster.address(0)).await.expect("a connection");
        next.send("GET /ready HTTP/1.1\r\nhost: x\r\n\r\n").await.is_ok()
            && matches!(next.receive(Duration::from_secs(1)).await, Received::Answer(answer) if answer.status == 200)
    };
    eventually("a place that became free is taken", Duration::from_secs(3), served).await;
}
