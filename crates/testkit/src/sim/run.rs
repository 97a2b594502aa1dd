//! One run of the simulation.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinSet, LocalSet, spawn_local};

use super::client::{Notes, client};
use super::faults::Faults;
use super::inspect::inspect;
use super::outcome::Outcome;
use super::scenario::Scenario;
use super::world::{World, check, master};

/// Runs a scenario to its end.
///
/// # Panics
/// Where the simulation itself fails, which no fault should bring about.
pub fn run(scenario: Scenario) -> Outcome {
    // The clock goes on to when the next thing happens as soon as nothing is left to do.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    LocalSet::new().block_on(&runtime, simulate(scenario))
}

async fn simulate(scenario: Scenario) -> Outcome {
    let world = World::new(scenario);
    let carrier = spawn_local(world.network.clone().carry());
    (0..scenario.all_auxiliaries()).for_each(|number| world.start(number));
    let masters: Vec<_> =
        (0..scenario.masters).map(|number| spawn_local(master(Rc::clone(&world), number))).collect();
    let notes = Rc::new(RefCell::new(Notes::new(scenario.key_names())));
    let outside = world.network.wire().add_host("outside".to_owned());
    let net = world.network.start(outside, 0);
    let mut clients = JoinSet::new();
    for number in 0..scenario.clients {
        clients.spawn_local(client(number, scenario, net.clone(), Rc::clone(&notes)));
    }
    let mut faults = Faults::new(Rc::clone(&world));
    let limit = scenario.duration * 4 + Duration::from_secs(120);
    let whole = async {
        faults.run().await;
        inspect(Rc::clone(&world), net, Rc::clone(&notes)).await;
        while let Some(ended) = clients.join_next().await {
            ended.unwrap_or_else(|error| panic!("SEED={}: a client failed: {error}", scenario.seed));
        }
    };
    let is_over = tokio::time::timeout(limit, whole).await.is_ok();
    assert!(is_over, "SEED={}: it does not end; still broken: {}", scenario.seed, faults.describe());
    carrier.abort();
    masters.into_iter().for_each(check);
    world.check();
    let mut outcome = notes.borrow().outcome.clone();
    outcome.blackout = scenario.blackout_ms().map(|at_ms| at_ms * 1000);
    outcome.faults = faults.injected;
    outcome.lives = faults.lives;
    outcome.epochs = world.roster().map_or(0, |roster| roster.epoch());
    outcome
}
