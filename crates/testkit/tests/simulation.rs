//! The invariants under simulated faults. `SEEDS=n` runs more seeds, `SEED=n` replays one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use annulus_testkit::sim::{Outcome, Scenario, run};

/// Simulations at once.
const THREADS: usize = 2;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What all runs of a scenario came to.
#[derive(Default)]
struct Total {
    counts: Outcome,
    values_read: usize,
    swapped: usize,
    broken: Option<(u64, String)>,
}

/// Runs the scenario for many seeds; a broken invariant names the seed that replays it.
fn holds_for_every_seed(seeds: u64, scenario: impl Fn(u64) -> Scenario + Sync) {
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("SEEDS").unwrap_or(seeds)),
    };
    let next = AtomicU64::new(first);
    let total = Mutex::new(Total::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_broken = total.lock().unwrap_or_else(PoisonError::into_inner).broken.is_some();
            if seed >= first + count || is_broken {
                return;
            }
            // Each on a thread of its own, so that nothing is left over from the one before.
            let outcome = std::thread::scope(|scope| scope.spawn(|| run(scenario(seed))).join());
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            match outcome {
                Ok(outcome) => {
                    total.counts.add_counts(&outcome);
                    total.values_read += outcome.values_read();
                    total.swapped += outcome.swaps.len();
                    total.broken = total.broken.take().or(outcome.check().err().map(|why| (seed, why)));
                }
                Err(_) => total.broken = Some((seed, "the simulation panicked".to_owned())),
            }
        }
    };
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    let Total { counts, values_read, swapped, broken } = total.into_inner().unwrap_or_default();
    if let Some((seed, why)) = broken {
        panic!("broken: {why}; replay with SEED={seed}");
    }
    println!(
        "{count} seeds: {} operations, {values_read} values read, {swapped} swaps, {} failed, {} unanswered, {} faults, \
         {} lives, {} epochs, slowest {:?}",
        counts.operations,
        counts.failed,
        counts.unanswered,
        counts.faults,
        counts.lives,
        counts.epochs,
        counts.slowest
    );
    assert!(values_read > count as usize * 30, "hardly anything was read: nothing is shown");
    assert!(swapped > count as usize, "hardly anything was swapped: nothing is shown");
}

#[test]
fn keys_are_linearizable_through_partitions() {
    holds_for_every_seed(40, Scenario::new);
}

#[test]
fn keys_are_linearizable_with_deletes_and_a_clock_ten_seconds_ahead() {
    holds_for_every_seed(40, |seed| Scenario { deletes: true, skew_ms: 10_000, ..Scenario::new(seed) });
}

#[test]
fn keys_are_linearizable_in_stores_smaller_than_the_keys() {
    holds_for_every_seed(40, |seed| Scenario { deletes: true, cache_size: 4, ..Scenario::new(seed) });
}

#[test]
fn keys_are_linearizable_with_three_copies_of_four_nodes() {
    holds_for_every_seed(40, |seed| Scenario { auxiliaries: 4, replicas: 3, ..Scenario::new(seed) });
}

#[test]
fn keys_are_linearizable_with_a_copy_on_every_node() {
    let everywhere = |scenario| Scenario { everywhere: true, ..scenario };
    holds_for_every_seed(12, |seed| everywhere(Scenario { auxiliaries: 5, ..Scenario::new(seed) }));
    holds_for_every_seed(12, |seed| everywhere(Scenario { replicas: 2, ..Scenario::any(seed) }));
}

#[test]
fn keys_are_linearizable_under_many_writers_of_few_keys() {
    holds_for_every_seed(40, |seed| Scenario { clients: 6, keys: 2, ..Scenario::new(seed) });
}

#[test]
fn a_seed_replays_exactly() {
    let scenario = Scenario { duration: Duration::from_secs(20), ..Scenario::any(7) };
    let one = run(scenario);
    run(Scenario { seed: 8, ..scenario });
    let two = run(scenario);
    assert!(one.histories == two.histories, "clients saw different things");
    assert!(one.swaps == two.swaps, "other swaps succeeded");
}

#[test]
fn all_that_the_last_snapshots_had_is_back_after_a_blackout() {
    holds_for_every_seed(40, Scenario::blackout);
}

#[test]
fn everything_at_once() {
    holds_for_every_seed(400, Scenario::any);
}
