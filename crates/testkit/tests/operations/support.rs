//! Nodes that register through masters.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annulus_auxiliary::snapshots::{MemoryFiles, Snapshots};
use annulus_auxiliary::{Auxiliary, HttpAuthority, Joining};
use annulus_cluster::{
    Authority, Beat, Keeper, KeeperSettings, Layout, Mechanisms, MemoryRegistry, Node, Roster, Seat,
};
use annulus_master::Master;
use annulus_protocol::Secret;
use annulus_protocol::handshake::{Challenge, Identity, Nonce};
use annulus_service::config::Settings;
use annulus_service::net::{Clock as _, Listener as _, Net as _, SystemClock, SystemListener};
use annulus_service::{SystemNet, Workers};
use annulus_testkit::{Client, eventually};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const SECRET: &str = "a-secret-of-these-tests";
pub(crate) const OTHER_SECRET: &str = "another-secret-of-these-tests";
const LAYOUT: Layout = Layout { replicas: 2, virtual_nodes: 64 };
const LIMIT: Duration = Duration::from_secs(20);

/// A node that runs, in a runtime of its own, so that nothing of it is left when it is dropped, connections included.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<()>,
    runtime: Option<Runtime>,
}

impl Running {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Waits until it has stopped by itself.
    pub(crate) async fn ended(&mut self) {
        let ended = tokio::time::timeout(LIMIT, &mut self.task).await;
        ended.expect("it stops in time").expect("it stops without a panic");
    }

