//! Many seeds of a scenario, on all cores.

use std::fmt;
use std::num::NonZero;
use std::ops::Range;
use std::thread;

use parking_lot::Mutex;

use super::outcome::Outcome;
use super::run::run;
use super::scenario::Scenario;

/// What the runs of many seeds came to.
#[derive(Debug, Default)]
pub struct Batch {
    /// Runs that have ended.
    pub seeds: u64,
    /// What they did in all.
    pub counts: Outcome,
    /// Values that reads showed.
    pub values_read: usize,
    /// Compare-and-swaps that succeeded.
    pub swapped: usize,
    /// The first seed that was seen to break an invariant, and what it broke.
    pub broken: Option<(u64, String)>,
}

impl Batch {
    fn add(&mut self, seed: u64, outcome: thread::Result<Outcome>) {
        self.seeds += 1;
        let why = match outcome {
            Ok(outcome) => {
                self.counts.add_counts(&outcome);
                self.values_read += outcome.values_read();
                self.swapped += outcome.swaps.len();
                outcome.check().err()
            }
            Err(_) => Some("the simulation panicked".to_owned()),
        };
        self.broken = self.broken.take().or(why.map(|why| (seed, why)));
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, counts, values_read, swapped, .. } = self;
        let Outcome { operations, failed, unanswered, faults, lives, epochs, slowest, .. } = counts;
        write!(
            f,
            "{seeds} seeds: {operations} operations, {values_read} values read, {swapped} swaps, {failed} failed, \
             {unanswered} unanswered, {faults} faults, {lives} lives, {epochs} epochs, slowest {slowest:?}"
        )
    }
}

/// Runs the scenario of each seed, until one breaks an invariant. After each run `progress` sees what they have come to so far.
pub fn run_batch(
    seeds: Range<u64>,
    scenario: impl Fn(u64) -> Scenario + Sync,
    progress: impl Fn(&Batch) + Sync,
) -> Batch {
    let seeds = Mutex::new(seeds);
    let batch = Mutex::new(Batch::default());
    let work = || {
        while batch.lock().broken.is_none() {
            let Some(seed) = seeds.lock().next() else { return };
            // Each on a thread of its own, so that nothing is left over from the one before.
            let outcome = thread::scope(|scope| scope.spawn(|| run(scenario(seed))).join());
            let mut batch = batch.lock();
            batch.add(seed, outcome);
            progress(&batch);
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    batch.into_inner()
}
