//! Replicas with a Redis and an upstream.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use annulus_testkit::{MetricsPage, Process, RedisServer, eventually};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{BINARY, LIMIT, NAME, Upstream};

/// How the replicas are told to behave.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) ttl: &'static str,
    pub(crate) check: &'static str,
    pub(crate) poll: &'static str,
    pub(crate) interval: &'static str,
    /// Further lines of the dataset's table.
    pub(crate) dataset: String,
    /// Further flags of each replica.
    pub(crate) flags: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            ttl: "2s",
            check: "500ms",
            poll: "30s",
            interval: "1s",
            dataset: String::new(),
            flags: Vec::new(),
            env: Vec::new(),
        }
    }
}

/// A group of replicas, and what they share.
pub(crate) struct Group {
    pub(crate) redis: RedisServer,
    pub(crate) upstream: Upstream,
    pub(crate) replicas: Vec<Process>,
    shape: Shape,
    folder: TempDir,
}

impl Group {
    /// No replicas yet.
    pub(crate) async fn new(shape: Shape) -> Self {
        let redis = RedisServer::start().await.unwrap();
        let upstream = Upstream::start().await;
        let group = Self { redis, upstream, replicas: Vec::new(), shape, folder: TempDir::new().unwrap() };
        std::fs::write(group.file(), group.text()).unwrap();
        group
    }

    /// With so many replicas, all of them ready.
    pub(crate) async fn start(shape: Shape, replicas: usize) -> Self {
        let mut group = Self::new(shape).await;
        for _ in 0..replicas {
            group.add(group.redis.address()).await;
        }
        group.ready().await;
        group
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("annulus.toml")
    }

    fn text(&self) -> String {
        let Shape { interval, dataset, .. } = &self.shape;
        let url = format!("http://{}/{NAME}", self.upstream.address());
        format!("[[datasets]]\nname = '{NAME}'\nurl = '{url}'\nrefresh_interval = '{interval}'\n{dataset}\n")
    }

    fn args(&self, redis: SocketAddr) -> Vec<String> {
        let Shape { ttl, check, poll, flags, .. } = &self.shape;
        let file = self.file().display().to_string();
        let url = redis.to_string();
        let own = [
            "refresher",
            "--host",
            "127.0.0.1",
            "--config",
            &file,
            "--redis",
            &url,
            "--leadership-ttl",
            ttl,
            "--leadership-check-interval",
            check,
            "--set",
            &format!("refresher.poll_interval={poll}"),
        ]
        .map(str::to_owned);
        own.into_iter().chain(flags.iter().cloned()).collect()
    }

    /// A further replica, which reaches Redis there.
    pub(crate) async fn add(&mut self, redis: SocketAddr) {
        let process = Process::start_with(BINARY, &self.args(redis), &self.shape.env).await.unwrap();
        self.replicas.push(process);
    }

    pub(crate) async fn ready(&self) {
        for replica in self.replicas.iter().filter(|replica| replica.is_running()) {
            replica.ready().await;
        }
    }

    pub(crate) async fn health(&self, replica: usize) -> Value {
        health(&self.replicas[replica]).await
    }

    /// What a replica says of the dataset.
    pub(crate) async fn dataset(&self, replica: usize) -> Value {
        self.health(replica).await["datasets"][NAME].clone()
    }

    /// The revision in a replica's memory.
    pub(crate) async fn revision(&self, replica: usize) -> u64 {
        self.dataset(replica).await["revision"].as_u64().unwrap()
    }

    pub(crate) async fn metrics(&self, replica: usize) -> MetricsPage {
        MetricsPage::parse(self.replicas[replica].client().get("/metrics").await.text())
    }

    /// Waits until exactly one of those that run leads.
    pub(crate) async fn leader(&self) -> usize {
        self.leader_other_than(None).await
    }

    pub(crate) async fn leader_other_than(&self, other: Option<usize>) -> usize {
        let mut leader = None;
        eventually("a replica leads", LIMIT, async || {
            let mut found = Vec::new();
            for (at, replica) in self.replicas.iter().enumerate() {
                if Some(at) != other && replica.is_running() && health(replica).await["is_leader"] == true {
                    found.push(at);
                }
            }
            leader = found.first().copied();
            found.len() == 1
        })
        .await;
        leader.unwrap()
    }

    /// Waits until all that run have the same revision, above this one, and returns it.
    pub(crate) async fn all_above(&self, revision: u64, limit: Duration) -> u64 {
        let mut common = 0;
        let what = format!("all replicas have one revision above {revision}");
        eventually(&what, limit, async || {
            let mut all = Vec::new();
            for at in (0..self.replicas.len()).filter(|at| self.replicas[*at].is_running()) {
                all.push(self.revision(at).await);
            }
            common = all[0];
            all.iter().all(|each| *each == common && common > revision)
        })
        .await;
        common
    }

    /// The highest revision that any replica has.
    pub(crate) async fn all_revisions_max(&self) -> u64 {
        let mut highest = 0;
        for at in 0..self.replicas.len() {
            highest = highest.max(self.revision(at).await);
        }
        highest
    }

    /// Waits until each of these has a revision above this one, whichever; returns how long that took.
    pub(crate) async fn each_above(&self, revision: u64, limit: Duration) -> Duration {
        let mut behind: Vec<_> =
            (0..self.replicas.len()).filter(|at| self.replicas[*at].is_running()).collect();
        eventually(&format!("each replica is above {revision}"), limit, async || {
            let mut still = Vec::new();
            for at in behind.drain(..) {
                if self.revision(at).await <= revision {
                    still.push(at);
                }
            }
            behind = still;
            behind.is_empty()
        })
        .await
    }
}

async fn health(replica: &Process) -> Value {
    replica.client().get("/health").await.json()
}

/// Asks a Redis something, in words; the answer as it came, or nothing where there is none.
pub(crate) async fn redis(address: SocketAddr, command: &str) -> String {
    let ask = async {
        let mut io = TcpStream::connect(address).await?;
        io.write_all(format!("{command}\r\n").as_bytes()).await?;
        let mut answer = vec![0; 1 << 16];
        let read = io.read(&mut answer).await?;
        answer.truncate(read);
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    ask.await.unwrap_or_default()
}
