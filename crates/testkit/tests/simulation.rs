//! The invariants under simulated faults. `SEEDS=n` runs more seeds, `SEED=n` replays one.

use std::time::Duration;

use annulus_testkit::sim::{Batch, Scenario, run, run_batch};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often a long batch says how far it is.
const SEEDS_A_LINE: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the scenario for many seeds; a broken invariant names the seed that replays it.
fn holds_for_every_seed(seeds: u64, scenario: impl Fn(u64) -> Scenario + Sync) {
    let (first, count) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (1, number("SEEDS").unwrap_or(seeds)),
    };
    let progress = |batch: &Batch| {
        if batch.seeds.is_multiple_of(SEEDS_A_LINE) && batch.seeds < count {
            println!("{batch}");
        }
    };
    let batch = run_batch(first..first + count, scenario, progress);
    if let Some((seed, why)) = batch.broken {
        panic!("broken: {why}; replay with SEED={seed}");
    }
    println!("{batch}");
    assert!(batch.values_read > count as usize * 30, "hardly anything was read: nothing is shown");
    assert!(batch.swapped > count as usize, "hardly anything was swapped: nothing is shown");
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
    for seed in number("SEED").map_or(7..12, |seed| seed..seed + 1) {
        let scenario = Scenario { duration: Duration::from_secs(20), ..Scenario::any(seed) };
        let one = run(scenario);
        run(Scenario { seed: seed + 1, ..scenario });
        let two = run(scenario);
        assert!(one.histories == two.histories, "seed {seed}: clients saw different things");
        assert!(one.swaps == two.swaps, "seed {seed}: other swaps succeeded");
    }
}

#[test]
fn all_that_the_last_snapshots_had_is_back_after_a_blackout() {
    holds_for_every_seed(40, Scenario::blackout);
}

#[test]
fn everything_is_back_after_all_were_told_to_stop_at_once() {
    holds_for_every_seed(40, Scenario::shutdown);
}

#[test]
fn nothing_is_lost_under_floors_that_other_keys_raise() {
    holds_for_every_seed(200, Scenario::crowded);
}

#[test]
fn everything_at_once() {
    holds_for_every_seed(2000, Scenario::any);
}
