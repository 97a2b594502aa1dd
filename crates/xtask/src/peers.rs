//! Annulus against its peers: memcached, nutcracker, webdis with Redis, and a bare axum handler, on loopback ports of
//! their own, with the same keys and the same load, in turn in one run.

mod docs;
mod measure;
mod outcome;
mod scenario;
mod server;
mod syscalls;
mod system;
mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use self::system::Programs;

/// What to compare, and how long.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Scenarios to measure, by name or by the first word of it, separated by commas [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// List the scenarios, and measure nothing
    #[arg(long)]
    list: bool,
    /// Requests in a round without pipelining; cheaper ones are made more often, dearer ones less
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..))]
    requests: u64,
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Measure the peers only
    #[arg(long)]
    references_only: bool,
    /// Leave out the pass that counts system calls
    #[arg(long)]
    no_syscalls: bool,
    /// Write table and chart into performance.md and peers.svg of this folder
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, default_missing_value = "docs")]
    write_docs: Option<PathBuf>,
    #[command(flatten)]
    programs: Programs,
}

/// Measures, prints the outcome and writes it down where asked. Must be called on the main thread, as the servers die with
/// the thread that starts them.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = compare(options) => done,
        // Servers end as they are dropped.
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn compare(options: &Options) -> Result<()> {
    let scenarios = scenario::pick(&options.only).map_err(anyhow::Error::msg)?;
    if options.list {
        for scenario in scenarios {
            println!("{:<16} {}", scenario.name, scenario.title);
        }
        return Ok(());
    }
    let annulus = if options.references_only { PathBuf::new() } else { annulus(&options.programs)? };
    let conditions = conditions(options);
    println!("{conditions}\n");
    let mut comparisons = Vec::new();
    for scenario in scenarios {
        println!("{}: {}", scenario.name, scenario.title);
        comparisons.push(measure::compare(scenario, options, &annulus).await);
    }
    println!("\n{}", table::render(&comparisons));
    if let Some(folder) = &options.write_docs {
        docs::write(folder, &comparisons, &conditions)?;
    }
    Ok(())
}

/// The binary to measure, built where none was named.
fn annulus(programs: &Programs) -> Result<PathBuf> {
    if let Some(path) = &programs.annulus {
        ensure!(path.is_file(), "{} is no file", path.display());
        return Ok(path.clone());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--locked", "--profile", "dist", "-p", "annulus"]).status();
    ensure!(built.context("cargo")?.success(), "annulus does not build");
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    Ok(folder.join("dist/annulus"))
}

/// Where and how it was measured, in a sentence or two.
fn conditions(options: &Options) -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown", |(_, name)| name.trim());
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let Programs { memcached, nutcracker, redis, .. } = &options.programs;
    let versions = [version(memcached, "-V"), version(nutcracker, "-V"), version(redis, "--version")];
    let versions: Vec<_> = versions.into_iter().flatten().chain(packaged("webdis")).collect();
    format!(
        "{cores} cores ({model}), Linux {}; {}. Medians of {} rounds, {} requests in a round without pipelining.",
        kernel.trim(),
        versions.join(", "),
        options.rounds,
        options.requests
    )
}

/// The first line of what a program says of its version, wherever it says it.
fn version(program: &Path, flag: &str) -> Option<String> {
    let said = Command::new(program).arg(flag).output().ok()?;
    let text = [said.stdout, said.stderr].concat();
    let line = String::from_utf8_lossy(&text).lines().find(|line| !line.trim().is_empty())?.to_owned();
    Some(shortened(&line))
}

/// What Debian's package says of a program that does not say its version.
fn packaged(name: &str) -> Option<String> {
    let said = Command::new("dpkg-query").args(["-W", "-f", "${Version}", name]).output().ok()?;
    let version = String::from_utf8(said.stdout).ok()?;
    (said.status.success() && !version.is_empty()).then(|| format!("{name} {version}"))
}

/// `Redis server v=7.0.15 sha=…` as `Redis server 7.0.15`, `This is nutcracker-0.5.0` as `nutcracker-0.5.0`.
fn shortened(line: &str) -> String {
    let line = line.trim().trim_start_matches("This is ").replace(" v=", " ");
    let end = line.find(" sha=").unwrap_or(line.len());
    line[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_said_in_short() {
        let redis = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=b0e3fd39";
        assert_eq!(shortened(redis), "Redis server 7.0.15");
        assert_eq!(shortened("This is nutcracker-0.5.0"), "nutcracker-0.5.0");
        assert_eq!(shortened("memcached 1.6.18\n"), "memcached 1.6.18");
    }
}
