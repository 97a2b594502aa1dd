//! The report as one page, with its charts drawn in it.

use std::fmt::Write;

use crate::chart::Axis;
use crate::report::{Configuration, OperationLatency, Report, Second};
use crate::svg::{Chart, Line, escape};
use crate::table;

const STYLE: &str = "
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --text: #1d2430; --soft: #667085; --grid: #e6e8ec;
  --c0: #2f6fde; --c1: #d9730d; --c2: #16866a; --c3: #8a93a5; --bad: #d22f3d; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --card: #1c2027; --text: #e7eaf0; --soft: #98a2b3;
  --grid: #2c323c; --c0: #6ea0ff; --c1: #f2a254; --c2: #4cc5a2; --c3: #8a93a5; --bad: #ff6b74; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 940px; margin: 0 auto; padding: 28px 20px 48px; }
h1 { font-size: 24px; margin: 0 0 2px; } h2 { font-size: 16px; margin: 0 0 10px; }
p.sub { margin: 0 0 20px; color: var(--soft); overflow-wrap: anywhere; } p.note { color: var(--bad); font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(134px, 1fr)); gap: 12px; margin-bottom: 16px; }
.tiles div, section, figure { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; }
.tiles div { padding: 10px 14px; } .tiles b { display: block; font-size: 21px; white-space: nowrap; } .tiles span { color: var(--soft); }
.tiles .bad b { color: var(--bad); }
section, figure { margin: 0 0 16px; padding: 14px 16px; overflow-x: auto; }
figcaption { font-weight: 600; display: flex; justify-content: space-between; flex-wrap: wrap; gap: 4px 16px; }
.legend { font-weight: 400; color: var(--soft); display: flex; gap: 14px; }
.legend i { display: inline-block; width: 12px; height: 3px; border-radius: 2px; background: var(--c); margin-right: 6px;
  vertical-align: middle; }
svg { display: block; width: 100%; height: auto; margin-top: 8px; }
svg text { font-size: 12px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.grid { stroke: var(--grid); } .axis { stroke: var(--soft); }
.s0 { --c: var(--c0); } .s1 { --c: var(--c1); } .s2 { --c: var(--c2); } .s3 { --c: var(--c3); } .bad { --c: var(--bad); }
.line { fill: none; stroke: var(--c); stroke-width: 2; stroke-linejoin: round; } .area { fill: var(--c); opacity: .12; }
circle { fill: var(--c); opacity: 0; } circle:hover, circle.only { opacity: 1; } rect.bad { fill: var(--bad); opacity: .7; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px 4px 0; text-align: left; vertical-align: top; border-top: 1px solid var(--grid); }
thead th, tr:first-child > * { border-top: 0; } th { color: var(--soft); font-weight: 500; }
table.numbers :is(th, td):not(:first-child) { text-align: right; padding-right: 4px; } td { overflow-wrap: anywhere; }
";

pub(crate) fn page(report: &Report) -> String {
    let configuration = &report.configuration;
    let load = if configuration.trace.is_some() { "trace replay" } else { "synthetic load" };
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>annulus bench: {rate}/s</title>\n<style>{STYLE}</style>\n</head>\n<body><main>\n\
         <h1>annulus bench</h1>\n<p class=\"sub\">{load}, {} · version {} · {}</p>\n",
        escape(&report.load()),
        escape(&report.annulus_version),
        date(report.started_at_unix_ms),
        rate = table::count(report.totals.rate_per_s.round() as u64),
    );
    if report.interrupted {
        html += "<p class=\"note\">Interrupted: the figures are of what was done until then.</p>\n";
    }
    html += &tiles(report);
    html += &distribution(report).render();
    if !report.series.is_empty() {
        html += &rate(&report.series).render();
        html += &latency(&report.series).render();
    }
    html += &latency_table(report);
    let mut facts: Vec<_> =
        table::facts(report).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    facts.extend(report.error_messages.iter().map(|message| ("error".to_owned(), message.clone())));
    html += &facts_table("Totals", &facts);
    html += &facts_table("Configuration", &settings(configuration));
    html += "</main></body>\n</html>\n";
    html
}

fn tiles(report: &Report) -> String {
    let totals = &report.totals;
    let all = report.latency.first().map(|all| all.percentiles).unwrap_or_default();
    let mut tiles = vec![("requests/s", table::count(totals.rate_per_s.round() as u64), "")];
    if let Some(ratio) = totals.hit_ratio {
        tiles.push(("hit ratio", table::percent(ratio), ""));
    }
    tiles.push(("median", table::latency(all.p50_us), ""));
    tiles.push(("p99", table::latency(all.p99_us), ""));
    tiles.push(("slowest", table::latency(all.max_us), ""));
    tiles.push(("errors", table::count(totals.errors), if totals.errors > 0 { "bad" } else { "" }));
    let tiles = tiles.iter().map(|(name, value, class)| {
        format!("<div class=\"{class}\"><b>{value}</b><span>{name}</span></div>")
    });
    format!("<div class=\"tiles\">{}</div>\n", tiles.collect::<String>())
}

