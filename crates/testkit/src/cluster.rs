//! A cluster of real processes.

mod faults;
mod programs;

use std::net::SocketAddr;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;

use crate::clocks::Clocks;
use crate::disk::Disk;
use crate::process::{Program, Starting};
use crate::{Client, FaultProxy, MetricsPage, Process, RedisServer, Shape, eventually};

/// How long data may move; debug builds on busy machines are slow.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);
/// Longer than an auxiliary hands over before it goes all the same.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);

/// A master and its auxiliaries as processes, each of which can be killed, stopped and asked what it uses.
#[derive(Debug)]
pub struct Cluster {
    masters: Vec<Process>,
    auxiliaries: Vec<Process>,
    redis: Option<RedisServer>,
    /// What stands between Redis and everybody else.
    redis_proxy: Option<FaultProxy>,
    /// What stands between each auxiliary and everybody else; empty where nothing does.
    proxies: Vec<FaultProxy>,
    /// Folders for snapshots, dropped before what they are in; empty where none are written.
    disks: Vec<Disk>,
    disks_in: Option<TempDir>,
    clocks: Option<Clocks>,
    shape: Shape,
    binary: PathBuf,
}

impl Cluster {
    pub(crate) async fn start(shape: &Shape, binary: PathBuf) -> Result<Self> {
        let mut cluster = Self {
            masters: Vec::new(),
            auxiliaries: Vec::new(),
            redis: None,
            redis_proxy: None,
            proxies: Vec::new(),
            disks: Vec::new(),
            disks_in: if shape.has_disks { Some(TempDir::new()?) } else { None },
            clocks: if shape.has_clocks { Some(Clocks::new()?) } else { None },
            shape: shape.clone(),
            binary,
        };
        if shape.has_redis {
            let redis = RedisServer::start().await?;
            cluster.redis_proxy = Some(FaultProxy::start(redis.address()).await?);
            cluster.redis = Some(redis);
        }
        let mut programs = Vec::new();
        for auxiliary in 0..shape.auxiliaries {
            programs.push(cluster.auxiliary_program(auxiliary).await?);
        }
        cluster.auxiliaries = start_all(&programs).await?;
        cluster.point_proxies();
        let programs: Result<Vec<_>> = (1..=shape.masters).map(|n| cluster.master_program(n)).collect();
        cluster.masters = start_all(&programs?).await?;
        for node in cluster.processes() {
            node.ready().await;
        }
        if shape.has_redis {
            cluster.settled().await;
        }
        Ok(cluster)
    }

    /// A client of a master, counted from 0.
    pub fn client(&self, master: usize) -> Client {
        self.masters[master].client()
    }

    /// Where a master listens.
    pub fn address(&self, master: usize) -> SocketAddr {
        self.masters[master].address()
    }

    /// The URL of a master.
    pub fn url(&self, master: usize) -> String {
        format!("http://{}", self.address(master))
    }

    /// The masters.
    pub fn masters(&self) -> &[Process] {
        &self.masters
    }

    /// The auxiliaries; the one at index 0 is called `aux-1`.
    pub fn auxiliaries(&self) -> &[Process] {
        &self.auxiliaries
    }

    /// A master, to be killed or restarted.
    pub fn master_mut(&mut self, master: usize) -> &mut Process {
        &mut self.masters[master]
    }

    /// An auxiliary, to be killed or restarted.
    pub fn auxiliary_mut(&mut self, auxiliary: usize) -> &mut Process {
        &mut self.auxiliaries[auxiliary]
    }

    /// The Redis that keeps the members.
    ///
    /// # Panics
    /// Where a fixed list does.
    pub fn redis_mut(&mut self) -> &mut RedisServer {
        self.redis.as_mut().expect("a cluster with a Redis")
    }

    /// The folder for an auxiliary's snapshots.
    ///
    /// # Panics
    /// Where there are none.
    pub fn disk(&self, auxiliary: usize) -> PathBuf {
        self.disks[auxiliary].folder().to_owned()
    }

    /// Kills an auxiliary with SIGKILL.
    pub fn kill_auxiliary(&mut self, auxiliary: usize) {
        self.auxiliaries[auxiliary].kill();
    }

