//! A cluster of real processes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::process::Starting;
use crate::{Client, Process, Shape, eventually};

/// A master and its auxiliaries as processes, each of which can be killed, stopped and asked what it uses.
#[derive(Debug)]
pub struct Cluster {
    masters: Vec<Process>,
    auxiliaries: Vec<Process>,
}

impl Cluster {
    pub(crate) async fn start(shape: &Shape, binary: PathBuf) -> Result<Self> {
        let auxiliaries = nodes(shape, &binary, "auxiliary", "aux", shape.auxiliaries, &[]).await?;
        let list: Vec<_> =
            auxiliaries.iter().zip(1..).map(|(node, n)| format!("aux-{n}={}", node.address())).collect();
        let more = ["--auxiliaries".to_owned(), list.join(",")];
        let masters = nodes(shape, &binary, "master", "master", shape.masters, &more).await?;
        for node in auxiliaries.iter().chain(&masters) {
            node.ready().await;
        }
        Ok(Self { masters, auxiliaries })
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

    /// Kills an auxiliary with SIGKILL.
    pub fn kill_auxiliary(&mut self, auxiliary: usize) {
        self.auxiliaries[auxiliary].kill();
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
}

/// Starts `count` nodes at once and waits for all of them.
async fn nodes(
    shape: &Shape,
    binary: &PathBuf,
    role: &str,
    name: &str,
    count: usize,
    more: &[String],
) -> Result<Vec<Process>> {
    let args = |n: usize| {
        let mut args = vec![role.to_owned(), "--name".to_owned(), format!("{name}-{n}")];
        args.extend(more.iter().cloned().chain(shape.flags()));
        args
    };
    let starting: Vec<_> =
        (1..=count).map(|n| Ok((args(n), Starting::spawn(binary, &args(n), 0)?))).collect::<Result<_>>()?;
    let mut processes = Vec::with_capacity(count);
    for (args, starting) in starting {
        processes.push(Process::finish(binary.clone(), args, starting).await?);
    }
    Ok(processes)
}
