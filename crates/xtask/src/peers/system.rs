//! How each system is started.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::scenario::System;
use super::server::{Probe, Server, free_port};

/// Nodes behind a router.
const NODES: usize = 3;
/// More than any load needs: nothing is evicted.
const MEMORY_MB: u32 = 1024;

/// The programs to start, as paths or as names to be found in `PATH`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Programs {
    /// Annulus [default: target/dist/annulus, which is built first]
    #[arg(long, value_name = "PATH")]
    pub(crate) annulus: Option<PathBuf>,
    /// memcached, also that behind nutcracker
    #[arg(long, value_name = "PATH", default_value = "memcached")]
    pub(crate) memcached: PathBuf,
    /// nutcracker (twemproxy)
    #[arg(long, value_name = "PATH", default_value = "nutcracker")]
    pub(crate) nutcracker: PathBuf,
    /// redis-server
    #[arg(long, value_name = "PATH", default_value = "redis-server")]
    pub(crate) redis: PathBuf,
    /// webdis
    #[arg(long, value_name = "PATH", default_value = "webdis")]
    pub(crate) webdis: PathBuf,
}

/// A system that serves.
#[derive(Debug)]
pub(crate) struct Running {
    /// Where clients connect.
    pub(crate) url: String,
    /// The one that clients talk to is the last.
    servers: Vec<Server>,
    /// Configuration and logs.
    _folder: TempDir,
}

impl Running {
    /// Starts `system` and waits until it serves.
    ///
    /// # Errors
    /// Where a program is missing or ends, with what it said.
    pub(crate) async fn start(system: System, programs: &Programs, annulus: &Path) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut starting = Starting { programs, annulus, folder: folder.path(), servers: Vec::new() };
        let port = match system {
            System::Auxiliary => starting.auxiliary(1, 1, true).await?.memcached,
            System::Router { replicas } => starting.master(replicas, true).await?,
            System::Rest => starting.master(1, false).await?,
            System::Memcached => starting.memcached(1).await?,
            System::Nutcracker => starting.nutcracker().await?,
            System::Webdis => starting.webdis().await?,
            System::BareAxum => starting.bare().await?,
        };
        let scheme = if system.interface().is_some() { "http" } else { "memcached" };
        let servers = starting.servers;
        Ok(Self { url: format!("{scheme}://127.0.0.1:{port}"), servers, _folder: folder })
    }

    /// User and system time of all its processes, in clock ticks of 10 ms.
    pub(crate) fn cpu_ticks(&self) -> Result<u64> {
        self.servers.iter().map(|server| Ok(server.usage()?.cpu_ticks)).sum()
    }

    /// Resident memory of all its processes.
    pub(crate) fn rss_bytes(&self) -> Result<u64> {
        self.servers.iter().map(|server| Ok(server.usage()?.rss_bytes)).sum()
    }

    /// All its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(Server::pid).collect()
    }

    /// The process that clients talk to.
    pub(crate) fn front(&self) -> Vec<u32> {
        self.servers.last().map(Server::pid).into_iter().collect()
    }
}

/// A system on its way.
struct Starting<'a> {
    programs: &'a Programs,
    annulus: &'a Path,
    folder: &'a Path,
    servers: Vec<Server>,
}

/// Where an auxiliary listens.
struct Ports {
    http: u16,
    memcached: u16,
}

