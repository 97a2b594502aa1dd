//! A cluster of real processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Program, Starting};
use crate::{Client, Process, RedisServer, Shape, eventually};

/// The secret of every cluster with a Redis.
const SECRET: &str = "a-secret-of-the-tests";
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
    disks: Option<TempDir>,
    shape: Shape,
    binary: PathBuf,
}

impl Cluster {
    pub(crate) async fn start(shape: &Shape, binary: PathBuf) -> Result<Self> {
        let mut cluster = Self {
            masters: Vec::new(),
            auxiliaries: Vec::new(),
            redis: if shape.has_redis { Some(RedisServer::start().await?) } else { None },
            disks: if shape.has_disks { Some(TempDir::new()?) } else { None },
            shape: shape.clone(),
            binary,
        };
        let programs: Vec<_> = (0..shape.auxiliaries).map(|n| cluster.auxiliary_program(n)).collect();
        cluster.auxiliaries = start_all(&programs).await?;
        let programs: Vec<_> = (1..=shape.masters).map(|n| cluster.master_program(n)).collect();
        cluster.masters = start_all(&programs).await?;
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
        disk(self.disks.as_ref().expect("a cluster with disks").path(), auxiliary)
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
        let process = Starting::spawn(&self.auxiliary_program(index), 0)?.finish().await?;
        process.ready().await;
        self.auxiliaries.push(process);
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

    /// SIGTERM to all auxiliaries at once, as when a whole cluster is stopped.
    ///
    /// # Panics
    /// As [`Self::drain`].
    pub async fn drain_all(&mut self) {
        let drained = self.auxiliaries.iter_mut().map(|process| process.terminate(DRAIN_LIMIT));
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

    /// Waits until all masters go by the same view, in which all members hold what they should and, with a Redis, the
    /// members are the auxiliaries that run.
    pub async fn settled(&self) {
        let mut seen = Vec::new();
        let names = (1..).map(|n| format!("aux-{n}")).zip(&self.auxiliaries);
        let running: Vec<_> = names.filter(|(_, node)| node.is_running()).map(|(name, _)| name).collect();
        let settled = async || {
            seen.clear();
            for master in (0..self.masters.len()).filter(|master| self.masters[*master].is_running()) {
                seen.push(self.nodes(master).await);
            }
            seen.iter().all(|nodes| {
                let same = nodes["epoch"] == seen[0]["epoch"];
                same && is_settled(nodes) && (self.redis.is_none() || has_members(nodes, &running))
            })
        };
        eventually(&format!("settled, with the members {running:?}"), SETTLE_LIMIT, settled).await;
    }

    /// User and system CPU time of all processes together, in clock ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        self.processes().map(|process| process.usage().cpu_ticks).sum()
    }

    /// Resident memory of all processes together, in bytes.
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
        self.masters.iter().chain(&self.auxiliaries)
    }

    fn auxiliary_program(&self, auxiliary: usize) -> Program {
        let mut program = self.program("auxiliary", &format!("aux-{}", auxiliary + 1));
        if let Some(disks) = &self.disks {
            let folder = disk(disks.path(), auxiliary);
            program.args.extend(["--backup-dir".to_owned(), folder.display().to_string()]);
        }
        program
    }

    /// With a fixed list, the auxiliaries have their ports already.
    fn master_program(&self, number: usize) -> Program {
        let mut program = self.program("master", &format!("master-{number}"));
        if self.redis.is_none() {
            let listed = (1..).zip(&self.auxiliaries).map(|(n, node)| format!("aux-{n}={}", node.address()));
            program.args.extend(["--auxiliaries".to_owned(), listed.collect::<Vec<_>>().join(",")]);
        }
        program
    }

    fn program(&self, role: &str, name: &str) -> Program {
        let mut args = [role, "--name", name].map(str::to_owned).to_vec();
        let mut env = Vec::new();
        args.extend(self.shape.flags());
        if let Some(redis) = &self.redis {
            args.extend(["--redis".to_owned(), redis.url()]);
            env.push(("ANNULUS_CLUSTER__SECRET".to_owned(), SECRET.to_owned()));
        }
        Program { binary: self.binary.clone(), args, env }
    }
}

fn disk(disks: &Path, auxiliary: usize) -> PathBuf {
    disks.join(format!("aux-{}", auxiliary + 1))
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
