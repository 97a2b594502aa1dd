//! One run of the simulation: hosts, clients, and faults drawn from the seed.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, UNIX_EPOCH};

use annulus_auxiliary::Auxiliary;
use annulus_master::Master;
use annulus_service::config::Settings;
use annulus_service::net::Net as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use super::client::{Notes, client};
use super::net::SimNet;
use crate::history::{self, Operation};

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Decides everything.
    pub seed: u64,
    /// For how long clients are at work.
    pub duration: Duration,
    /// Masters, of which the second's clock is ahead by `skew_ms`.
    pub masters: usize,
    /// Auxiliaries.
    pub auxiliaries: usize,
    /// Copies of each key.
    pub replicas: u32,
    /// Clients, each with one request under way.
    pub clients: u64,
    /// Keys, named `key-0` and so on.
    pub keys: usize,
    /// Entries that an auxiliary holds at most; 0 for all.
    pub cache_size: usize,
    /// Whether clients delete.
    pub deletes: bool,
    /// How far the second master's clock is ahead.
    pub skew_ms: u64,
}

impl Scenario {
    /// Two masters, three auxiliaries, two copies, three clients and eight keys for twenty seconds.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            duration: Duration::from_secs(20),
            masters: 2,
            auxiliaries: 3,
            replicas: 2,
            clients: 3,
            keys: 8,
            cache_size: 0,
            deletes: false,
            skew_ms: 0,
        }
    }

    /// Whether a miss may be read at any time.
    pub fn misses_are_legal(&self) -> bool {
        self.deletes || self.cache_size > 0
    }
}

/// What came of a run.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// For each key what clients did and saw.
    pub histories: Vec<Vec<Operation>>,
    /// Compare-and-swaps that succeeded: the key, the value that they replaced and the one that they wrote.
    pub swaps: Vec<(usize, u64, u64)>,
    /// Requests sent.
    pub operations: u64,
    /// Requests answered with a server error.
    pub failed: u64,
    /// Requests without an answer.
    pub unanswered: u64,
    /// Faults injected.
    pub faults: u64,
    /// The longest that a client waited.
    pub slowest: Duration,
}

impl Outcome {
    /// Checks `linearizable`, and that no two swaps replaced one value.
    ///
    /// # Errors
    /// Says what is contradictory.
    pub fn check(&self) -> Result<(), String> {
        for (key, history) in self.histories.iter().enumerate() {
            let swaps = self.swaps.iter().filter(|swap| swap.0 == key);
            let pairs: Vec<_> = swaps.map(|(_, before, after)| (*before, *after)).collect();
            history::check_with_swaps(history, &pairs).map_err(|why| format!("key-{key}: {why}"))?;
        }
        let mut replaced = HashSet::new();
        match self.swaps.iter().find(|(key, before, _)| !replaced.insert((*key, *before))) {
            Some((key, value, _)) => Err(format!("key-{key}: value {value} was swapped for two others")),
            None => Ok(()),
        }
    }
}

/// Runs a scenario to its end.
///
/// # Panics
/// Where the simulation itself fails, which no fault should bring about.
pub fn run(scenario: Scenario) -> Outcome {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(scenario.seed)
        .simulation_duration(scenario.duration * 4 + Duration::from_secs(60))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(15))
        .tcp_capacity(1024)
        .enable_random_order()
        .epoch(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let mut sim = builder.build();
    for number in 0..scenario.auxiliaries {
        sim.host(format!("aux-{number}"), move || auxiliary(number, scenario));
    }
    for number in 0..scenario.masters {
        sim.host(format!("master-{number}"), move || master(number, scenario));
    }
    let notes = Rc::new(RefCell::new(Notes::new(scenario.keys)));
    for number in 0..scenario.clients {
        sim.client(format!("client-{number}"), client(number, scenario, Rc::clone(&notes)));
    }
    let mut faults = Faults::new(scenario);
    let mut elapsed_ms = 0;
    while !sim.step().expect("the simulation runs") {
        elapsed_ms += 1;
        faults.at(elapsed_ms, &mut sim);
    }
    let mut outcome = notes.borrow().outcome.clone();
    outcome.faults = faults.injected;
    outcome
}

fn settings(scenario: Scenario) -> Settings {
    let mut settings = Settings::default();
    let auxiliaries = (0..scenario.auxiliaries).map(|number| format!("aux-{number}=aux-{number}:80"));
    settings.cluster.auxiliaries = auxiliaries.collect();
    settings.cluster.replicas = Some(scenario.replicas);
    settings.cluster.hedge_after = Duration::from_millis(60);
    // Laying a ring of thousands of points out for every seed would take longer than the run.
    settings.cluster.virtual_nodes = 64;
    settings.auxiliary.cache_size = scenario.cache_size;
    settings
}

async fn auxiliary(number: usize, scenario: Scenario) -> turmoil::Result {
    let net = SimNet::new(0);
    let listener = net.bind("0.0.0.0:80").await?;
    let node = Auxiliary::build(format!("aux-{number}"), &settings(scenario), net.clock(), scenario.seed)?;
    node.run(listener, CancellationToken::new()).await;
    Ok(())
}

async fn master(number: usize, scenario: Scenario) -> turmoil::Result {
    let net = SimNet::new(scenario.skew_ms * number as u64);
    let listener = net.bind("0.0.0.0:80").await?;
    let seed = scenario.seed + number as u64;
    let node = Master::build(format!("master-{number}"), &settings(scenario), &net, seed)?;
    node.run(listener, CancellationToken::new()).await;
    Ok(())
}

/// What is broken, and when it heals.
struct Faults {
    random: SmallRng,
    scenario: Scenario,
    next_ms: u64,
    healing: Vec<(u64, Fault, String, String)>,
    injected: u64,
}

#[derive(Clone, Copy)]
enum Fault {
    Partition,
    OneWay,
    Hold,
}

impl Faults {
    fn new(scenario: Scenario) -> Self {
        let random = SmallRng::seed_from_u64(scenario.seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        Self { random, scenario, next_ms: 300, healing: Vec::new(), injected: 0 }
    }

    fn at(&mut self, now_ms: u64, sim: &mut turmoil::Sim<'_>) {
        self.healing.retain(|(at_ms, fault, from, to)| {
            if *at_ms > now_ms {
                return true;
            }
            match fault {
                Fault::Partition => sim.repair(from.as_str(), to.as_str()),
                Fault::OneWay => sim.repair_oneway(from.as_str(), to.as_str()),
                Fault::Hold => sim.release(from.as_str(), to.as_str()),
            }
            false
        });
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.random.random_range(100..1200);
            self.inject(now_ms, sim);
        }
    }

    fn inject(&mut self, now_ms: u64, sim: &mut turmoil::Sim<'_>) {
        let master = format!("master-{}", self.random.random_range(0..self.scenario.masters));
        let auxiliary = format!("aux-{}", self.random.random_range(0..self.scenario.auxiliaries));
        let (from, to) = if self.random.random_bool(0.5) { (master, auxiliary) } else { (auxiliary, master) };
        let fault = match self.random.random_range(0..4) {
            0 => Fault::Partition,
            1 | 2 => Fault::OneWay,
            _ => Fault::Hold,
        };
        match fault {
            Fault::Partition => sim.partition(from.as_str(), to.as_str()),
            Fault::OneWay => sim.partition_oneway(from.as_str(), to.as_str()),
            Fault::Hold => sim.hold(from.as_str(), to.as_str()),
        }
        self.injected += 1;
        self.healing.push((now_ms + self.random.random_range(50..1500), fault, from, to));
    }
}
