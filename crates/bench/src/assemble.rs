//! From the workers' tallies to one report.

use std::collections::HashMap;

use clap::ValueEnum as _;
use hdrhistogram::Histogram;

use crate::args::{Args, Distribution};
use crate::protocol::{ErrorKind, Operation, Protocol};
use crate::report::{
    Configuration, DistributionPoint, ErrorCount, Latency, Lateness, OperationLatency, Report, Second,
    Totals, TraceTotals, Verification,
};
use crate::tally::{KEPT_MESSAGES, Tally, latency_histogram, percentile_us};
use crate::trace::Recording;

/// What a run leaves behind, beside its tallies.
pub(crate) struct Outcome<'a> {
    pub(crate) started_at_unix_ms: u64,
    pub(crate) interrupted: bool,
    pub(crate) measured_s: f64,
    pub(crate) not_sent: u64,
    pub(crate) lateness_us: Option<Histogram<u64>>,
    pub(crate) series: Vec<Second>,
    pub(crate) trace: Option<&'a Recording>,
}

pub(crate) fn report(args: &Args, tallies: &[&Tally], outcome: Outcome<'_>) -> Report {
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(|tally| of(tally)).sum::<u64>();
    let errors = errors(tallies, outcome.not_sent);
    let (hits, misses) = (sum(|tally| tally.hits), sum(|tally| tally.misses));
    let count_of =
        |kind: ErrorKind| errors.iter().filter(|(seen, _)| *seen == kind).map(|(_, count)| count).sum();
    let requests = sum(Tally::requests);
    let totals = Totals {
        requests,
        rate_per_s: if outcome.measured_s > 0.0 { requests as f64 / outcome.measured_s } else { 0.0 },
        errors: errors.iter().map(|(_, count)| count).sum(),
        hits,
        misses,
        hit_ratio: (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64),
        read_bytes: sum(|tally| tally.read_bytes),
        written_bytes: sum(|tally| tally.written_bytes),
        reconnects: sum(|tally| tally.reconnects),
    };
    let trace = outcome.trace.map(|recording| {
        let replayed = sum(|tally| tally.operations[Operation::Get as usize].requests);
        let connections = u64::from(args.effective_connections());
        TraceTotals {
            requests: replayed,
            hits,
            misses,
            stores: sum(|tally| tally.operations[Operation::Set as usize].requests),
            distinct_keys: recording.keys.len() as u64,
            unbounded_hit_ratio: 1.0 - recording.keys.len() as f64 / recording.requests.len() as f64,
            // An interrupted run dropped a line a connection at most, and it may have been a key's only one.
            not_empty_at_start: hits + recording.distinct_keys_in(replayed)
                > replayed + if outcome.interrupted { connections } else { 0 },
        }
    });
    let verification = args.verify.then(|| Verification {
        corrupt: count_of(ErrorKind::Corrupt),
        stale: count_of(ErrorKind::Stale),
        misses_of_written_keys: sum(|tally| tally.lost),
    });
    Report {
        annulus_version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at_unix_ms: outcome.started_at_unix_ms,
        interrupted: outcome.interrupted,
        configuration: configuration(args),
        measured_s: outcome.measured_s,
        totals,
        trace,
        verification,
        errors: errors
            .iter()
            .map(|(kind, count)| ErrorCount { kind: kind.to_string(), count: *count })
            .collect(),
        error_messages: messages(tallies),
        latency: latency(tallies),
        generator_lateness: outcome.lateness_us.map(|late_us| Lateness {
            p50_us: percentile_us(&late_us, 50.0),
            p99_us: percentile_us(&late_us, 99.0),
            max_us: late_us.max(),
        }),
        series: outcome.series,
    }
}

fn errors(tallies: &[&Tally], not_sent: u64) -> Vec<(ErrorKind, u64)> {
    let mut errors = HashMap::from([(ErrorKind::NotSent, not_sent)]);
    for (kind, count) in tallies.iter().flat_map(|tally| &tally.errors) {
        *errors.entry(*kind).or_default() += count;
    }
    let mut errors: Vec<_> = errors.into_iter().filter(|(_, count)| *count > 0).collect();
    errors.sort_by_key(|(kind, count)| (u64::MAX - count, *kind));
    errors
}

