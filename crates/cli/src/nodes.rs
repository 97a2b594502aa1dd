//! `nodes` and `health`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use annulus_client::Client;
use annulus_protocol::rest::{Health, MemberState, NodeInfo, NodeState, Nodes};
use anyhow::Result;

use crate::failure::{FAILED, NOT_FOUND};
use crate::output::{self, Align};
use crate::remote::{Remote, explain};

#[derive(Debug, clap::Args)]
pub(crate) struct NodesArgs {
    /// Show only the node of this name
    name: Option<String>,
    /// Show them again every second, until interrupted; on no terminal a line each time that something changes
    #[arg(long, conflicts_with_all = ["json", "name"])]
    watch: bool,
    /// Let the node of this name hand over what it holds and end
    #[arg(long, requires = "name")]
    remove: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Between two looks of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Moves to the top of the terminal and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

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
    if args.watch {
        return watch(&client).await;
    }
    let Some(name) = &args.name else {
        let nodes = client.nodes().await.map_err(explain)?;
        if args.remote.json {
            output::print_json(&nodes)?;
        } else {
            output::print_bytes(list(&nodes).as_bytes())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let found = if args.remove { client.remove_node(name).await } else { client.node(name).await };
    let Some(node) = found.map_err(explain)? else {
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

/// Shows the nodes until the process is interrupted or nobody reads on. A master that is away for a while is waited for.
async fn watch(client: &Client) -> Result<ExitCode> {
    let is_terminal = std::io::stdout().is_terminal();
    let mut last = String::new();
    loop {
        let nodes = client.nodes().await;
        let text = match (nodes, is_terminal) {
            (Ok(nodes), true) => list(&nodes),
            (Ok(nodes), false) => line(&nodes),
            (Err(error), _) => format!("{:#}\n", explain(error)),
        };
        let shown = if is_terminal { format!("{CLEAR}{text}") } else { text.clone() };
        if (is_terminal || text != last) && !output::print_on(shown.as_bytes())? {
            return Ok(ExitCode::SUCCESS);
        }
        last = text;
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
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
    let Health { status, role, name, zone, version, uptime_seconds, nodes, store, settling } = health;
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
    if let Some(settling) = settling.filter(|settling| settling.left > 0) {
        let _ = write!(text, "; {} entries left to look at", output::count(settling.left));
    }
    output::harmless(&text)
}

fn list(nodes: &Nodes) -> String {
    let Nodes { epoch, settled, replicas, virtual_nodes, ring_fingerprint, nodes } = nodes;
    let copies = if *replicas == 1 { "1 copy".to_owned() } else { format!("{replicas} copies") };
    format!(
        "{}\n{copies} of each key; {} virtual nodes; ring {ring_fingerprint}, epoch {epoch}; {}\n",
        rows(nodes),
        output::count((*virtual_nodes).into()),
        if *settled { "settled" } else { "settling" }
    )
}

/// The same as one line.
fn line(nodes: &Nodes) -> String {
    let mut text = format!("epoch {}, {}:", nodes.epoch, if nodes.settled { "settled" } else { "settling" });
    for (nth, node) in nodes.nodes.iter().enumerate() {
        let comma = if nth == 0 { "" } else { "," };
        let _ = write!(text, "{comma} {} {} {}", node.id, member(node.member), state(node.state));
        if !node.settled {
            let _ = write!(text, ", {} left", left(node));
        }
    }
    output::harmless(&text) + "\n"
}

fn rows(nodes: &[NodeInfo]) -> String {
    use Align::{Left, Right};
    let head = [
        "NAME", "STATE", "MEMBER", "SETTLED", "LEFT", "ADDRESS", "ZONE", "WEIGHT", "SHARE", "ITEMS", "BYTES",
        "OF",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for node in nodes {
        let unknown = || "?".to_owned();
        let figure = |show: &dyn Fn(annulus_protocol::rest::StoreInfo) -> String| {
            node.store.map_or_else(unknown, show)
        };
        rows.push(vec![
            output::harmless(&node.id),
            state(node.state).to_owned(),
            member(node.member).to_owned(),
            if node.settled { "yes" } else { "no" }.to_owned(),
            left(node),
            output::harmless(&node.address),
            output::harmless(node.zone.as_deref().unwrap_or("-")),
            node.weight.to_string(),
            output::percent(node.ring_share),
            figure(&|store| output::count(store.items)),
            figure(&|store| output::bytes(store.bytes)),
            figure(&|store| output::bytes(store.max_bytes)),
        ]);
    }
    let align = [Left, Left, Left, Left, Right, Left, Left, Right, Right, Right, Right, Right];
    output::table(&align, &rows)
}

/// Entries that the node has yet to look at.
fn left(node: &NodeInfo) -> String {
    if node.settled {
        return "-".to_owned();
    }
    node.settling.map_or_else(|| "?".to_owned(), |settling| output::count(settling.left))
}

fn member(member: MemberState) -> &'static str {
    match member {
        MemberState::Member => "member",
        MemberState::Joining => "joining",
        MemberState::Leaving => "leaving",
        MemberState::Gone => "gone",
    }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Up => "up",
        NodeState::Suspect => "suspect",
        NodeState::Down => "down",
    }
}

#[cfg(test)]
mod tests {
    use annulus_protocol::rest::{Settling, StoreInfo};

    use super::*;

    fn nodes() -> Nodes {
        let node = |id: &str, member, settled| NodeInfo {
            id: id.to_owned(),
            address: format!("{id}:3001"),
            zone: None,
            weight: 1,
            state: NodeState::Up,
            member,
            settled,
            ring_share: 0.5,
            store: Some(StoreInfo { items: 7, bytes: 1024, max_bytes: 1 << 20 }),
            settling: Some(Settling { epoch: 4, done: 0, left: 1234, sent: 0, sent_bytes: 0 }),
        };
        Nodes {
            epoch: 4,
            settled: false,
            replicas: 2,
            virtual_nodes: 64,
            ring_fingerprint: "0f".to_owned(),
            nodes: vec![node("a", MemberState::Member, true), node("b", MemberState::Leaving, false)],
        }
    }

    #[test]
    fn the_table_says_what_is_left_to_do() {
        let text = list(&nodes());
        let row = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("a"), "a up member yes - a:3001 - 1 50.00 % 7 1.0 KiB 1.0 MiB");
        assert_eq!(row("b"), "b up leaving no 1,234 b:3001 - 1 50.00 % 7 1.0 KiB 1.0 MiB");
        assert!(text.ends_with("epoch 4; settling\n"), "{text}");
    }

    #[test]
    fn a_line_has_all_of_it() {
        assert_eq!(line(&nodes()), "epoch 4, settling: a member up, b leaving up, 1,234 left\n");
    }
}
