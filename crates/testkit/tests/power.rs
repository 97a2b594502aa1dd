//! The power of the checks: with any one mechanism off, the simulation finds a broken invariant within 300 seeds. A
//! mechanism whose absence nobody notices is either not needed or not tested.

use annulus_cluster::Mechanisms;
use annulus_testkit::sim::{Scenario, run};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seeds within which the absence of a mechanism must show.
const SEEDS: u64 = 300;

/// Runs scenarios until one is broken, and gives back its seed and what broke.
fn first_broken(scenario: impl Fn(u64) -> Scenario + Sync) -> Option<(u64, String)> {
    (1..=SEEDS).find_map(|seed| {
        // Each on a thread of its own, so that nothing is left over from the one before. A simulation that gets stuck shows
        // the absence as well.
        let outcome = std::thread::scope(|scope| scope.spawn(|| run(scenario(seed))).join());
        match outcome {
            Ok(outcome) => outcome.check().err().map(|why| (seed, why)),
            Err(_) => Some((seed, "the simulation panicked".to_owned())),
        }
    })
}

fn is_noticed(name: &str, scenario: impl Fn(u64) -> Scenario + Sync) {
    match first_broken(scenario) {
        Some((seed, why)) => println!("without {name}: seed {seed}: {why}"),
        None => panic!("without {name} nothing breaks in {SEEDS} seeds"),
    }
}

fn without(switch: fn(&mut Mechanisms)) -> impl Fn(u64) -> Scenario + Sync {
    move |seed| {
        let mut scenario = Scenario::any(seed);
        switch(&mut scenario.mechanisms);
        scenario
    }
}

#[test]
fn versions_are_needed() {
    is_noticed("versions", without(|on| on.versions = false));
}

#[test]
fn the_refusal_of_older_versions_is_needed() {
    is_noticed("the refusal of older versions", without(|on| on.refusals = false));
}

#[test]
fn read_repair_is_needed() {
    is_noticed("read repair", without(|on| on.read_repair = false));
}

#[test]
fn cold_nodes_are_needed() {
    is_noticed("cold nodes", without(|on| on.cold_nodes = false));
}

#[test]
fn miss_floors_are_needed() {
    is_noticed("miss floors", without(|on| on.floors = false));
}

#[test]
fn spare_floors_are_needed() {
    is_noticed("spare floors", |seed| {
        let scenario = Scenario::crowded(seed);
        Scenario { mechanisms: Mechanisms { spare_floors: false, ..scenario.mechanisms }, ..scenario }
    });
}

#[test]
fn both_views_are_needed() {
    is_noticed("both views", without(|on| on.both_views = false));
}

#[test]
fn the_expiry_in_a_hand_over_is_needed() {
    is_noticed("the expiry in a hand-over", |seed| Scenario {
        expiries: true,
        cache_size: 0,
        ..without(|on| on.expiry = false)(seed)
    });
}

#[test]
fn epochs_are_needed() {
    // Where nothing may be forgotten, a write that went by an old view alone is soon missed.
    is_noticed("epochs", |seed| Scenario {
        deletes: false,
        expiries: false,
        cache_size: 0,
        auxiliaries: 3,
        more_auxiliaries: 3,
        replicas: 2,
        keys: 12,
        clients: 4,
        ..without(|on| on.epochs = false)(seed)
    });
}

#[test]
fn tombstones_are_needed() {
    is_noticed("tombstones", without(|on| on.tombstones = false));
}

#[test]
fn atomic_snapshots_are_needed() {
    is_noticed("atomic snapshots", |seed| Scenario { atomic_snapshots: false, ..Scenario::blackout(seed) });
}