fn messages(tallies: &[&Tally]) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for message in tallies.iter().flat_map(|tally| &tally.messages) {
        if messages.len() < KEPT_MESSAGES && !messages.contains(message) {
            messages.push(message.clone());
        }
    }
    messages
}

fn latency(tallies: &[&Tally]) -> Vec<OperationLatency> {
    let mut all = latency_histogram();
    let mut operations = Vec::new();
    let mut requests = 0;
    for (operation, name) in [(Operation::Get, "get"), (Operation::Set, "set"), (Operation::Delete, "delete")]
    {
        let mut histogram = latency_histogram();
        let mut made = 0;
        for tally in tallies.iter().map(|tally| &tally.operations[operation as usize]) {
            histogram.add(&tally.latency_us).expect("all have the same bounds");
            made += tally.requests;
        }
        all.add(&histogram).expect("all have the same bounds");
        requests += made;
        if made > 0 {
            operations.push(summary(name, made, &histogram));
        }
    }
    operations.insert(0, summary("all", requests, &all));
    operations
}

fn summary(operation: &str, requests: u64, histogram: &Histogram<u64>) -> OperationLatency {
    let percentile = |percentile| percentile_us(histogram, percentile);
    let percentiles = Latency {
        p50_us: percentile(50.0),
        p90_us: percentile(90.0),
        p99_us: percentile(99.0),
        p99_9_us: percentile(99.9),
        max_us: percentile(100.0),
        mean_us: histogram.mean(),
    };
    OperationLatency {
        operation: operation.to_owned(),
        requests,
        percentiles,
        distribution: distribution(histogram),
    }
}

/// Five steps each time the share of slower requests halves, as HdrHistogram's own plots have them.
fn distribution(histogram: &Histogram<u64>) -> Vec<DistributionPoint> {
    let mut points: Vec<DistributionPoint> = Vec::new();
    for step in histogram.iter_quantiles(5) {
        // Rounded, because sums of halves times 100 end in digits that mean nothing.
        let percentile = (step.quantile_iterated_to() * 1e11).round() / 1e9;
        let latency_us = step.value_iterated_to().min(histogram.max());
        // The very slowest request has no slower one: its point is drawn at the edge.
        if points.last().is_none_or(|last| last.percentile < percentile) {
            points.push(DistributionPoint { percentile, latency_us });
        }
    }
    points
}

fn configuration(args: &Args) -> Configuration {
    let (synthetic, protocol) = (args.trace.is_none(), args.effective_protocol());
    Configuration {
        protocol: protocol.scheme().to_owned(),
        interface: (protocol == Protocol::Http)
            .then(|| args.interface.to_possible_value().map(|value| value.get_name().to_owned()))
            .flatten(),
        urls: args.url.iter().map(ToString::to_string).collect(),
        connections: args.effective_connections(),
        pipeline: args.pipeline,
        multiget: synthetic.then_some(args.multiget),
        flags: (protocol == Protocol::Memcached).then_some(args.flags),
        loop_kind: if args.rate.is_some() { "open" } else { "closed" }.to_owned(),
        rate_per_s: args.rate,
        trace: args.trace.as_ref().map(|path| path.display().to_string()),
        keys: synthetic.then_some(args.keys),
        distribution: synthetic.then(|| match args.distribution {
            Distribution::Zipf => format!("zipf({})", args.zipf_exponent),
            Distribution::Uniform => "uniform".to_owned(),
        }),
        value_size_bytes: synthetic.then(|| args.value_size.to_string()),
        read_ratio: synthetic.then_some(args.read_ratio),
        delete_ratio: synthetic.then_some(args.delete_ratio),
        preload: args.preload,
        ttl_s: args.effective_ttl_s(),
        warm_up_s: args.effective_warm_up().as_secs_f64(),
        duration_s: args.effective_duration().map(|duration| duration.as_secs_f64()),
        requests: args.requests.or(args.limit),
        timeout_s: args.timeout.as_secs_f64(),
        verify: args.verify,
        seed: args.seed,
    }
}
