//! The invariants under simulated faults. `SEEDS=n` runs more seeds, `SEED=n` replays one.

use annulus_testkit::sim::{Outcome, Scenario, run};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the scenario for many seeds; a broken invariant names the seed that replays it.
fn holds_for_every_seed(scenario: impl Fn(u64) -> Scenario) {
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("SEEDS").unwrap_or(40)),
    };
    let mut total = Outcome::default();
    let (mut values_read, mut swapped) = (0, 0);
    for seed in first..first + count {
        let outcome = run(scenario(seed));
        if let Err(why) = outcome.check() {
            panic!("linearizable is broken: {why}; replay with SEED={seed}");
        }
        total.operations += outcome.operations;
        values_read += outcome.histories.iter().flatten().filter(|one| !one.is_write).count();
        swapped += outcome.swaps.len();
        total.failed += outcome.failed;
        total.unanswered += outcome.unanswered;
        total.faults += outcome.faults;
        total.slowest = total.slowest.max(outcome.slowest);
    }
    println!(
        "{count} seeds: {} operations, {values_read} values read, {swapped} swaps, {} failed, {} unanswered, {} faults, slowest {:?}",
        total.operations, total.failed, total.unanswered, total.faults, total.slowest
    );
    assert!(values_read > count as usize * 30, "hardly anything was read: nothing is shown");
    assert!(swapped > count as usize, "hardly anything was swapped: nothing is shown");
}

#[test]
fn keys_are_linearizable_through_partitions() {
    holds_for_every_seed(Scenario::new);
}

#[test]
fn keys_are_linearizable_with_deletes_and_a_clock_ten_seconds_ahead() {
    holds_for_every_seed(|seed| Scenario { deletes: true, skew_ms: 10_000, ..Scenario::new(seed) });
}

#[test]
fn keys_are_linearizable_in_stores_smaller_than_the_keys() {
    holds_for_every_seed(|seed| Scenario { deletes: true, cache_size: 4, ..Scenario::new(seed) });
}

#[test]
fn keys_are_linearizable_with_three_copies_of_four_nodes() {
    holds_for_every_seed(|seed| Scenario { auxiliaries: 4, replicas: 3, ..Scenario::new(seed) });
}

#[test]
fn keys_are_linearizable_under_many_writers_of_few_keys() {
    holds_for_every_seed(|seed| Scenario { clients: 6, keys: 2, ..Scenario::new(seed) });
}

#[test]
fn a_seed_replays_exactly() {
    let one = run(Scenario::new(7));
    let two = run(Scenario::new(7));
    assert_eq!(one.histories, two.histories);
    assert_eq!(one.swaps, two.swaps);
}
