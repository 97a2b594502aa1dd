//! Masters and auxiliaries one by one, each with settings of its own.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use annulus_testkit::{MemcachedClient, MetricsPage, Process};

use crate::support::BINARY;

async fn start(role: &str, name: &str, more: &[&str]) -> Process {
    let port = format!("{role}.memcached_port=");
    // With one worker a node is in reach for all requests or for none.
    let common = [role, "--name", name, "--host", "127.0.0.1", "--log-level", "info", "--set", &port];
    let common = [&common[..], &["--set", "server.workers=1"]].concat();
    let args: Vec<String> = common.iter().chain(more).map(|arg| (*arg).to_owned()).collect();
    let process = Process::start(BINARY, &args).await.expect("it starts");
    process.ready().await;
    process
}

/// An auxiliary that is no member of anything.
pub(super) async fn auxiliary(name: &str) -> Process {
    start("auxiliary", name, &[]).await
}

/// Auxiliaries called `a`, `b`, … that are no members of anything.
pub(super) async fn auxiliaries(count: u8) -> Vec<Process> {
    let mut started = Vec::new();
    for letter in (b'a'..).take(usize::from(count)) {
        started.push(auxiliary(&char::from(letter).to_string()).await);
    }
    started
}

/// The auxiliaries as a master lists them; in zones called `zone-a`, `zone-b`, ….
pub(super) fn listed(auxiliaries: &[Process]) -> String {
    let item = |(letter, node): (u8, &Process)| {
        let name = char::from(letter);
        format!("{name}={}@zone-{name}", node.address())
    };
    (b'a'..).zip(auxiliaries).map(item).collect::<Vec<_>>().join(",")
}

/// A master of these auxiliaries.
pub(super) async fn master(auxiliaries: &[Process], more: &[&str]) -> Process {
    let list = listed(auxiliaries);
    start("master", "master", &[&["--auxiliaries", &list], more].concat()).await
}

/// A master whose settings are in a file.
pub(super) async fn master_by_file(auxiliaries: &[Process], path: &str) -> Process {
    master(auxiliaries, &["--config", path]).await
}

pub(super) async fn metrics(process: &Process) -> MetricsPage {
    MetricsPage::parse(process.client().get("/metrics").await.text())
}

/// Entries that an auxiliary holds.
pub(super) async fn items(auxiliary: &Process) -> usize {
    metrics(auxiliary).await.value("annulus_cache_items") as usize
}

/// Calls of a master to each auxiliary that were answered.
pub(super) async fn calls(master: &Process, node: &str) -> u64 {
    let series = format!("annulus_upstream_requests_total{{node=\"{node}\",outcome=\"ok\"}}");
    metrics(master).await.value(&series) as u64
}

/// What memcached's client hears. The servers are other processes, so it may block.
pub(super) fn said(address: SocketAddr, request: &str) -> String {
    let mut client = MemcachedClient::connect(address).expect("the server accepts");
    let answer = client.exchange(request.as_bytes()).expect("an answer");
    String::from_utf8(answer).expect("text")
}

/// The keys that one `get` of all of them finds.
pub(super) fn found(address: SocketAddr, names: &[String]) -> BTreeSet<String> {
    let answer = said(address, &format!("get {}\r\n", names.join(" ")));
    assert!(answer.ends_with("END\r\n") && !answer.contains("ERROR"), "{answer}");
    let key = |line: &str| line.strip_prefix("VALUE ")?.split(' ').next().map(str::to_owned);
    answer.lines().filter_map(key).collect()
}

pub(super) fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("key-{n}")).collect()
}

/// Stores every name as its own value.
pub(super) fn store_all(address: SocketAddr, names: &[String]) {
    for name in names {
        let answer = said(address, &format!("set {name} 0 0 {}\r\n{name}\r\n", name.len()));
        assert_eq!(answer, "STORED\r\n", "{name}");
    }
}