    /// A further auxiliary joins; returns its index once it is ready.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn add(&mut self) -> Result<usize> {
        let index = self.auxiliaries.len();
        let program = self.auxiliary_program(index).await?;
        self.auxiliaries.push(Starting::spawn(&program, 0)?.finish().await?);
        self.point_proxies();
        self.auxiliaries[index].ready().await;
        Ok(index)
    }

    /// SIGTERM to an auxiliary, which hands over what it holds and ends.
    ///
    /// # Panics
    /// Where it ends with an error, or not at all.
    pub async fn drain(&mut self, auxiliary: usize) {
        let process = &mut self.auxiliaries[auxiliary];
        let status = process.terminate(DRAIN_LIMIT).await;
        assert!(status.success(), "{status}\n{}", process.log());
    }

    /// SIGTERM to some of the auxiliaries at once; to all of them, as when a whole cluster is stopped.
    ///
    /// # Panics
    /// As [`Self::drain`].
    pub async fn drain_at_once(&mut self, auxiliaries: Range<usize>) {
        let drained = self.auxiliaries[auxiliaries].iter_mut().map(|process| process.terminate(DRAIN_LIMIT));
        for status in join_all(drained).await {
            assert!(status.success(), "{status}");
        }
    }

    /// Starts an auxiliary again, with its name, port and folder, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn restart(&mut self, auxiliary: usize) -> Result<()> {
        self.auxiliaries[auxiliary].restart().await
    }

    /// Starts all auxiliaries again, killing those that still run, and waits until they are ready: which they are only
    /// together.
    ///
    /// # Errors
    /// Where one does not start.
    pub async fn restart_auxiliaries(&mut self) -> Result<()> {
        self.auxiliaries.iter_mut().for_each(Process::kill);
        for process in &mut self.auxiliaries {
            process.respawn().await?;
        }
        for process in &self.auxiliaries {
            process.ready().await;
        }
        Ok(())
    }

    /// What a master says of the auxiliaries: the answer to `GET /nodes`.
    pub async fn nodes(&self, master: usize) -> Value {
        self.client(master).get("/nodes").await.json()
    }

    /// Waits until they are [settled](Self::is_settled).
    pub async fn settled(&self) {
        eventually("settled, with all that run as members", SETTLE_LIMIT, async || self.is_settled().await)
            .await;
    }

    /// Whether all masters go by the same view, in which all members hold what they should and, with a Redis, the members
    /// are the auxiliaries that run.
    pub async fn is_settled(&self) -> bool {
        let names = (1..).map(|n| format!("aux-{n}")).zip(&self.auxiliaries);
        let running: Vec<_> = names.filter(|(_, node)| node.is_running()).map(|(name, _)| name).collect();
        let mut seen = Vec::new();
        for master in (0..self.masters.len()).filter(|master| self.masters[*master].is_running()) {
            seen.push(self.nodes(master).await);
        }
        seen.iter().all(|nodes| {
            let same = nodes["epoch"] == seen[0]["epoch"];
            same && is_settled(nodes) && (self.redis.is_none() || has_members(nodes, &running))
        })
    }

    /// How many entries each auxiliary holds, by its metrics; `None` for one that does not run.
    pub async fn items(&self) -> Vec<Option<usize>> {
        let items = self.auxiliaries.iter().map(async |node| {
            if !node.is_running() {
                return None;
            }
            let page = MetricsPage::parse(node.client().get("/metrics").await.text());
            Some(page.value("annulus_cache_items") as usize)
        });
        join_all(items).await
    }

    /// User and system CPU time of all processes that run, together, in clock ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        self.processes().map(|process| process.usage().cpu_ticks).sum()
    }

    /// Resident memory of all processes that run, together, in bytes.
    pub fn rss_bytes(&self) -> u64 {
        self.processes().map(|process| process.usage().rss_bytes).sum()
    }

    /// Waits until a master sees as many auxiliaries up as there are.
    pub async fn all_up(&self, master: usize, limit: Duration) {
        let up = async || {
            let health = self.client(master).get("/health").await.json();
            health["nodes"]["up"] == self.auxiliaries.len()
        };
        eventually("the master sees all auxiliaries up", limit, up).await;
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.masters.iter().chain(&self.auxiliaries).filter(|process| process.is_running())
    }
}

fn is_settled(nodes: &Value) -> bool {
    nodes["settled"] == true && listed(nodes).iter().all(|node| node["member"] == "member")
}

fn has_members(nodes: &Value, names: &[String]) -> bool {
    listed(nodes).len() == names.len()
        && listed(nodes).iter().zip(names).all(|(node, name)| node["id"] == **name)
}

fn listed(nodes: &Value) -> &[Value] {
    nodes["nodes"].as_array().expect("GET /nodes lists them")
}

/// Starts them at once and waits until all say where they listen.
async fn start_all(programs: &[Program]) -> Result<Vec<Process>> {
    let starting: Vec<_> =
        programs.iter().map(|program| Starting::spawn(program, 0)).collect::<Result<_>>()?;
    let mut processes = Vec::with_capacity(programs.len());
    for starting in starting {
        processes.push(starting.finish().await?);
    }
    Ok(processes)
}
