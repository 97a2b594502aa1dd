//! `master` and `auxiliary`: one server in this process.

use std::hash::{BuildHasher as _, RandomState};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use annulus_auxiliary::Auxiliary;
use annulus_auxiliary::snapshots::{Files as _, Snapshots, SystemFiles};
use annulus_cluster::Mechanisms;
use annulus_master::{BuildError, Master};
use annulus_service::config::{Flag, Resolved, Role, Settings};
use annulus_service::net::SystemListener;
use annulus_service::reload::{Read, Source, without_source};
use annulus_service::{Listener as _, Net as _, SystemNet, Workers, telemetry};
use anyhow::{Context as _, Result, anyhow};

use crate::configuration::{Layered, Layers, flags, help};
use crate::failure::Usage;
use crate::membership::{self, Known, Membership};
use crate::{limits, output, shutdown};

/// A snapshot that turns out damaged must not be the only one.
const SNAPSHOTS_KEPT: usize = 2;

#[derive(Debug, clap::Args)]
pub(crate) struct MasterArgs {
    #[arg(long, help = help("master.port"))]
    port: Option<String>,
    #[arg(long, value_name = "PORT", help = help("master.memcached_port"))]
    memcached_port: Option<String>,
    #[arg(long, help = help("master.name"))]
    name: Option<String>,
    #[arg(long, value_name = "LIST", help = help("cluster.auxiliaries"))]
    auxiliaries: Option<String>,
    #[arg(long, value_name = "URL", help = help("cluster.redis"))]
    redis: Option<String>,
    #[arg(long, help = help("cluster.replicas"))]
    replicas: Option<String>,
    #[arg(long, help = help("cluster.virtual_nodes"))]
    virtual_nodes: Option<String>,
    #[arg(long, help = help("cluster.consistency"))]
    consistency: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuxiliaryArgs {
    #[arg(long, help = help("auxiliary.port"))]
    port: Option<String>,
    #[arg(long, value_name = "PORT", help = help("auxiliary.memcached_port"))]
    memcached_port: Option<String>,
    #[arg(long, help = help("auxiliary.name"))]
    name: Option<String>,
    #[arg(long, help = help("auxiliary.zone"))]
    zone: Option<String>,
    #[arg(long, value_name = "URL", help = help("cluster.redis"))]
    redis: Option<String>,
    #[arg(long, value_name = "LIST", help = help("auxiliary.master_address"))]
    master_address: Option<String>,
    #[arg(long, value_name = "HOST:PORT", help = help("auxiliary.advertise"))]
    advertise: Option<String>,
    #[arg(long, value_name = "DIR", help = help("auxiliary.backup_dir"))]
    backup_dir: Option<String>,
    #[arg(long, value_name = "SIZE", help = help("auxiliary.memory"))]
    memory: Option<String>,
    #[arg(long, value_name = "ITEMS", help = help("auxiliary.cache_size"))]
    cache_size: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// What all roles take.
#[derive(Debug, clap::Args)]
pub(crate) struct CommonArgs {
    #[arg(long, help = help("server.host"))]
    host: Option<String>,
    #[arg(long, value_name = "SIZE", help = help("limits.max_value_bytes"))]
    max_value_bytes: Option<String>,
    #[arg(long, value_name = "FORMAT", help = help("log.format"))]
    log_format: Option<String>,
    #[arg(long, value_name = "LEVEL", help = help("log.level"))]
    log_level: Option<String>,
    #[command(flatten)]
    layers: Layers,
}

impl CommonArgs {
    /// What decides the settings, now and each time that they are read again.
    pub(crate) fn layered(&self, role: Role, mut own: Vec<Flag>) -> Layered {
        own.extend(flags([
            ("--host", "server.host", &self.host),
            ("--max-value-bytes", "limits.max_value_bytes", &self.max_value_bytes),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ]));
        let layers = self.layers.clone();
        Arc::new(move || layers.resolve(role, own.clone()))
    }
}

pub(crate) async fn master(args: &MasterArgs) -> Result<ExitCode> {
    let own = flags([
        ("--port", "master.port", &args.port),
        ("--memcached-port", "master.memcached_port", &args.memcached_port),
        ("--name", "master.name", &args.name),
        ("--auxiliaries", "cluster.auxiliaries", &args.auxiliaries),
        ("--redis", "cluster.redis", &args.redis),
        ("--replicas", "cluster.replicas", &args.replicas),
        ("--virtual-nodes", "cluster.virtual_nodes", &args.virtual_nodes),
        ("--consistency", "cluster.consistency", &args.consistency),
    ]);
    let (resolved, source) = set_up_process(args.common.layered(Role::Master, own))?;
    let settings = resolved.settings();
    let start = Start::new(settings, settings.master.port, settings.master.name.as_deref()).await?;
    let known = membership::of_master(settings, &start.net).await?;
    let master = build_master(start.name.clone(), settings, &start.net, known, workers(settings)?, source)?;
    let stop = shutdown::on_signal()?;
    let memcached = start.memcached(settings, settings.master.memcached_port).await?;
    start.announce("master")?;
    master.run(start.listener, memcached, stop).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// After SIGTERM a member hands over what it holds, for at most `auxiliary.drain_timeout`, before this returns.
pub(crate) async fn auxiliary(args: &AuxiliaryArgs) -> Result<ExitCode> {
    let own = flags([
        ("--port", "auxiliary.port", &args.port),
        ("--memcached-port", "auxiliary.memcached_port", &args.memcached_port),
        ("--name", "auxiliary.name", &args.name),
        ("--zone", "auxiliary.zone", &args.zone),
        ("--redis", "cluster.redis", &args.redis),
        ("--master-address", "auxiliary.master_address", &args.master_address),
        ("--advertise", "auxiliary.advertise", &args.advertise),
        ("--backup-dir", "auxiliary.backup_dir", &args.backup_dir),
        ("--memory", "auxiliary.memory", &args.memory),
        ("--cache-size", "auxiliary.cache_size", &args.cache_size),
    ]);
    let (resolved, source) = set_up_process(args.common.layered(Role::Auxiliary, own))?;
    let settings = resolved.settings();
    // A pod's host name is its name, by which Kubernetes knows it.
    let by_pod = settings.cluster.kubernetes.label_selector.as_ref().map(|_| hostname());
    let name = settings.auxiliary.name.clone().or(by_pod);
    let start = Start::new(settings, settings.auxiliary.port, name.as_deref()).await?;
    let stop = shutdown::on_signal()?;
    let port = start.listener.local_addr()?.port();
    let membership = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(ExitCode::SUCCESS),
        membership = membership::of_auxiliary(settings, &start.net, &start.name, port) => membership?,
    };
    let folder = settings.auxiliary.backup_dir.as_deref().map(Path::new);
    let node = build_auxiliary(
        start.name.clone(),
        settings,
        &start.net,
        membership,
        folder,
        workers(settings)?,
        source,
    )?;
    let memcached = start.memcached(settings, settings.auxiliary.memcached_port).await?;
    start.announce("auxiliary")?;
    node.run(start.listener, memcached, stop).await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// What a server has before it is built.
pub(crate) struct Start {
    pub(crate) net: SystemNet,
    pub(crate) listener: SystemListener,
    pub(crate) name: String,
}

impl Start {
    /// Binds the port: with port 0 the name depends on it.
    pub(crate) async fn new(settings: &Settings, port: u16, name: Option<&str>) -> Result<Self> {
        let net = SystemNet::new();
        let elsewhere = "stop what uses it, or choose another port with --port (0: any free one)";
        let listener = bind(&net, &settings.server.host, port, elsewhere).await?;
        let port = listener.local_addr()?.port();
        let name = name.map_or_else(|| format!("{}:{port}", hostname()), str::to_owned);
        Ok(Self { net, listener, name })
    }

    /// The listener for memcached's clients, where there is to be one.
    async fn memcached(&self, settings: &Settings, port: Option<u16>) -> Result<Option<SystemListener>> {
        let Some(port) = port else { return Ok(None) };
        let elsewhere =
            "stop what uses it, or choose another port with --memcached-port (0: any free one; '': none)";
        let listener = bind(&self.net, &settings.server.host, port, elsewhere).await?;
        tracing::info!(address = %listener.local_addr()?, "listening for memcached's clients");
        Ok(Some(listener))
    }

    /// The line that programs wait for; its shape is a promise.
    pub(crate) fn announce(&self, role: &str) -> Result<()> {
        let address = self.listener.local_addr()?;
        tracing::info!(role, name = self.name, %address, "listening");
        output::print_line(&format!("annulus {role} {} listening on http://{address}", self.name))
    }
}

/// The threads that serve connections.
fn workers(settings: &Settings) -> Result<Workers> {
    let count = match settings.server.workers {
        0 => std::thread::available_parallelism().map_or(1, |cores| (usize::from(cores) / 2).max(1)),
        some => some,
    };
    Workers::start(count).context("cannot start the threads that serve connections (server.workers)")
}

/// Reads the configuration; sets up logs and limits of the process, and says what the user should know about it.
pub(crate) fn set_up_process(layered: Layered) -> Result<(Resolved, Source)> {
    let resolved = layered()?;
    let settings: &Settings = resolved.settings();
    let log = telemetry::init(&settings.log)?;
    limits::raise_open_files(settings);
    for note in resolved.notes() {
        tracing::warn!("{note}");
    }
    let read: Read = Arc::new(move || layered().map_err(|error| without_source(&error.to_string())));
    let source = Source { resolved: resolved.clone(), read, log };
    Ok((resolved, source))
}

/// Listens. The error names the address, and `elsewhere` says what to do where the port is in use.
pub(crate) async fn bind(net: &SystemNet, host: &str, port: u16, elsewhere: &str) -> Result<SystemListener> {
    let address = match host.parse() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        _ => format!("{host}:{port}"),
    };
    net.bind(&address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!("port {port} is in use ({address}): {elsewhere}"),
        ErrorKind::PermissionDenied => {
            anyhow!("port {port} may not be used without privileges ({address}): choose one above 1023")
        }
        _ => anyhow!("cannot listen on {address}: {error}: server.host must be an address of this machine"),
    })
}

/// The master; what keeps it from being built is a setting, but for bugs.
pub(crate) fn build_master(
    name: String,
    settings: &Settings,
    net: &SystemNet,
    Known { authority, roster }: Known,
    workers: Workers,
    source: Source,
) -> Result<Master> {
    let (seed, mechanisms, source) = (random_seed(), Mechanisms::default(), Some(source));
    let parts = annulus_master::Parts { seed, authority, roster, mechanisms, workers, source };
    Master::build(name, settings, net, parts).map_err(|error| match error {
        BuildError::Metrics(_) => anyhow::Error::new(error),
        setting => Usage(setting.to_string()).into(),
    })
}

/// The auxiliary; its snapshots go to `folder`, which is made where it is not there.
pub(crate) fn build_auxiliary(
    name: String,
    settings: &Settings,
    net: &SystemNet,
    membership: Option<Membership>,
    folder: Option<&Path>,
    workers: Workers,
    source: Source,
) -> Result<Auxiliary> {
    let snapshots = folder.map(|folder| snapshots(folder, &name)).transpose()?;
    let (joining, keeping) = membership.map(|Membership { joining, keeping }| (joining, keeping)).unzip();
    let parts = annulus_auxiliary::Parts {
        seed: random_seed(),
        joining,
        keeping: keeping.flatten(),
        snapshots,
        mechanisms: Mechanisms::default(),
        workers,
        source: Some(source),
    };
    Auxiliary::build(name, settings, net, parts).context("cannot build the auxiliary")
}

fn snapshots(folder: &Path, name: &str) -> Result<Snapshots> {
    let files = SystemFiles::new(folder).and_then(|files| try_out(&files).map(|()| files)).context(
        "auxiliary.backup_dir (BACKUP_DIR, --backup-dir) cannot be used: name a folder that this user may make and write to",
    )?;
    Ok(Snapshots::new(Arc::new(files), name, SNAPSHOTS_KEPT))
}

/// Whether files can be made there: better known now than when the first snapshot is due.
fn try_out(files: &SystemFiles) -> std::io::Result<()> {
    let name = format!("try-{}", std::process::id());
    files.create(&name).map(drop)?;
    files.remove(&name)
}

/// For the hash of one node's index. `RandomState` is keyed by the system's randomness.
pub(crate) fn random_seed() -> u64 {
    RandomState::new().hash_one(())
}

/// The machine's name as the system has it; every one of them has `uname`.
pub(crate) fn hostname() -> String {
    let run = || {
        let printed = std::process::Command::new("uname").arg("-n").output().ok()?.stdout;
        String::from_utf8(printed).ok()
    };
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(run)
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
