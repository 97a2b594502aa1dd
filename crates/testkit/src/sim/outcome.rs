//! What came of a run, and whether the invariants held.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::history::{self, Operation, UNKNOWN};

/// How much later than its deadline an entry may be seen: a TTL counts from when a copy takes the write, and messages to
/// the other copies may be held up for as long as a fault lasts.
const EXPIRY_SLACK_US: u64 = 2_500_000;

/// How old what all last snapshots have is at most: the interval between two, and the time to write one.
const SNAPSHOT_AGE_US: u64 = 3_500_000;

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// For each key what clients did and saw.
    pub histories: Vec<Vec<Operation>>,
    /// Compare-and-swaps that succeeded: the key, the value that they replaced and the one that they wrote.
    pub swaps: Vec<(usize, u64, u64)>,
    /// Values that were written with a time to live, in microseconds.
    pub expiries: HashMap<u64, u64>,
    /// When all auxiliaries lost their power at once, in microseconds.
    pub blackout: Option<u64>,
    /// What was found at the end that should not be, once all faults were over.
    pub strays: Vec<String>,
    /// Requests sent.
    pub operations: u64,
    /// Requests answered with a server error.
    pub failed: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Faults injected.
    pub faults: u64,
    /// Lives of auxiliaries that ended, by crash or by draining.
    pub lives: u64,
    /// Views that were settled.
    pub epochs: u64,
    /// The longest that a client waited.
    pub slowest: Duration,
}

impl Outcome {
    /// Checks the invariants.
    ///
    /// # Errors
    /// Names the invariant that is broken and says what is contradictory.
    pub fn check(&self) -> Result<(), String> {
        if let Some(at_us) = self.blackout {
            return self.check_blackout(at_us);
        }
        for (key, history) in self.histories.iter().enumerate() {
            let swaps = self.swaps.iter().filter(|swap| swap.0 == key);
            let pairs: Vec<_> = swaps.map(|(_, before, after)| (*before, *after)).collect();
            history::check_with_swaps(history, &pairs)
                .map_err(|why| format!("linearizable: key-{key}: {why}"))?;
            self.check_expiry(history).map_err(|why| format!("expiry-holds: key-{key}: {why}"))?;
        }
        let mut replaced = HashSet::new();
        if let Some((key, value, _)) =
            self.swaps.iter().find(|(key, before, _)| !replaced.insert((*key, *before)))
        {
            return Err(format!("linearizable: key-{key}: value {value} was swapped for two others"));
        }
        match self.strays.first() {
            Some(stray) => Err(format!("converges: {stray}")),
            None => Ok(()),
        }
    }

    /// After all auxiliaries lost their power at once, no read shows less than the last snapshots had.
    fn check_blackout(&self, at_us: u64) -> Result<(), String> {
        for (key, history) in self.histories.iter().enumerate() {
            let starts: HashMap<u64, u64> =
                history.iter().filter(|one| one.is_write).map(|one| (one.value, one.start)).collect();
            let is_in_snapshots =
                |one: &&Operation| one.is_write && one.end < at_us.saturating_sub(SNAPSHOT_AGE_US);
            let Some(kept) = history.iter().filter(is_in_snapshots).max_by_key(|one| one.start) else {
                continue;
            };
            let is_older = |one: &&Operation| {
                let written = starts.get(&one.value).copied().unwrap_or(0);
                !one.is_write
                    && one.start > at_us
                    && written < kept.start.min(kept.end)
                    && !overlaps(history, one.value, kept)
            };
            if let Some(read) = history.iter().find(is_older) {
                return Err(format!(
                    "acked-write-survives: key-{key}: value {} was in the snapshots, and {} was read after all came back",
                    kept.value, read.value
                ));
            }
        }
        Ok(())
    }

    fn check_expiry(&self, history: &[Operation]) -> Result<(), String> {
        for write in history.iter().filter(|one| one.is_write && one.end != UNKNOWN) {
            let Some(ttl_us) = self.expiries.get(&write.value) else { continue };
            let gone_us = write.end + ttl_us + EXPIRY_SLACK_US;
            let late = |one: &&Operation| !one.is_write && one.value == write.value && one.start > gone_us;
            if let Some(read) = history.iter().find(late) {
                let late_ms = (read.start - write.end - ttl_us) / 1000;
                return Err(format!("value {} was read {late_ms} ms after its time was over", write.value));
            }
        }
        Ok(())
    }

    /// Adds another run's counts to these.
    pub fn add_counts(&mut self, other: &Self) {
        self.operations += other.operations;
        self.failed += other.failed;
        self.unanswered += other.unanswered;
        self.faults += other.faults;
        self.lives += other.lives;
        self.epochs += other.epochs;
        self.slowest = self.slowest.max(other.slowest);
    }

    /// Values that reads showed.
    pub fn values_read(&self) -> usize {
        self.histories.iter().flatten().filter(|one| !one.is_write).count()
    }
}

/// Whether the write of a value was under way while another was: then either may be the last.
fn overlaps(history: &[Operation], value: u64, other: &Operation) -> bool {
    let write = history.iter().find(|one| one.is_write && one.value == value);
    write.is_some_and(|write| write.end > other.start)
}