impl Starting<'_> {
    async fn run(&mut self, name: &str, program: &Path, args: &str, probe: Probe) -> Result<()> {
        let args: Vec<_> = args.split_whitespace().map(str::to_owned).collect();
        self.servers.push(Server::start(name, program, &args, self.folder)?);
        self.servers.last_mut().context("it was just started")?.ready(&probe).await
    }

    async fn memcached(&mut self, number: usize) -> Result<u16> {
        let port = free_port()?;
        // As root it asks for a user; a change of user would undo that it dies with the tool.
        let args = format!("-u root -l 127.0.0.1 -p {port} -t 2 -m {MEMORY_MB} -c 4096");
        let program = &self.programs.memcached;
        self.run(&format!("memcached-{number}"), program, &args, Probe::memcached(port)).await?;
        Ok(port)
    }

    async fn nutcracker(&mut self) -> Result<u16> {
        let mut servers = Vec::new();
        for number in 1..=NODES {
            servers.push(format!("    - 127.0.0.1:{}:1 node-{number}\n", self.memcached(number).await?));
        }
        let (port, stats_port) = (free_port()?, free_port()?);
        self.write("nutcracker.yml", &nutcracker_configuration(port, &servers.concat()))?;
        let args = format!(
            "--conf-file=nutcracker.yml --output=nutcracker.out --pid-file=nutcracker.pid --stats-addr=127.0.0.1 \
             --stats-port={stats_port}"
        );
        self.run("nutcracker", &self.programs.nutcracker, &args, Probe::memcached(port)).await?;
        Ok(port)
    }

    async fn webdis(&mut self) -> Result<u16> {
        let (redis, port) = (free_port()?, free_port()?);
        self.write("redis.conf", &format!("bind 127.0.0.1\nport {redis}\nappendonly no\nsave \"\"\n"))?;
        self.run("redis", &self.programs.redis, "redis.conf", Probe::redis(redis)).await?;
        self.write("webdis.json", &webdis_configuration(port, redis))?;
        self.run("webdis", &self.programs.webdis, "webdis.json", Probe::http(port, "/PING")).await?;
        Ok(port)
    }

    async fn bare(&mut self) -> Result<u16> {
        let port = free_port()?;
        let program = std::env::current_exe()?;
        self.run("bare-axum", &program, &format!("bare --port {port}"), Probe::http(port, "/ready")).await?;
        Ok(port)
    }

    async fn auxiliary(&mut self, number: usize, replicas: u32, speaks_memcached: bool) -> Result<Ports> {
        let ports = Ports { http: free_port()?, memcached: free_port()? };
        let mut args = format!("auxiliary --name aux-{number} {}", settings(ports.http, replicas));
        // Without, it would take the usual port.
        let port_setting = if speaks_memcached { ports.memcached.to_string() } else { String::new() };
        args = format!("{args} --set auxiliary.memcached_port={port_setting}");
        self.run(&format!("aux-{number}"), self.annulus, &args, Probe::http(ports.http, "/ready")).await?;
        if speaks_memcached {
            let probe = Probe::memcached(ports.memcached);
            self.servers.last_mut().context("it was just started")?.ready(&probe).await?;
        }
        Ok(ports)
    }

    /// A master and its auxiliaries; where the master listens for memcached, or else for HTTP.
    async fn master(&mut self, replicas: u32, speaks_memcached: bool) -> Result<u16> {
        let mut auxiliaries = Vec::new();
        for number in 1..=NODES {
            let ports = self.auxiliary(number, replicas, false).await?;
            auxiliaries.push(format!("aux-{number}=127.0.0.1:{}", ports.http));
        }
        let (port, memcached) = (free_port()?, free_port()?);
        let mut args = format!(
            "master --name master-1 {} --auxiliaries {}",
            settings(port, replicas),
            auxiliaries.join(",")
        );
        // Without, it would take the usual port.
        let port_setting = if speaks_memcached { memcached.to_string() } else { String::new() };
        args = format!("{args} --set master.memcached_port={port_setting}");
        self.run("master", self.annulus, &args, Probe::http(port, "/ready")).await?;
        if !speaks_memcached {
            return Ok(port);
        }
        self.servers.last_mut().context("it was just started")?.ready(&Probe::memcached(memcached)).await?;
        Ok(memcached)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }
}

/// What all nodes of Annulus are told.
fn settings(port: u16, replicas: u32) -> String {
    format!(
        "--port {port} --set server.host=127.0.0.1 --set log.level=warn --set auxiliary.memory={MEMORY_MB}Mi \
         --set cluster.replicas={replicas}"
    )
}

/// As its own documentation has it, but that no node is ejected: a load that fails must show.
fn nutcracker_configuration(port: u16, servers: &str) -> String {
    format!(
        "peers:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  auto_eject_hosts: false\n  \
         preconnect: true\n  timeout: 5000\n  servers:\n{servers}"
    )
}

/// Two threads, and no line in its log for each request.
fn webdis_configuration(port: u16, redis: u16) -> String {
    format!(
        "{{\"redis_host\": \"127.0.0.1\", \"redis_port\": {redis}, \"http_host\": \"127.0.0.1\", \"http_port\": {port}, \
         \"threads\": 2, \"pool_size\": 20, \"daemonize\": false, \"database\": 0, \"verbosity\": 0, \
         \"logfile\": \"/dev/null\"}}"
    )
}
