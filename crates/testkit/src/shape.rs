//! How a cluster looks, whichever way it runs.

use std::path::PathBuf;

use annulus_service::config::{Flag, Role, Settings, Sources, load};
use anyhow::Result;

use crate::{Cluster, InProcess};

/// How many nodes of which kind, and their settings. Every node listens on a free port of the loopback interface.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent choice")]
pub struct Shape {
    pub(crate) masters: usize,
    pub(crate) auxiliaries: usize,
    pub(crate) has_redis: bool,
    pub(crate) has_disks: bool,
    pub(crate) disk_bytes: Option<u64>,
    pub(crate) has_proxies: bool,
    pub(crate) has_clocks: bool,
    settings: Vec<(String, String)>,
}

impl Default for Shape {
    /// Two masters, three auxiliaries of 64 MiB, two copies; a fixed list says who the auxiliaries are.
    fn default() -> Self {
        let shape = Self {
            masters: 2,
            auxiliaries: 3,
            has_redis: false,
            has_disks: false,
            disk_bytes: None,
            has_proxies: false,
            has_clocks: false,
            settings: Vec::new(),
        };
        let shape = shape.replicas(2).memory("64Mi").set("server.host", "127.0.0.1").set("log.level", "warn");
        // The port that speaks HTTP speaks memcached too.
        shape.set("master.memcached_port", "").set("auxiliary.memcached_port", "")
    }
}

impl Shape {
    /// How many masters.
    pub fn masters(self, masters: usize) -> Self {
        Self { masters, ..self }
    }

    /// How many auxiliaries.
    pub fn auxiliaries(self, auxiliaries: usize) -> Self {
        Self { auxiliaries, ..self }
    }

    /// Copies of a key.
    pub fn replicas(self, replicas: usize) -> Self {
        self.set("cluster.replicas", &replicas.to_string())
    }

    /// Memory of each auxiliary, as in `64Mi`.
    pub fn memory(self, memory: &str) -> Self {
        self.set("auxiliary.memory", memory)
    }

    /// Items that each auxiliary keeps at most.
    pub fn cache_size(self, items: usize) -> Self {
        self.set("auxiliary.cache_size", &items.to_string())
    }

    /// A Redis of its own keeps the members, so that auxiliaries come and go; for processes only.
    pub fn redis(self) -> Self {
        Self { has_redis: true, ..self }
    }

    /// Each auxiliary has a folder for its snapshots, which outlasts its process; for processes only.
    pub fn disks(self) -> Self {
        Self { has_disks: true, ..self }
    }

    /// The same, with so little room on it that it can be filled up; see [`Cluster::fill_disk`].
    pub fn small_disks(self, bytes: u64) -> Self {
        Self { has_disks: true, disk_bytes: Some(bytes), ..self }
    }

    /// Everybody reaches each auxiliary through a proxy of its own; for processes with a Redis only.
    pub fn proxies(self) -> Self {
        Self { has_proxies: true, ..self }
    }

    /// Each node has a wall clock of its own, right until [`Cluster::set_clock`] changes it; for processes only.
    pub fn clocks(self) -> Self {
        Self { has_clocks: true, ..self }
    }

    /// How long an auxiliary that says nothing stays a member, as in `3s`.
    pub fn lease_ttl(self, ttl: &str) -> Self {
        self.set("cluster.lease_ttl", ttl)
    }

    /// Any setting of any node, as in `limits.deadline`; a later one wins.
    pub fn set(mut self, path: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != path);
        self.settings.push((path.to_owned(), value.to_owned()));
        self
    }

    /// Starts it inside this process and waits until all nodes are ready.
    ///
    /// # Errors
    /// Where the settings are wrong or a port cannot be had.
    ///
    /// # Panics
    /// Where it is to have what only processes have.
    pub async fn in_process(self) -> Result<InProcess> {
        let for_processes = self.has_redis || self.has_disks || self.has_proxies || self.has_clocks;
        assert!(!for_processes, "a Redis, disks, proxies and clocks are for processes only");
        InProcess::start(&self).await
    }

    /// Starts each node as a process of the program at `binary` and waits until all are ready.
    ///
    /// # Errors
    /// Where a process does not start or does not say where it listens.
    pub async fn processes(self, binary: impl Into<PathBuf>) -> Result<Cluster> {
        Cluster::start(&self, binary.into()).await
    }

    /// The settings of any node; `auxiliaries` as in `cluster.auxiliaries`.
    pub(crate) fn load(&self, auxiliaries: &str) -> Result<Settings> {
        let mut flags: Vec<_> =
            self.settings.iter().map(|(path, value)| Flag::set(path.clone(), value.clone())).collect();
        if !auxiliaries.is_empty() {
            flags.push(Flag::set("cluster.auxiliaries", auxiliaries));
        }
        let sources = Sources { role: Role::Dev, file: None, env: Vec::new(), flags };
        Ok(load(&sources)?.settings().clone())
    }

    /// The settings as flags of the program.
    pub(crate) fn flags(&self) -> Vec<String> {
        self.settings
            .iter()
            .flat_map(|(path, value)| ["--set".to_owned(), format!("{path}={value}")])
            .collect()
    }
}
