//! The report as a table, and how numbers read.

use std::fmt::Write;

use crate::report::Report;

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 connection`, `1,000 connections`.
pub(crate) fn counted(number: u64, name: &str) -> String {
    format!("{} {name}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `0.8561` as `85.61 %`.
pub(crate) fn percent(ratio: f64) -> String {
    format!("{:.2} %", ratio * 100.0)
}

/// Microseconds in the unit that reads best: `87 µs`, `1.24 ms`, `2.05 s`.
pub(crate) fn latency(us: u64) -> String {
    let (value, unit) = match us {
        0..1_000 => return format!("{us} µs"),
        1_000..1_000_000 => (us as f64 / 1e3, "ms"),
        _ => (us as f64 / 1e6, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// `1536` as `1.5 KiB`.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value >= 1024.0 {
            (value, unit) = (value / 1024.0, next);
        }
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// The lines above the latencies: names and what they say.
pub(crate) fn facts(report: &Report) -> Vec<(&'static str, String)> {
    let totals = &report.totals;
    let mut facts = vec![
        ("load", report.load()),
        ("requests", format!("{} in {:.2} s", count(totals.requests), report.measured_s)),
        ("rate", format!("{}/s", count(totals.rate_per_s.round() as u64))),
    ];
    if let Some(ratio) = totals.hit_ratio {
        let of = format!("{} hits, {} misses", count(totals.hits), count(totals.misses));
        facts.push(("hit ratio", format!("{} ({of})", percent(ratio))));
    }
    facts.push((
        "values",
        format!("{} read, {} written", bytes(totals.read_bytes), bytes(totals.written_bytes)),
    ));
    if let Some(trace) = &report.trace {
        let [requests, hits, misses, stores, keys] =
            [trace.requests, trace.hits, trace.misses, trace.stores, trace.distinct_keys].map(count);
        let counts = format!("{requests} requests, {hits} hits, {misses} misses");
        facts.push(("trace", format!("{counts}, {stores} stores, {keys} distinct keys")));
        facts.push(("room for all", format!("would hit {}", percent(trace.unbounded_hit_ratio))));
        if trace.not_empty_at_start {
            facts.push(("note", "the cache was not empty at the start".to_owned()));
        }
    }
    if let Some(checked) = &report.verification {
        let lost = format!("{} misses of written keys", count(checked.misses_of_written_keys));
        facts.push((
            "verified",
            format!("{} corrupt, {} stale; {lost}", count(checked.corrupt), count(checked.stale)),
        ));
    }
    if totals.reconnects > 0 {
        facts.push(("reconnects", count(totals.reconnects)));
    }
    if let Some(late) = &report.generator_lateness {
        let (p50, p99, max) = (latency(late.p50_us), latency(late.p99_us), latency(late.max_us));
        facts.push(("own lateness", format!("{p50} p50, {p99} p99, {max} max")));
    }
    let errors: Vec<_> =
        report.errors.iter().map(|error| format!("{} {}", count(error.count), error.kind)).collect();
    let by_kind = if errors.is_empty() { String::new() } else { format!(" ({})", errors.join(", ")) };
    facts.push(("errors", count(totals.errors) + &by_kind));
    facts
}

/// The latency table's cells, its head first.
pub(crate) fn latencies(report: &Report) -> Vec<[String; 7]> {
    let mut rows = vec![["latency", "requests", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned)];
    for row in &report.latency {
        let of = &row.percentiles;
        let [p50, p90, p99, p99_9, max] =
            [of.p50_us, of.p90_us, of.p99_us, of.p99_9_us, of.max_us].map(latency);
        rows.push([row.operation.clone(), count(row.requests), p50, p90, p99, p99_9, max]);
    }
    rows
}

pub(crate) fn render(report: &Report) -> String {
    let mut text = String::new();
    if report.interrupted {
        text.push_str("interrupted: the figures are of what was done until then\n");
    }
    for (name, value) in facts(report) {
        writeln!(text, "{name:<13} {value}").expect("writing to a string succeeds");
    }
    for message in &report.error_messages {
        writeln!(text, "              {message}").expect("writing to a string succeeds");
    }
    text.push('\n');
    for [name, cells @ ..] in latencies(report) {
        write!(text, "{name:<8}").expect("writing to a string succeeds");
        for cell in cells {
            write!(text, " {cell:>11}").expect("writing to a string succeeds");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [87, 1240, 12_300, 123_400, 2_050_000].map(latency),
            ["87 µs", "1.24 ms", "12.3 ms", "123 ms", "2.05 s"]
        );
        assert_eq!([1, 1536, 5 << 20].map(bytes), ["1 B", "1.5 KiB", "5.0 MiB"]);
        assert_eq!([0, 1, 2000].map(|n| counted(n, "key")), ["0 keys", "1 key", "2,000 keys"]);
        assert_eq!(percent(0.856_12), "85.61 %");
    }
}
