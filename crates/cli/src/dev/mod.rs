//! `dev`: a whole cluster in this process.

mod cluster;
mod refresher;
mod welcome;

use std::process::ExitCode;
use std::sync::Arc;

use annulus_service::config::{Origin, Resolved, Role};
use anyhow::Result;

use crate::configuration::{Layered, Layers, flags, help};
use crate::ports::{HIGHEST_BASE, MOST_NODES, Ports};
use crate::{output, serve, shutdown};
use cluster::{Cluster, Plan};

/// Settings that make no sense for a cluster that decides them itself.
const NOT_USED: [&str; 16] = [
    "cluster.auxiliaries",
    "cluster.redis",
    "cluster.redis_prefix",
    "cluster.secret",
    "cluster.allowed_networks",
    "master.port",
    "master.name",
    "auxiliary.port",
    "auxiliary.name",
    "auxiliary.zone",
    "auxiliary.master_address",
    "auxiliary.advertise",
    "auxiliary.drain_timeout",
    "refresher.port",
    "refresher.name",
    "refresher.masters",
];

#[derive(Debug, clap::Args)]
pub(crate) struct DevArgs {
    /// How many masters
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=MOST_NODES))]
    masters: u16,
    /// How many auxiliaries
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=MOST_NODES))]
    auxiliaries: u16,
    #[arg(long, help = help("cluster.replicas"))]
    replicas: Option<String>,
    /// Bytes that the entries of EACH auxiliary may take [default: 64Mi]
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Keep snapshots in a folder, one below it for each auxiliary; the next start goes on from them
    #[arg(long, value_name = "DIR")]
    backup_dir: Option<String>,
    /// Run no refresher, and with it no example that changes the cache every few seconds
    #[arg(long)]
    no_refresher: bool,
    /// Let the refresher use a real Redis rather than memory
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// Move all ports: masters to N, N+1, …, auxiliaries to N+101, …, the refresher to N+200, memcached of masters to N+201, …,
    /// of auxiliaries to N+301, …; 0 takes any free ones [default: masters 8000, …; auxiliaries 3001, …; refresher 7000;
    /// memcached of masters 11211, …, of auxiliaries 21211, …]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=HIGHEST_BASE))]
    port_base: Option<u16>,
    #[command(flatten)]
    layers: Layers,
}

pub(crate) async fn run(args: &DevArgs) -> Result<ExitCode> {
    let own = flags([
        ("--replicas", "cluster.replicas", &args.replicas),
        ("--memory", "auxiliary.memory", &args.memory),
        ("--backup-dir", "auxiliary.backup_dir", &args.backup_dir),
        ("--redis", "refresher.redis", &args.redis),
    ]);
    let layers = args.layers.clone();
    let read: Layered = Arc::new(move || layers.resolve(Role::Dev, own.clone()));
    let (resolved, source) = serve::set_up_process(read)?;
    warn_of_what_is_not_used(&resolved);
    let plan = Plan {
        masters: args.masters,
        auxiliaries: args.auxiliaries,
        has_refresher: !args.no_refresher,
        ports: Ports(args.port_base),
    };
    let stop = shutdown::on_signal()?;
    let cluster = Cluster::bind(&plan, resolved.settings()).await?;
    let running = cluster.start(&source, &stop)?;
    let has_settled = stop.run_until_cancelled(running.has_settled()).await;
    if has_settled == Some(false) {
        tracing::warn!(
            "not all auxiliaries have joined yet, which takes a second or two: is this machine very busy?"
        );
    }
    if has_settled.is_some() {
        output::print_bytes(welcome::text(running.places(), &welcome::program()).as_bytes())?;
    }
    running.finished().await?;
    output::print_line("stopped")?;
    Ok(ExitCode::SUCCESS)
}

fn warn_of_what_is_not_used(resolved: &Resolved) {
    let given = |entry: &&annulus_service::config::Entry| {
        NOT_USED.contains(&entry.path) && entry.origin != Origin::Default
    };
    for entry in resolved.entries().filter(given) {
        tracing::warn!(
            "{} ({}) is not used: annulus dev names and connects its nodes itself; see --port-base",
            entry.path,
            entry.origin
        );
    }
}
