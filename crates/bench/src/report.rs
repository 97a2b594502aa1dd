use std::path::Path;

use serde::Serialize;

use crate::{BenchError, html, table};

/// What a run measured. Its fields are the JSON report's.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of Annulus that made the report.
    pub annulus_version: String,
    /// When measuring began, in milliseconds since 1970.
    pub started_at_unix_ms: u64,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// What was asked for.
    pub configuration: Configuration,
    /// The time the totals are of, in seconds.
    pub measured_s: f64,
    /// Sums over the measured time.
    pub totals: Totals,
    /// The replay's exact counts, with `--trace`.
    pub trace: Option<TraceTotals>,
    /// What checking found, with `--verify`.
    pub verification: Option<Verification>,
    /// Failed requests by kind, most frequent first.
    pub errors: Vec<ErrorCount>,
    /// The first distinct messages of failed requests.
    pub error_messages: Vec<String>,
    /// Latency of all requests, and of each kind of operation that was made.
    pub latency: Vec<OperationLatency>,
    /// How late the generator itself was, with `--rate`.
    pub generator_lateness: Option<Lateness>,
    /// Each second of the run.
    pub series: Vec<Second>,
}

/// The flags of the run, with their defaults filled in.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    /// `http` or `memcached`.
    pub protocol: String,
    /// `raw`, `json` or `webdis`, over HTTP.
    pub interface: Option<String>,
    /// The servers.
    pub urls: Vec<String>,
    /// Connections, each with one batch in flight.
    pub connections: u32,
    /// Requests in a batch.
    pub pipeline: u32,
    /// Keys in a get of a synthetic load.
    pub multiget: Option<u32>,
    /// Client flags of written values, over memcached's protocol.
    pub flags: Option<u32>,
    /// `closed`, or `open` with `--rate`.
    pub loop_kind: String,
    /// The open loop's rate.
    pub rate_per_s: Option<f64>,
    /// The trace replayed; then keys, sizes and ratios below are absent.
    pub trace: Option<String>,
    /// Distinct keys of a synthetic load.
    pub keys: Option<u32>,
    /// `zipf(EXPONENT)` or `uniform`.
    pub distribution: Option<String>,
    /// Bytes of a value, or their range.
    pub value_size_bytes: Option<String>,
    /// Share of reads.
    pub read_ratio: Option<f64>,
    /// Share of deletes.
    pub delete_ratio: Option<f64>,
    /// Whether all keys were stored first.
    pub preload: bool,
    /// Time to live of written values.
    pub ttl_s: Option<u64>,
    /// Load before measuring.
    pub warm_up_s: f64,
    /// Measured time asked for.
    pub duration_s: Option<f64>,
    /// Measured requests asked for.
    pub requests: Option<u64>,
    /// Limit of one request.
    pub timeout_s: f64,
    /// Whether values were checked.
    pub verify: bool,
    /// Of keys, sizes and operations.
    pub seed: u64,
}

/// Sums over the measured time.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Requests made, failed ones included. A get of many keys is one.
    pub requests: u64,
    /// Requests a second.
    pub rate_per_s: f64,
    /// Failed requests.
    pub errors: u64,
    /// Keys read that had a value.
    pub hits: u64,
    /// Keys read that had none.
    pub misses: u64,
    /// Hits a hit or miss; absent where there was neither.
    pub hit_ratio: Option<f64>,
    /// Bytes of values read, with their JSON where the interface has it.
    pub read_bytes: u64,
    /// Bytes of values written.
    pub written_bytes: u64,
    /// Connections made anew after one broke or was closed.
    pub reconnects: u64,
}

/// A replay's exact counts.
#[derive(Clone, Debug, Serialize)]
pub struct TraceTotals {
    /// Lines replayed, a GET each.
    pub requests: u64,
    /// GETs that hit.
    pub hits: u64,
    /// GETs that missed.
    pub misses: u64,
    /// POSTs after misses.
    pub stores: u64,
    /// Distinct keys in the lines of the trace (or of `--limit`).
    pub distinct_keys: u64,
    /// What an empty cache with room for everything would hit in all those lines.
    pub unbounded_hit_ratio: f64,
    /// Whether there were more hits than the lines replayed can have in a cache that starts empty.
    pub not_empty_at_start: bool,
}