    fn new<F>(address: SocketAddr, runtime: Runtime, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let task = runtime.spawn(run(shutdown.clone()));
        Self { address, shutdown, task, runtime: Some(runtime) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn settings(secret: &str) -> Settings {
    let mut settings = Settings::default();
    settings.cluster.secret = Some(secret.to_owned());
    settings.cluster.lease_ttl = Duration::from_secs(2);
    settings.auxiliary.memory = 16 << 20;
    settings.auxiliary.settle_share = 100;
    settings
}

pub(crate) fn registry() -> MemoryRegistry {
    let clock = SystemClock::new();
    MemoryRegistry::new(Arc::new(move || clock.now_ms()))
}

/// An authority of its own on a registry, as a master has it.
pub(crate) fn keeper(registry: &MemoryRegistry) -> Arc<dyn Authority> {
    let settings = KeeperSettings { lease_ttl: Duration::from_secs(2), layout: LAYOUT };
    Arc::new(Keeper::new(registry.clone(), settings))
}

/// What a node needs before it is built.
struct Place {
    runtime: Runtime,
    net: SystemNet,
    listener: SystemListener,
    address: SocketAddr,
}

async fn place(address: &str) -> Place {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let net = SystemNet::new();
    let (address, bound) = (address.to_owned(), net.clone());
    // A socket belongs to the runtime in which it was made.
    let listener = runtime.spawn(async move { bound.bind(&address).await }).await.unwrap();
    let listener = listener.expect("the port can be had");
    let address = listener.local_addr().expect("an address");
    Place { runtime, net, listener, address }
}

pub(crate) async fn master(registry: &MemoryRegistry) -> Running {
    master_with(registry, &settings(SECRET), "127.0.0.1:0").await
}

pub(crate) async fn master_with(registry: &MemoryRegistry, settings: &Settings, address: &str) -> Running {
    let Place { runtime, net, listener, address } = place(address).await;
    let parts = annulus_master::Parts {
        seed: u64::from(address.port()),
        authority: keeper(registry),
        roster: Roster::new(LAYOUT),
        mechanisms: Mechanisms::default(),
        workers: Workers::ambient(),
        source: None,
    };
    let master = Master::build("master".to_owned(), settings, &net, parts).expect("a master");
    Running::new(address, runtime, |shutdown| master.run(listener, None, shutdown))
}

/// An auxiliary that registers through `masters`; with `files`, it takes snapshots there.
pub(crate) async fn auxiliary(name: &str, masters: &[SocketAddr], files: Option<&MemoryFiles>) -> Running {
    let Place { runtime, net, listener, address } = place("127.0.0.1:0").await;
    let authority = Arc::new(authority(masters, SECRET));
    let secret = Secret::new(SECRET).unwrap();
    let joining = Joining { authority, address: address.to_string(), secret };
    let snapshots = files.map(|files| Snapshots::new(Arc::new(files.clone()), name, 2));
    let parts = annulus_auxiliary::Parts {
        seed: 1,
        joining: Some(joining),
        keeping: None,
        snapshots,
        mechanisms: Mechanisms::default(),
        workers: Workers::ambient(),
        source: None,
    };
    let node = Auxiliary::build(name.to_owned(), &settings(SECRET), &net, parts).expect("an auxiliary");
    Running::new(address, runtime, |shutdown| node.run(listener, None, shutdown))
}

pub(crate) fn authority(masters: &[SocketAddr], secret: &str) -> HttpAuthority<SystemNet> {
    let masters: Vec<String> = masters.iter().map(ToString::to_string).collect();
    HttpAuthority::new(&SystemNet::new(), &masters, Secret::new(secret).unwrap(), 7).expect("addresses")
}

/// A master with `count` auxiliaries that hold what they should.
pub(crate) async fn cluster(count: usize, files: &[MemoryFiles]) -> (Running, Vec<Running>) {
    let master = master(&registry()).await;
    let mut nodes = Vec::new();
    for number in 1..=count {
        nodes.push(auxiliary(&format!("aux-{number}"), &[master.address], files.get(number - 1)).await);
    }
    settled(&master, count).await;
    (master, nodes)
}

/// Waits until a master knows so many nodes, and all hold what they should.
pub(crate) async fn settled(master: &Running, count: usize) -> Value {
    let is_settled = async || {
        let nodes = nodes(master).await;
        nodes["settled"] == true && nodes["nodes"].as_array().map(Vec::len) == Some(count)
    };
    eventually("all have settled", LIMIT, is_settled).await;
    nodes(master).await
}

pub(crate) async fn nodes(master: &Running) -> Value {
    master.client().get("/nodes").await.json()
}

pub(crate) fn beat(name: &str, address: SocketAddr, incarnation: u64) -> Beat {
    let node = Node::new(name, address.to_string());
    Beat { seat: Seat { node, incarnation }, settled: 0, leaving: false }
}

/// Who stands at an address and answers challenges as an auxiliary does, and nothing else. It counts its callers.
pub(crate) struct Joiner {
    pub(crate) address: SocketAddr,
    pub(crate) authority: Arc<HttpAuthority<SystemNet>>,
    called: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Joiner {
    pub(crate) async fn new(name: &'static str, incarnation: u64, masters: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let authority = Arc::new(authority(masters, SECRET));
        let called = Arc::new(AtomicUsize::new(0));
        let own = Identity { name: name.to_owned(), address: address.to_string(), incarnation };
        let task = tokio::spawn({
            let (authority, called) = (Arc::clone(&authority), Arc::clone(&called));
            async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    // Masters look after the health of their members too.
                    tokio::spawn(answer(stream, own.clone(), Arc::clone(&authority), Arc::clone(&called)));
                }
            }
        });
        Self { address, authority, called, task }
    }

    pub(crate) fn called(&self) -> usize {
        self.called.load(Ordering::Relaxed)
    }
}

/// Answers one request, if it is a challenge.
async fn answer(
    mut stream: TcpStream,
    own: Identity,
    authority: Arc<HttpAuthority<SystemNet>>,
    called: Arc<AtomicUsize>,
) {
    let mut bytes = Vec::new();
    let challenge: Challenge = loop {
        if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) || !bytes.starts_with(b"POST /challenge ") {
            return;
        }
        let text = std::str::from_utf8(&bytes).unwrap();
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(Ok(challenge)) = body.map(serde_json::from_str) {
            break challenge;
        }
    };
    called.fetch_add(1, Ordering::Relaxed);
    let pending = authority.asks_back_for().map(Nonce);
    let (status, body) = match challenge.answer(&Secret::new(SECRET).unwrap(), &own, pending) {
        Ok(answer) => ("200 OK", serde_json::to_string(&answer).unwrap()),
        Err(_) => ("409 Conflict", "{}".to_owned()),
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

impl Drop for Joiner {
    fn drop(&mut self) {
        self.task.abort();
    }
}
