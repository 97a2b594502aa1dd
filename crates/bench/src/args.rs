use std::path::PathBuf;
use std::time::Duration;

use crate::BenchError;
use crate::durations;
use crate::interface::Interface;
use crate::parse::{self, MAX_VALUE_BYTES, Url, ValueSize};
use crate::payload::STAMP_BYTES;
use crate::protocol::Protocol;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Distribution {
    /// Few keys take most requests, as in real caches; see `--zipf-exponent`.
    Zipf,
    /// Every key is as likely as any other.
    Uniform,
}

/// What load to make, and where to report it.
#[derive(Clone, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent flag of the command line")]
pub struct Args {
    /// Servers to load, as http://HOST:PORT or memcached://HOST:PORT; repeat or separate by commas. Connections are
    /// spread over them in turn, and one that breaks moves on to the next.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8000",
        default_value_if("protocol", clap::builder::ArgPredicate::Equals("memcached".into()), "memcached://127.0.0.1:11211")
    )]
    pub url: Vec<Url>,
    /// What to speak: any server that understands memcached's text protocol will do [default: what --url says]
    #[arg(long, value_enum)]
    pub protocol: Option<Protocol>,
    /// Which HTTP interface to use
    #[arg(long, value_enum, default_value_t = Interface::Raw)]
    pub interface: Interface,
    /// Requests in one write, their answers matched in order; memcached only. With --rate or at the end of a run there
    /// may be fewer
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub pipeline: u32,
    /// Distinct keys in one get, which counts as one request; memcached only
    #[arg(
        long,
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1000),
        conflicts_with = "trace"
    )]
    pub multiget: u32,
    /// Client flags of written values; memcached only
    #[arg(long, default_value_t = 0)]
    pub flags: u32,
    /// Connections, each with one batch of --pipeline requests in flight [default: 32, or 1 with --trace, which keeps its
    /// order exact]
    #[arg(long, short, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub connections: Option<u32>,
    /// How many distinct keys
    #[arg(
        long,
        default_value_t = 100_000,
        value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with = "trace"
    )]
    pub keys: u32,
    /// What a key's name starts with; 12 digits follow (16 bytes in all by default)
    #[arg(long, default_value = "key-", conflicts_with = "trace")]
    pub key_prefix: String,
    /// How keys are chosen
    #[arg(long, value_enum, default_value_t = Distribution::Zipf, conflicts_with = "trace")]
    pub distribution: Distribution,
    /// Skew of zipf: 0 is uniform, 0.99 the usual benchmark, above 1 extreme
    #[arg(long, default_value_t = 0.99, value_parser = parse::positive, conflicts_with = "trace")]
    pub zipf_exponent: f64,
    /// Bytes of a written value: 100, 4Ki, or a range such as 100-1000
    #[arg(long, default_value = "100", conflicts_with = "trace")]
    pub value_size: ValueSize,
    /// Share of requests that read; what neither reads nor deletes writes
    #[arg(long, default_value_t = 0.9, value_parser = parse::ratio, conflicts_with = "trace")]
    pub read_ratio: f64,
    /// Share of requests that delete
    #[arg(long, default_value_t = 0.0, value_parser = parse::ratio, conflicts_with = "trace")]
    pub delete_ratio: f64,
    /// How long written values live, such as 60 (seconds), 5m or 12h; 0: for ever [default: for ever]
    #[arg(long, value_parser = durations::ttl_seconds, allow_hyphen_values = true)]
    pub ttl: Option<u64>,
    /// Requests a second on a fixed schedule, whatever the answers take (open loop): latency counts from the intended
    /// start, the wait for a free connection included [default: as fast as answers come (closed loop)]
    #[arg(long, value_parser = parse::positive)]
    pub rate: Option<f64>,
    /// How long to measure, after the warm-up [default: 10s; with --requests or --trace: until they are done]
    #[arg(long, short, value_parser = durations::positive_duration, allow_hyphen_values = true)]
    pub duration: Option<Duration>,
    /// How many requests to measure
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "trace")]
    pub requests: Option<u64>,
    /// Load before measuring, not counted [default: 1s; none with --trace]
    #[arg(long, value_parser = durations::duration, allow_hyphen_values = true, conflicts_with = "trace")]
    pub warm_up: Option<Duration>,
    /// Store every key once before the run
    #[arg(long, conflicts_with = "trace")]
    pub preload: bool,
    /// Replay a file of `KEY` or `KEY SIZE` lines (plain or gzip) as a cache user would: GET, and on a miss POST. With
    /// more than one connection, or a pipeline, the order is approximate, and a key missed by two at once counts two
    /// misses
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Replay only the trace's first lines
    #[arg(long, requires = "trace", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Check every value read: damaged or foreign values are `corrupt`, values older than the last acknowledged write
    /// (or than one already read) `stale`. The keys must be written by this run alone
    #[arg(long)]
    pub verify: bool,
    /// Seed of keys, sizes and operations: the same seed makes the same requests on each connection
    #[arg(long, default_value_t = 1, conflicts_with = "trace")]
    pub seed: u64,
    /// How long one request may take
    #[arg(
        long,
        default_value = "5s",
        value_parser = durations::positive_duration,
        allow_hyphen_values = true
    )]
    pub timeout: Duration,
    /// Write the report to a file, report.json or report.html; repeat for both
    #[arg(long, short, value_name = "FILE")]
    pub output: Vec<PathBuf>,
    /// No progress bar
    #[arg(long, short)]
    pub quiet: bool,
    /// Print the report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Connections to open: `--connections`, or its default for the kind of run.
    pub fn effective_connections(&self) -> u32 {
        self.connections.unwrap_or(if self.trace.is_some() { 1 } else { 32 })
    }

    /// How long to measure, or `None` where a number of requests or a trace ends the run.
    pub(crate) fn effective_duration(&self) -> Option<Duration> {
        let endless = self.requests.is_none() && self.trace.is_none();
        self.duration.or(endless.then_some(Duration::from_secs(10)))
    }

    pub(crate) fn effective_warm_up(&self) -> Duration {
        let default = if self.trace.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
        self.warm_up.unwrap_or(default)
    }

    /// The time to live to ask for; 0 is none.
    pub(crate) fn effective_ttl_s(&self) -> Option<u64> {
        self.ttl.filter(|seconds| *seconds > 0)
    }

    /// What is spoken: what was asked for, or else what the first URL says.
    pub fn effective_protocol(&self) -> Protocol {
        self.protocol.or_else(|| self.url.first().map(Url::protocol)).unwrap_or(Protocol::Http)
    }

    pub(crate) fn url_list(&self) -> String {
        self.url.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// What the parser cannot see: contradictions between flags, and reports that could not be written, which is
    /// better known before the run than after it.
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        let wrong = |text: String| Err(BenchError::Arguments(text));
        if self.read_ratio + self.delete_ratio > 1.0 + 1e-9 {
            return wrong("--read-ratio and --delete-ratio are more than 1 together".to_owned());
        }
        self.check_protocol()?;
        if self.key_prefix.len() > 250 - 12 {
            return wrong(
                "--key-prefix is over 238 bytes: 12 digits follow it and a key has at most 250".to_owned(),
            );
        }
        if self.verify && self.trace.is_none() && self.value_size.min_bytes() < STAMP_BYTES {
            return wrong(format!(
                "--verify needs --value-size {STAMP_BYTES} or more: each value carries its origin"
            ));
        }
        if self.rate.is_some_and(|rate| rate > 10_000_000.0) {
            return wrong("--rate is over 10000000 requests a second".to_owned());
        }
        for path in &self.output {
            let extension = path.extension().and_then(|extension| extension.to_str());
            if !matches!(extension, Some("json" | "html")) {
                return wrong(format!("--output {}: the name must end in .json or .html", path.display()));
            }
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                return wrong(format!("--output {}: its folder does not exist", path.display()));
            }
        }
        Ok(())
    }

    fn check_protocol(&self) -> Result<(), BenchError> {
        let wrong = |text: String| Err(BenchError::Arguments(text));
        let protocol = self.effective_protocol();
        if let Some(url) = self.url.iter().find(|url| url.protocol() != protocol) {
            let scheme = protocol.scheme();
            let expected = format!("with --protocol {scheme} a URL reads {scheme}://HOST:PORT");
            return wrong(format!("--url {url}: {expected}"));
        }
        if protocol == Protocol::Http {
            let asked =
                [("pipeline", self.pipeline > 1), ("multiget", self.multiget > 1), ("flags", self.flags > 0)];
            return match asked.iter().find(|(_, asked)| *asked) {
                Some((name, _)) => wrong(format!("--{name} needs --protocol memcached")),
                None => Ok(()),
            };
        }
        if self.interface != Interface::Raw {
            return wrong("--interface is of HTTP, and memcached has but one".to_owned());
        }
        if !is_memcached_key(&self.key_prefix) {
            return wrong(
                "--key-prefix has white space or control characters, which no memcached key may".to_owned(),
            );
        }
        if self.multiget > self.keys {
            return wrong("--multiget is more than --keys: the keys of a get are distinct".to_owned());
        }
        if self.pipeline as usize * self.value_size.max_bytes() > MAX_VALUE_BYTES {
            return wrong("--pipeline times --value-size is over 64Mi".to_owned());
        }
        Ok(())
    }
}

