//! A cluster inside the test's own process, on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use annulus_auxiliary::Auxiliary;
use annulus_cluster::{Mechanisms, StaticAuthority};
use annulus_master::Master;
use annulus_service::net::{Listener as _, Net as _, SystemListener};
use annulus_service::{SystemNet, Workers};
use anyhow::Result;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Client, Shape, eventually};

const START_LIMIT: Duration = Duration::from_secs(10);

/// Masters and auxiliaries as tasks of this process. Dropped, they stop.
#[derive(Debug)]
pub struct InProcess {
    masters: Vec<Node>,
    auxiliaries: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    address: SocketAddr,
    memcached: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl InProcess {
    pub(crate) async fn start(shape: &Shape) -> Result<Self> {
        let settings = shape.load("")?;
        let mut auxiliaries = Vec::new();
        let mut list = Vec::new();
        for n in 1..=shape.auxiliaries {
            let net = SystemNet::new();
            let (listener, address) = listen(&net).await?;
            let (memcached, memcached_at) = listen(&net).await?;
            let parts = annulus_auxiliary::Parts { seed: n as u64, ..Default::default() };
            let auxiliary = Auxiliary::build(format!("aux-{n}"), &settings, &net, parts)?;
            list.push(format!("aux-{n}={address}"));
            auxiliaries.push(Node::spawn(address, memcached_at, |shutdown| {
                auxiliary.run(listener, Some(memcached), shutdown)
            }));
        }
        let settings = shape.load(&list.join(","))?;
        let mut masters = Vec::new();
        for n in 1..=shape.masters {
            let net = SystemNet::new();
            let (listener, address) = listen(&net).await?;
            let (memcached, memcached_at) = listen(&net).await?;
            let list = annulus_master::fixed_list(&settings.cluster)?;
            let parts = annulus_master::Parts {
                seed: n as u64,
                roster: list.clone(),
                authority: Arc::new(StaticAuthority::from(list)),
                mechanisms: Mechanisms::default(),
                workers: Workers::ambient(),
                source: None,
            };
            let master = Master::build(format!("master-{n}"), &settings, &net, parts)?;
            masters.push(Node::spawn(address, memcached_at, |shutdown| {
                master.run(listener, Some(memcached), shutdown)
            }));
        }
        for node in auxiliaries.iter().chain(&masters) {
            let ready = async || Client::new(node.address).get("/ready").await.status == 200;
            eventually("the node is ready", START_LIMIT, ready).await;
        }
        Ok(Self { masters, auxiliaries })
    }

    /// A client of a master, counted from 0.
    pub fn client(&self, master: usize) -> Client {
        Client::new(self.address(master))
    }

    /// A client of an auxiliary, counted from 0.
    pub fn auxiliary(&self, auxiliary: usize) -> Client {
        Client::new(self.auxiliaries[auxiliary].address)
    }

    /// How many auxiliaries it started with.
    pub fn auxiliaries(&self) -> usize {
        self.auxiliaries.len()
    }

    /// Where a master listens.
    pub fn address(&self, master: usize) -> SocketAddr {
        self.masters[master].address
    }

    /// Where a master listens for memcached's clients.
    pub fn memcached(&self, master: usize) -> SocketAddr {
        self.masters[master].memcached
    }

    /// Where an auxiliary does, counted from 0.
    pub fn auxiliary_memcached(&self, auxiliary: usize) -> SocketAddr {
        self.auxiliaries[auxiliary].memcached
    }

    /// The URL of a master.
    pub fn url(&self, master: usize) -> String {
        format!("http://{}", self.address(master))
    }

    /// Stops an auxiliary gracefully; what it held is gone.
    pub async fn stop_auxiliary(&mut self, auxiliary: usize) {
        let node = &mut self.auxiliaries[auxiliary];
        node.shutdown.cancel();
        (&mut node.task).await.expect("an auxiliary stops without a panic");
    }
}

impl Node {
    fn spawn<F>(address: SocketAddr, memcached: SocketAddr, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(run(shutdown.clone()));
        Self { address, memcached, shutdown, task }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}

async fn listen(net: &SystemNet) -> Result<(SystemListener, SocketAddr)> {
    let listener = net.bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
