//! One run of the simulation.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::client::{Notes, client};
use super::faults::Faults;
use super::inspect::inspect;
use super::outcome::Outcome;
use super::scenario::Scenario;
use super::world::{World, auxiliary, master};

/// How much simulated time one step takes.
const TICK_MS: u64 = 5;

/// Runs a scenario to its end.
///
/// # Panics
/// Where the simulation itself fails, which no fault should bring about.
pub fn run(scenario: Scenario) -> Outcome {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(scenario.seed)
        .simulation_duration(scenario.duration * 4 + Duration::from_secs(120))
        .tick_duration(Duration::from_millis(TICK_MS))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(15))
        .tcp_capacity(1024)
        .enable_random_order()
        .epoch(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let mut sim = builder.build();
    let world = World::new(scenario);
    for number in 0..scenario.all_auxiliaries() {
        let world = Rc::clone(&world);
        sim.host(format!("aux-{number}"), move || auxiliary(Rc::clone(&world), number));
    }
    for number in 0..scenario.masters {
        let world = Rc::clone(&world);
        sim.host(format!("master-{number}"), move || master(Rc::clone(&world), number));
    }
    let notes = Rc::new(RefCell::new(Notes::new(scenario.keys)));
    for number in 0..scenario.clients {
        sim.client(format!("client-{number}"), client(number, scenario, Rc::clone(&notes)));
    }
    let is_quiet = Rc::new(Cell::new(false));
    sim.client("inspector", inspect(Rc::clone(&world), Rc::clone(&is_quiet), Rc::clone(&notes)));
    let mut faults = Faults::new(Rc::clone(&world));
    let mut now_ms = 0;
    let end_ms = scenario.duration.as_millis() as u64;
    let step = |sim: &mut turmoil::Sim<'_>, faults: &Faults| {
        sim.step().unwrap_or_else(|error| {
            panic!(
                "SEED={}: the simulation fails: {error}; still broken: {}",
                scenario.seed,
                faults.describe()
            )
        })
    };
    while !step(&mut sim, &faults) {
        now_ms += TICK_MS;
        world.now_ms.store(now_ms, Ordering::Relaxed);
        faults.at(now_ms, &mut sim);
        is_quiet.set(now_ms > end_ms && faults.are_over());
    }
    let mut outcome = notes.borrow().outcome.clone();
    outcome.blackout = scenario.blackout_ms().map(|at_ms| at_ms * 1000);
    outcome.faults = faults.injected;
    outcome.lives = faults.lives;
    outcome.epochs = world.roster().map_or(0, |roster| roster.epoch());
    outcome
}
