//! `nodes` and `health`.

use std::fmt::Write as _;
use std::process::ExitCode;

use annulus_protocol::rest::{Health, NodeInfo, NodeState, Nodes};
use anyhow::Result;

use crate::failure::{FAILED, NOT_FOUND};
use crate::output::{self, Align};
use crate::remote::{Remote, explain};

#[derive(Debug, clap::Args)]
pub(crate) struct NodesArgs {
    /// Show only the node of this name
    name: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
#[command(after_help = HEALTH)]
pub(crate) struct HealthArgs {
    /// Also fail while the node does not take traffic, as when it starts or shuts down
    #[arg(long)]
    ready: bool,
    #[command(flatten)]
    remote: Remote,
}

const HEALTH: &str = "\
`degraded` (a master that misses auxiliaries) exits with 0 as `ok` does: whoever restarts a node that fails its health \
check would restart one that works, and the missing ones would not come back by it. `annulus nodes` says which are down.

With --ready it is asked whether the node has started. That is latched: once ready, a node stays so until it shuts \
down, whatever becomes of the others.";

pub(crate) async fn nodes(args: &NodesArgs) -> Result<ExitCode> {
    let client = args.remote.client()?;
    let Some(name) = &args.name else {
        let nodes = client.nodes().await.map_err(explain)?;
        if args.remote.json {
            output::print_json(&nodes)?;
        } else {
            output::print_bytes(list(&nodes).as_bytes())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let Some(node) = client.node(name).await.map_err(explain)? else {
        eprintln!("no such node: {}; `annulus nodes` lists them", output::harmless(name));
        return Ok(ExitCode::from(NOT_FOUND));
    };
    if args.remote.json {
        output::print_json(&node)?;
    } else {
        output::print_bytes(rows(std::slice::from_ref(&node)).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A node that answers is well, also when it is degraded: a health check that fails makes the node's keeper restart
/// it, which would not bring the missing others back.
pub(crate) async fn health(args: &HealthArgs) -> Result<ExitCode> {
    let client = args.remote.client()?;
    let health = client.health().await.map_err(explain)?;
    let ready = !args.ready || client.ready().await.map_err(explain)?;
    if args.remote.json {
        output::print_json(&health)?;
    } else {
        output::print_line(&describe(&health))?;
    }
    if !ready {
        eprintln!("{} is not ready to take traffic: it starts or shuts down", output::harmless(&health.name));
        return Ok(ExitCode::from(FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(health: &Health) -> String {
    let Health { status, role, name, zone, version, uptime_seconds, nodes, store } = health;
    let mut text = format!("{status}: {role} {name}, version {version}, up {uptime_seconds} s");
    if let Some(zone) = zone {
        let _ = write!(text, "; zone {zone}");
    }
    if let Some(nodes) = nodes {
        let (up, suspect, down) = (nodes.up, nodes.suspect, nodes.down);
        let _ = write!(text, "; auxiliaries: {up} up, {suspect} suspect, {down} down");
    }
    if let Some(store) = store {
        let (items, bytes) = (output::count(store.items), output::bytes(store.bytes));
        let _ = write!(text, "; items: {items}; bytes: {bytes} of {}", output::bytes(store.max_bytes));
    }
    output::harmless(&text)
}

fn list(nodes: &Nodes) -> String {
    let Nodes { epoch, replicas, virtual_nodes, ring_fingerprint, nodes } = nodes;
    let copies = if *replicas == 1 { "1 copy".to_owned() } else { format!("{replicas} copies") };
    format!(
        "{}\n{copies} of each key; {} virtual nodes; ring {ring_fingerprint}, epoch {epoch}\n",
        rows(nodes),
        output::count((*virtual_nodes).into())
    )
}

fn rows(nodes: &[NodeInfo]) -> String {
    use Align::{Left, Right};
    let head = ["NAME", "STATE", "ADDRESS", "ZONE", "WEIGHT", "SHARE", "ITEMS", "BYTES", "OF"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for node in nodes {
        let unknown = || "?".to_owned();
        let figure = |show: &dyn Fn(annulus_protocol::rest::StoreInfo) -> String| {
            node.store.map_or_else(unknown, show)
        };
        rows.push(vec![
            output::harmless(&node.id),
            state(node.state).to_owned(),
            output::harmless(&node.address),
            output::harmless(node.zone.as_deref().unwrap_or("-")),
            node.weight.to_string(),
            output::percent(node.ring_share),
            figure(&|store| output::count(store.items)),
            figure(&|store| output::bytes(store.bytes)),
            figure(&|store| output::bytes(store.max_bytes)),
        ]);
    }
    output::table(&[Left, Left, Left, Left, Right, Right, Right, Right, Right], &rows)
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Up => "up",
        NodeState::Suspect => "suspect",
        NodeState::Down => "down",
    }
}
