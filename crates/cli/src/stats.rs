//! `stats`: what the cluster holds, and how a master's requests ended.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use annulus_protocol::rest::{NodeState, Nodes, StoreInfo};
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

/// Items and bytes are of all auxiliaries, and unknown where those of one are; hits, misses and requests are of the one master, since its
/// start.
#[derive(Debug, PartialEq, Serialize)]
struct Stats {
    nodes: usize,
    nodes_up: usize,
    replicas: u32,
    items: Option<u64>,
    bytes: Option<u64>,
    max_bytes: Option<u64>,
    nodes_without_figures: Vec<String>,
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
        // None where one is unknown: a sum of the rest would pass for the whole.
        let sum = |of: fn(StoreInfo) -> u64| nodes.nodes.iter().map(|node| node.store.map(of)).sum();
        let unknown = nodes.nodes.iter().filter(|node| node.store.is_none());
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
            items: sum(|store| store.items),
            bytes: sum(|store| store.bytes),
            max_bytes: sum(|store| store.max_bytes),
            nodes_without_figures: unknown.map(|node| node.id.clone()).collect(),
            hits,
            misses,
            misses_by_reason,
            hit_ratio: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
            requests,
        }
    }

    fn render(&self) -> String {
        let known =
            |figure: Option<u64>, show: fn(u64) -> String| figure.map_or_else(|| "?".to_owned(), show);
        let copies = if self.replicas == 1 { "one copy of each key" } else { "all copies counted" };
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
            row("items", format!("{} ({copies})", known(self.items, output::count))),
            row(
                "bytes",
                format!("{} of {}", known(self.bytes, output::bytes), known(self.max_bytes, output::bytes)),
            ),
            row("hits", output::count(self.hits)),
            row("misses", misses),
            row("hit ratio", self.hit_ratio.map_or_else(|| "no reads yet".to_owned(), output::percent)),
        ];
        rows.extend(self.requests.iter().map(|(op, outcomes)| row(op, listed(outcomes))));
        if !self.nodes_without_figures.is_empty() {
            let names = self.nodes_without_figures.join(", ");
            rows.push(row("note", format!("no figures of {}", output::harmless(&names))));
        }
        output::table(&[Align::Left, Align::Left], &rows)
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_owned(), value]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = r#"{"epoch":1,"settled":true,"replicas":2,"virtual_nodes":4096,"ring_fingerprint":"00","nodes":[
        {"id":"a","address":"h:1","weight":1,"state":"up","member":"member","settled":true,"ring_share":0.5,"store":{"items":10,"bytes":1024,"max_bytes":2048}},
        {"id":"b","address":"h:2","weight":1,"state":"up","member":"member","settled":true,"ring_share":0.5,"store":{"items":1,"bytes":512,"max_bytes":2048}}]}"#;
    const ONE_DOWN: &str = r#"{"epoch":1,"settled":true,"replicas":2,"virtual_nodes":4096,"ring_fingerprint":"00","nodes":[
        {"id":"a","address":"h:1","weight":1,"state":"up","member":"member","settled":true,"ring_share":0.5,"store":{"items":10,"bytes":1024,"max_bytes":2048}},
        {"id":"b","address":"h:2","weight":1,"state":"down","member":"member","settled":true,"ring_share":0.5}]}"#;
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
            "nodes      2 of 2 up\n\
             items      11 (all copies counted)\n\
             bytes      1.5 KiB of 4.0 KiB\n\
             hits       3\n\
             misses     1 (1 cold)\n\
             hit ratio  75.00 %\n\
             get        1 miss, 3 ok\n"
        );
    }

    #[test]
    fn what_one_node_does_not_say_is_unknown_of_all() {
        let stats = Stats::new(&serde_json::from_str(ONE_DOWN).unwrap(), &[]);
        let text = stats.render();
        assert!(text.contains("items      ? (all") && text.contains("bytes      ? of ?\n"), "{text}");
        assert!(text.ends_with("note       no figures of b\n"), "{text}");
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(
            (&json["items"], &json["max_bytes"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(json["nodes_without_figures"], serde_json::json!(["b"]));
    }
}
