//! `stats`: what the cluster holds, and how a master's requests ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use annulus_protocol::rest::{NodeState, Nodes};
use anyhow::Result;
use serde::Serialize;

use crate::metrics_text::{Sample, samples, total};
use crate::output::{self, Align};
use crate::remote::{Remote, explain};

#[derive(Debug, clap::Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    remote: Remote,
}

/// Items and bytes are of all auxiliaries that answered; hits, misses and requests are of the one master, since its
/// start.
#[derive(Debug, PartialEq, Serialize)]
struct Stats {
    nodes: usize,
    nodes_up: usize,
    replicas: u32,
    items: u64,
    bytes: u64,
    max_bytes: u64,
    hits: u64,
    misses: u64,
    misses_by_reason: BTreeMap<String, u64>,
    /// Absent before the first read.
    hit_ratio: Option<f64>,
    /// By operation, then by outcome; those that never happened are left out.
    requests: BTreeMap<String, BTreeMap<String, u64>>,
}

pub(crate) async fn stats(args: &StatsArgs) -> Result<ExitCode> {
    let client = args.remote.client()?;
    let nodes = client.nodes().await.map_err(explain)?;
    let samples: Vec<Sample> = samples(&client.metrics().await.map_err(explain)?).collect();
    let stats = Stats::new(&nodes, &samples);
    if args.remote.json {
        output::print_json(&stats)?;
    } else {
        output::print_bytes(stats.render().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Stats {
    fn new(nodes: &Nodes, samples: &[Sample]) -> Self {
        let stores = || nodes.nodes.iter().filter_map(|node| node.store);
        let hits = total(samples, "annulus_cache_hits_total");
        let misses = total(samples, "annulus_cache_misses_total");
        let mut requests: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        let mut misses_by_reason = BTreeMap::new();
        for sample in samples.iter().filter(|sample| sample.value > 0.0) {
            let count = sample.value as u64;
            if sample.name == "annulus_requests_total" {
                let outcomes = requests.entry(sample.label("op").to_owned()).or_default();
                *outcomes.entry(sample.label("outcome").to_owned()).or_default() += count;
            } else if sample.name == "annulus_cache_misses_total" {
                *misses_by_reason.entry(sample.label("reason").to_owned()).or_default() += count;
            }
        }
        Self {
            nodes: nodes.nodes.len(),
            nodes_up: nodes.nodes.iter().filter(|node| node.state == NodeState::Up).count(),
            replicas: nodes.replicas,
            items: stores().map(|store| store.items).sum(),
            bytes: stores().map(|store| store.bytes).sum(),
            max_bytes: stores().map(|store| store.max_bytes).sum(),
            hits,
            misses,
            misses_by_reason,
            hit_ratio: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
            requests,
        }
    }

    fn render(&self) -> String {
        let (items, replicas) = (output::count(self.items), self.replicas);
        let copies = if replicas == 1 { "one copy of each key" } else { "all copies counted" };
        let listed = |counts: &BTreeMap<String, u64>| {
            let parts: Vec<_> =
                counts.iter().map(|(name, n)| format!("{} {name}", output::count(*n))).collect();
            parts.join(", ")
        };
        let mut misses = output::count(self.misses);
        if self.misses > 0 {
            let _ = write!(misses, " ({})", listed(&self.misses_by_reason));
        }
        let mut rows = vec![
            row("nodes", format!("{} of {} up", self.nodes_up, self.nodes)),
            row("items", format!("{items} ({copies})")),
            row("bytes", format!("{} of {}", output::bytes(self.bytes), output::bytes(self.max_bytes))),
            row("hits", output::count(self.hits)),
            row("misses", misses),
            row("hit ratio", self.hit_ratio.map_or_else(|| "no reads yet".to_owned(), output::percent)),
        ];
        rows.extend(self.requests.iter().map(|(op, outcomes)| row(op, listed(outcomes))));
        output::table(&[Align::Left, Align::Left], &rows)
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = r#"{"epoch":1,"replicas":2,"virtual_nodes":4096,"ring_fingerprint":"00","nodes":[
        {"id":"a","address":"h:1","weight":1,"state":"up","ring_share":0.5,"store":{"items":10,"bytes":1024,"max_bytes":2048}},
        {"id":"b","address":"h:2","weight":1,"state":"down","ring_share":0.5}]}"#;
    const METRICS: &str = "\
annulus_cache_hits_total 3
annulus_cache_misses_total{reason=\"cold\"} 1
annulus_cache_misses_total{reason=\"moved\"} 0
annulus_requests_total{op=\"get\",outcome=\"ok\"} 3
annulus_requests_total{op=\"get\",outcome=\"miss\"} 1
annulus_requests_total{op=\"put\",outcome=\"ok\"} 0
";

    #[test]
    fn what_never_happened_is_left_out() {
        let stats = Stats::new(&serde_json::from_str(NODES).unwrap(), &samples(METRICS).collect::<Vec<_>>());
        assert_eq!(
            stats.render(),
            "nodes      1 of 2 up\n\
             items      10 (all copies counted)\n\
             bytes      1.0 KiB of 2.0 KiB\n\
             hits       3\n\
             misses     1 (1 cold)\n\
             hit ratio  75.00 %\n\
             get        1 miss, 3 ok\n"
        );
    }
}