/// Whether memcached's text protocol can carry such a name.
pub(crate) fn is_memcached_key(name: &str) -> bool {
    name.bytes().all(|byte| byte > b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn args(flags: &[&str]) -> Result<Args, clap::Error> {
        Command::try_parse_from([&["bench"], flags].concat()).map(|command| command.args)
    }

    #[test]
    fn defaults_depend_on_the_kind_of_run() {
        let plain = args(&[]).unwrap();
        assert_eq!((plain.effective_connections(), plain.effective_warm_up()), (32, Duration::from_secs(1)));
        assert_eq!(plain.effective_duration(), Some(Duration::from_secs(10)));
        let trace = args(&["--trace", "x.gz"]).unwrap();
        assert_eq!((trace.effective_connections(), trace.effective_warm_up()), (1, Duration::ZERO));
        assert_eq!(trace.effective_duration(), None);
        assert_eq!(args(&["--url", "http://a:1,http://b:2", "--url", "http://c:3"]).unwrap().url.len(), 3);
    }

    #[test]
    fn the_protocol_is_what_the_urls_say_or_was_asked_for() {
        let protocol = |flags: &[&str]| {
            let args = args(flags).unwrap();
            args.check()
                .map(|()| (args.effective_protocol(), args.url_list()))
                .map_err(|error| error.to_string())
        };
        assert_eq!(protocol(&[]), Ok((Protocol::Http, "http://127.0.0.1:8000".to_owned())));
        let memcached = Ok((Protocol::Memcached, "memcached://127.0.0.1:11211".to_owned()));
        assert_eq!(
            protocol(&["--protocol", "memcached", "--pipeline", "16", "--multiget", "100"]),
            memcached
        );
        assert_eq!(protocol(&["--url", "memcached://127.0.0.1:11211", "--flags", "7"]), memcached);
        for (flags, said) in [
            (&["--url", "http://a:1,memcached://b:2"][..], "--url memcached://b:2: with --protocol http"),
            (&["--url", "http://a:1", "--protocol", "memcached"], "a URL reads memcached://HOST:PORT"),
            (&["--pipeline", "2"], "--pipeline needs --protocol memcached"),
            (&["--multiget", "2"], "--multiget needs"),
            (&["--flags", "2"], "--flags needs"),
            (&["--protocol", "memcached", "--interface", "json"], "--interface is of HTTP"),
            (&["--protocol", "memcached", "--key-prefix", "a b"], "white space"),
            (&["--protocol", "memcached", "--multiget", "9", "--keys", "8"], "more than --keys"),
            (&["--protocol", "memcached", "--pipeline", "65", "--value-size", "1Mi"], "over 64Mi"),
        ] {
            let error = protocol(flags).unwrap_err();
            assert!(error.contains(said), "{flags:?}: {error}");
        }
    }

    #[test]
    fn contradictions_are_named_before_the_run() {
        for flags in [
            &["--read-ratio", "0.9", "--delete-ratio", "0.2"][..],
            &["--verify", "--value-size", "8"],
            &["--output", "report.pdf"],
            &["--output", "/no/such/folder/report.json"],
        ] {
            assert!(args(flags).unwrap().check().is_err(), "{flags:?}");
        }
        for flags in
            [&["--limit", "5"][..], &["--read-ratio", "2"], &["--timeout", "5"], &["--duration", "-5"]]
        {
            assert!(args(flags).is_err(), "{flags:?}");
        }
        let ignored = [
            ["--requests", "5"],
            ["--keys", "5"],
            ["--key-prefix", "k"],
            ["--distribution", "uniform"],
            ["--zipf-exponent", "1"],
            ["--value-size", "5"],
            ["--read-ratio", "1"],
            ["--delete-ratio", "0"],
            ["--warm-up", "1s"],
            ["--seed", "2"],
            ["--multiget", "2"],
        ];
        for flags in ignored {
            assert!(
                args(&flags).is_ok() && args(&[&["--trace", "x"], &flags[..]].concat()).is_err(),
                "{flags:?}"
            );
        }
        assert!(args(&["--trace", "x", "--rate", "100", "--ttl", "60", "--duration", "1s"]).is_ok());
        assert!(args(&["--verify", "--output", "report.html"]).unwrap().check().is_ok());
    }
}