/// As [`table::latency`], but `10 ms` where that says `10.0 ms`.
fn micros(us: f64) -> String {
    let text = table::latency(us.round() as u64);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

fn whole(value: f64) -> String {
    if value < 4.0 && value.fract() > 0.0 {
        format!("{value:.2}")
    } else {
        table::count(value.round() as u64)
    }
}

fn distribution(report: &Report) -> Chart {
    let one_kind = report.latency.len() <= 2;
    let shown: Vec<&OperationLatency> =
        report.latency.iter().filter(|of| !one_kind || of.operation != "all").collect();
    let class = |operation: &str| match operation {
        "get" => "s0",
        "set" => "s1",
        "delete" => "s2",
        _ => "s3",
    };
    let line = |of: &&OperationLatency| Line {
        name: of.operation.clone(),
        class: class(&of.operation),
        points: of.distribution.iter().map(|point| (point.percentile, point.latency_us as f64)).collect(),
        filled: false,
    };
    let lines: Vec<Line> = shown.iter().map(line).collect();
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, latency)| *latency);
    let all = report.latency.first().map(|all| all.percentiles).unwrap_or_default();
    Chart {
        id: "distribution",
        title: "Latency by percentile".to_owned(),
        description: format!(
            "Half of all requests took {} or less, 99 % {} or less, the slowest {}.",
            table::latency(all.p50_us),
            table::latency(all.p99_us),
            table::latency(all.max_us)
        ),
        x: Axis::percentile(report.totals.requests),
        y: Axis::log(values().fold(f64::MAX, f64::min), values().fold(0.0, f64::max)),
        x_name: "percentile",
        // Rounded, because a percentile of the distribution has more digits than anyone reads.
        x_text: |percentile| format!("{} %", (percentile * 1e5).round() / 1e5),
        y_text: micros,
        lines,
        warnings: Vec::new(),
    }
}

fn over_time(series: &[Second]) -> Axis {
    Axis::linear(series.len() as f64)
}

fn points(series: &[Second], of: fn(&Second) -> f64) -> Vec<(f64, f64)> {
    series.iter().map(|second| (second.second as f64 + 0.5, of(second))).collect()
}

fn rate(series: &[Second]) -> Chart {
    let points = points(series, |second| second.rate_per_s);
    let most = points.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    let least = points.iter().map(|(_, rate)| *rate).fold(f64::MAX, f64::min);
    let failed = series.iter().filter(|second| second.errors > 0);
    let warnings: Vec<_> = failed
        .map(|second| {
            (
                second.second as f64 + 0.5,
                format!("{} in second {}", table::counted(second.errors, "error"), second.second),
            )
        })
        .collect();
    Chart {
        id: "rate",
        title: "Requests a second".to_owned(),
        description: format!(
            "Between {} and {} requests a second; errors in {} of {} seconds.",
            whole(least),
            whole(most),
            warnings.len(),
            series.len()
        ),
        x: over_time(series),
        y: Axis::linear(most),
        x_name: "seconds since measuring began",
        x_text: |second| second.to_string(),
        y_text: whole,
        lines: vec![Line { name: "rate".to_owned(), class: "s0", points, filled: true }],
        warnings,
    }
}

fn latency(series: &[Second]) -> Chart {
    let line = |name: &str, class, of: fn(&Second) -> u64| {
        let timed = series.iter().filter(|second| second.max_us > 0);
        let points = timed.map(|second| (second.second as f64 + 0.5, of(second) as f64)).collect();
        Line { name: name.to_owned(), class, points, filled: false }
    };
    let lines = vec![
        line("p50", "s2", |second| second.p50_us),
        line("p99", "s0", |second| second.p99_us),
        line("slowest", "s3", |second| second.max_us),
    ];
    let values = || lines.iter().flat_map(|line| &line.points).map(|(_, latency)| *latency);
    let slowest = values().fold(0.0, f64::max);
    Chart {
        id: "latency",
        title: "Latency over time".to_owned(),
        description: format!("The slowest request of any second took {}.", micros(slowest)),
        x: over_time(series),
        y: Axis::log(values().fold(f64::MAX, f64::min), slowest),
        x_name: "seconds since measuring began",
        x_text: |second| second.to_string(),
        y_text: micros,
        lines,
        warnings: Vec::new(),
    }
}

fn latency_table(report: &Report) -> String {
    let mut html = "<section><h2>Latency</h2><table class=\"numbers\">".to_owned();
    for (at, row) in table::latencies(report).iter().enumerate() {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let tag = if at == 0 || column == 0 { "th" } else { "td" };
            format!("<{tag}>{}</{tag}>", escape(cell))
        });
        write!(html, "<tr>{}</tr>", cells.collect::<String>()).expect("writing to a string succeeds");
    }
    html + "</table></section>\n"
}

fn facts_table(title: &str, facts: &[(String, String)]) -> String {
    let row = |(name, value): &(String, String)| {
        format!("<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value))
    };
    format!(
        "<section><h2>{title}</h2><table>{}</table></section>\n",
        facts.iter().map(row).collect::<String>()
    )
}

/// The configuration as its JSON names it, without what was not asked for.
fn settings(configuration: &Configuration) -> Vec<(String, String)> {
    let json =
        serde_json::to_value(configuration).expect("a configuration has only string keys and plain values");
    let fields = json.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// Days to a civil date as in Howard Hinnant's `civil_from_days`.
fn date(unix_ms: u64) -> String {
    let (days, seconds) = (unix_ms / 86_400_000, unix_ms / 1000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400_000), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_795_269_515_000), "2026-11-21 13:58 UTC");
    }
}