/// What `--verify` found. Corrupt and stale values are also errors; lost ones are not, for a cache may evict.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    /// Reads with a value that was damaged, another key's or came with other flags.
    pub corrupt: u64,
    /// Reads with a value older than one known to be in effect when the read began.
    pub stale: u64,
    /// Misses of keys whose write was acknowledged, that were not deleted since and do not expire.
    pub misses_of_written_keys: u64,
}

/// How often one kind of failure was seen.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorCount {
    /// `status 503`, `connect`, `timeout`, `closed`, `body`, `corrupt`, `stale` or `not sent`; over memcached's protocol also
    /// `ERROR`, `CLIENT_ERROR`, `SERVER_ERROR`, `NOT_STORED` or `malformed`.
    pub kind: String,
    /// How often.
    pub count: u64,
}

/// One operation's latency. Answers (of any status) and time-outs count; refused and broken connections do not.
#[derive(Clone, Debug, Serialize)]
pub struct OperationLatency {
    /// `all`, `get`, `set` or `delete`.
    pub operation: String,
    /// Requests made.
    pub requests: u64,
    /// The usual percentiles.
    #[serde(flatten)]
    pub percentiles: Latency,
    /// The whole distribution.
    pub distribution: Vec<DistributionPoint>,
}

/// Latency percentiles, in microseconds, to three digits; more than 60 seconds count as 60.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// The median.
    pub p50_us: u64,
    /// The 90th percentile.
    pub p90_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The 99.9th percentile.
    pub p99_9_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// The mean.
    pub mean_us: f64,
}

/// A latency and the share of requests at or below it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DistributionPoint {
    /// 0 to 100.
    pub percentile: f64,
    /// In microseconds.
    pub latency_us: u64,
}

/// How long after their intended start requests were released: the part of an open loop's latency that is the
/// generator's own.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Lateness {
    /// The median.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The latest.
    pub max_us: u64,
}

/// One second of the run; requests count in the second in which they ended.
#[derive(Clone, Debug, Serialize)]
pub struct Second {
    /// Since measuring began.
    pub second: u64,
    /// Requests that ended.
    pub requests: u64,
    /// The same a second, which differs where the last second was cut short.
    pub rate_per_s: f64,
    /// Requests that failed.
    pub errors: u64,
    /// Keys read that had a value.
    pub hits: u64,
    /// Keys read that had none.
    pub misses: u64,
    /// Hits a hit or miss; absent where there was neither.
    pub hit_ratio: Option<f64>,
    /// The median latency, to two digits as all in this series.
    pub p50_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
}

impl Report {
    /// Failed requests: 0 means that every request was answered, and under `--verify` answered right.
    pub fn errors(&self) -> u64 {
        self.totals.errors
    }

    /// What was run, in one line: protocol, connections, what is in flight on them, and where to.
    pub fn load(&self) -> String {
        let of = &self.configuration;
        let mut load = vec![table::counted(of.connections.into(), "connection")];
        if of.pipeline > 1 {
            load.push(format!("{} requests a write", of.pipeline));
        }
        if let Some(keys) = of.multiget.filter(|keys| *keys > 1) {
            load.push(format!("{keys} keys a get"));
        }
        let protocol = match of.interface.as_deref() {
            Some(interface) if interface != "raw" => format!("{} ({interface})", of.protocol),
            _ => of.protocol.clone(),
        };
        format!("{protocol}, {} loop, {} to {}", of.loop_kind, load.join(", "), of.urls.join(", "))
    }

    /// The report for people.
    pub fn render_table(&self) -> String {
        table::render(self)
    }

    /// The report for programs, as indented JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys and plain values")
    }

    /// The report as one page that needs nothing but itself.
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// Writes the report to a file, as HTML where its name ends so, else as JSON.
    ///
    /// # Errors
    ///
    /// [`BenchError::Output`] when the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), BenchError> {
        let html = path.extension().is_some_and(|extension| extension == "html");
        let text = if html { self.to_html() } else { self.to_json() + "\n" };
        std::fs::write(path, text).map_err(|source| BenchError::Output { path: path.to_owned(), source })
    }
}
