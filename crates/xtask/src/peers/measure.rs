//! Rounds: ours and theirs in turn, under the same load.

use std::path::Path;

use annulus_testkit::Usage;
use anyhow::{Result, ensure};

use super::Options;
use super::outcome::{Comparison, Measured, Round, Side};
use super::scenario::{Figure, Scenario, System, WEIGHED_BYTES, WEIGHED_ENTRIES};
use super::syscalls::Counter;
use super::system::Running;
use crate::load;

/// Clock ticks of `/proc/PID/stat` in a second: 100 on every Linux that matters (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;
/// Requests of the pass that counts system calls, as a share of a round's: counting slows it down.
const COUNTED_SHARE: f64 = 0.1;
/// Requests before the first round, as a share of a round's.
const WARM_UP_SHARE: f64 = 0.1;

/// Measures one scenario. A side that cannot be started or fails under the load is missing, with the reason.
pub(crate) async fn compare(scenario: &'static Scenario, options: &Options, annulus: &Path) -> Comparison {
    let mut sides = Vec::new();
    let ours = if options.references_only { None } else { Some(scenario.ours) };
    for system in [ours, Some(scenario.theirs)] {
        sides.push(match system {
            Some(system) => Contest::start(scenario, system, options, annulus).await,
            None => Err("only the references were measured".to_owned()),
        });
    }
    let rounds = if scenario.figure == Figure::EntryBytes { 0 } else { options.rounds };
    for round in 1..=usize::from(rounds) {
        for side in &mut sides {
            attempt(side, async |contest| contest.round(round).await).await;
        }
    }
    if scenario.figure == Figure::CpuMicros && !options.no_syscalls {
        for side in &mut sides {
            attempt(side, async |contest| contest.count_syscalls().await).await;
        }
    }
    let mut sides = sides.into_iter().map(|side| match side {
        Ok(contest) => Side::Measured(contest.measured),
        Err(reason) => Side::Missing(reason),
    });
    let mut next = || sides.next().unwrap_or(Side::Missing(String::new()));
    Comparison { scenario, ours: next(), theirs: next() }
}

async fn attempt(side: &mut Result<Contest, String>, what: impl AsyncFnOnce(&mut Contest) -> Result<()>) {
    let Ok(contest) = side else { return };
    if let Err(error) = what(contest).await {
        let reason = format!("{error:#}");
        println!("  {}: {reason}", contest.system);
        *side = Err(reason);
    }
}

/// One side of a scenario while it is measured.
struct Contest {
    scenario: &'static Scenario,
    system: System,
    running: Running,
    requests: u64,
    measured: Measured,
}

impl Contest {
    async fn start(
        scenario: &'static Scenario,
        system: System,
        options: &Options,
        annulus: &Path,
    ) -> Result<Self, String> {
        let start = async {
            let running = Running::start(system, &options.programs, annulus).await?;
            let before = running.rss_bytes()?;
            if let Some(preload) = scenario.preload(system) {
                load::run(&running.url, &preload).await?;
            }
            let grown = running.rss_bytes()?.saturating_sub(before);
            let requests = scenario.requests(options.requests);
            let measured = Measured { system, rounds: Vec::new(), syscalls: None };
            let mut contest = Self { scenario, system, running, requests, measured };
            if scenario.figure == Figure::EntryBytes {
                let figure = grown as f64 / f64::from(WEIGHED_ENTRIES) - WEIGHED_BYTES;
                contest.add(Round { figure, rate_per_s: 0.0, generator_us: 0.0 }, 1);
            } else {
                contest.load(share(requests, WARM_UP_SHARE)).await?;
            }
            anyhow::Ok(contest)
        };
        start.await.map_err(|error| {
            let reason = format!("{error:#}");
            println!("  {system}: {reason}");
            reason
        })
    }

    async fn round(&mut self, number: usize) -> Result<()> {
        let own = || Usage::of(std::process::id()).map(|usage| usage.cpu_ticks);
        let (before, own_before) = (self.running.cpu_ticks()?, own()?);
        let counter = match self.scenario.figure {
            Figure::FrontSyscalls => Some(Counter::start(&self.running.front()).await?),
            Figure::CpuMicros | Figure::EntryBytes => None,
        };
        let requests = if counter.is_some() { share(self.requests, COUNTED_SHARE) } else { self.requests };
        let rate_per_s = self.load(requests).await?;
        let figure = match counter {
            Some(counter) => counter.finish().await? as f64 / requests as f64,
            None => micros(self.running.cpu_ticks()? - before, requests),
        };
        let generator_us = micros(own()? - own_before, requests);
        self.add(Round { figure, rate_per_s, generator_us }, number);
        Ok(())
    }

    fn add(&mut self, round: Round, number: usize) {
        let figure = self.scenario.figure.text(round.figure);
        let Round { rate_per_s, generator_us, .. } = round;
        println!(
            "  {} round {number}: {figure}, {rate_per_s:.0} requests/s, the generator's own CPU {generator_us:.2} µs",
            self.system
        );
        self.measured.rounds.push(round);
    }

    /// A short pass that counts the system calls of all processes.
    async fn count_syscalls(&mut self) -> Result<()> {
        // That they cannot be counted makes nothing else worthless.
        let counter = match Counter::start(&self.running.pids()).await {
            Ok(counter) => counter,
            Err(error) => {
                println!("  {}: {error:#}", self.system);
                return Ok(());
            }
        };
        let requests = share(self.requests, COUNTED_SHARE);
        self.load(requests).await?;
        self.measured.syscalls = Some(counter.finish().await? as f64 / requests as f64);
        Ok(())
    }

    /// Makes the scenario's load; requests a second.
    async fn load(&self, requests: u64) -> Result<f64> {
        let report = load::run(&self.running.url, &self.scenario.options(self.system, requests)).await?;
        // A cache that holds nothing would be fast.
        ensure!(report.totals.misses == 0, "reads missed what was stored:\n{}", report.render_table());
        Ok(report.totals.rate_per_s)
    }
}

fn share(requests: u64, share: f64) -> u64 {
    ((requests as f64 * share) as u64).max(1)
}

fn micros(ticks: u64, requests: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND * 1e6 / requests as f64
}
