//! What the hosts of a run share, and how each starts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use annulus_auxiliary::snapshots::{MemoryFiles, Snapshots};
use annulus_auxiliary::{Auxiliary, Joining};
use annulus_cluster::registry::{Keeper, KeeperSettings, MemoryRegistry, Registry as _};
use annulus_cluster::{Authority, Roster};
use annulus_master::Master;
use annulus_protocol::Secret;
use annulus_service::Workers;
use annulus_service::config::Settings;
use annulus_service::net::Net as _;
use futures_util::FutureExt as _;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::net::{Network, SimNet};
use super::registry::Linked;
use super::scenario::Scenario;
use super::wire::HostId;

/// The secret of the simulated cluster.
const SECRET: &str = "a secret of the simulation";
/// How long a silent auxiliary stays a member.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(3);
/// Programs begin within this of when they are started, so that their clocks do not all tick at once.
const STAGGER: std::ops::Range<u64> = 0..100;

/// A program that runs on a host, until it ends, fails or is aborted.
pub(super) type Program = JoinHandle<anyhow::Result<()>>;

/// What happens to one auxiliary outside of its program.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) host: HostId,
    pub(super) disk: RefCell<Arc<MemoryFiles>>,
    pub(super) is_cut: Arc<AtomicBool>,
    pub(super) is_enabled: Cell<bool>,
    /// Of the program that runs, if it has come so far.
    pub(super) shutdown: RefCell<Option<CancellationToken>>,
    program: RefCell<Option<Program>>,
    /// Decides what the last crash left on the disk.
    crash: Cell<Option<u64>>,
}

impl Machine {
    /// Whether its program has been started and has not ended.
    pub(super) fn is_running(&self) -> bool {
        self.program.borrow().as_ref().is_some_and(|program| !program.is_finished())
    }
}

/// What the hosts of a run share.
pub(super) struct World {
    pub(super) scenario: Scenario,
    settings: Settings,
    pub(super) registry: MemoryRegistry,
    pub(super) network: Network,
    pub(super) machines: Vec<Machine>,
    pub(super) masters: Vec<HostId>,
    random: RefCell<SmallRng>,
}

impl World {
    pub(super) fn new(scenario: Scenario) -> Rc<Self> {
        let network = Network::new(scenario.seed);
        let clock = network.clone();
        let registry = MemoryRegistry::new(Arc::new(move || clock.elapsed().as_millis() as u64));
        let machine = |number| Machine {
            name: format!("aux-{number}"),
            host: network.wire().add_host(format!("aux-{number}")),
            disk: RefCell::new(Arc::new(MemoryFiles::default())),
            is_cut: Arc::default(),
            is_enabled: Cell::new(number < scenario.auxiliaries),
            shutdown: RefCell::default(),
            program: RefCell::default(),
            crash: Cell::default(),
        };
        let machines = (0..scenario.all_auxiliaries()).map(machine).collect();
        let master = |number| network.wire().add_host(format!("master-{number}"));
        let masters = (0..scenario.masters).map(master).collect();
        let random = RefCell::new(SmallRng::seed_from_u64(!scenario.seed));
        Rc::new(Self {
            scenario,
            settings: settings(&scenario),
            registry,
            network,
            machines,
            masters,
            random,
        })
    }

    /// Starts an auxiliary's program. What a crash left on its disk shows now, when nothing of the program before can write.
    pub(super) fn start(self: &Rc<Self>, number: usize) {
        let machine = &self.machines[number];
        machine.shutdown.take();
        if let Some(seed) = machine.crash.take() {
            machine.disk.borrow().crash(seed);
        }
        let net = self.network.start(machine.host, 0);
        let program = tokio::task::spawn_local(auxiliary(Rc::clone(self), number, net));
        if let Some(program) = machine.program.replace(Some(program)) {
            check(program);
        }
    }

    /// Ends an auxiliary's program at once. `seed` decides how much of what it wrote is on its disk when it starts again.
    pub(super) fn crash(&self, number: usize, seed: u64) {
        let machine = &self.machines[number];
        machine.program.borrow().iter().for_each(JoinHandle::abort);
        machine.crash.set(Some(seed));
        self.network.stop(machine.host);
    }

    /// Takes note of how the auxiliaries' programs ended, those that did.
    ///
    /// # Panics
    /// Where one failed.
    pub(super) fn check(&self) {
        self.machines.iter().filter_map(|machine| machine.program.take()).for_each(check);
    }

    async fn stagger(&self) {
        let ms = self.random.borrow_mut().random_range(STAGGER);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// The roster as the registry keeps it.
    pub(super) fn roster(&self) -> Option<Roster> {
        self.registry.load().now_or_never()?.ok()?
    }

    fn authority(&self, is_cut: &Arc<AtomicBool>, net: SimNet) -> Arc<dyn Authority> {
        let layout = self.scenario.layout();
        let settings = KeeperSettings { lease_ttl: LEASE_TTL, layout };
        let keeper = Keeper::new(self.registry.clone(), settings);
        Arc::new(Linked { keeper, is_cut: Arc::clone(is_cut), net })
    }
}

/// Takes note of how a program ended, if it did.
///
/// # Panics
/// Where it failed, which no fault should bring about.
pub(super) fn check(program: Program) {
    match program.now_or_never() {
        Some(Ok(Err(error))) => panic!("a program failed: {error:#}"),
        Some(Err(ended)) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        // It goes on, has ended well or was aborted.
        None | Some(Ok(Ok(())) | Err(_)) => {}
    }
}

fn settings(scenario: &Scenario) -> Settings {
    let mut settings = Settings::default();
    settings.cluster.replicas = Some(scenario.replicas);
    settings.cluster.hedge_after = Duration::from_millis(60);
    settings.cluster.lease_ttl = LEASE_TTL;
    settings.cluster.secret = Some(SECRET.to_owned());
    settings.auxiliary.cache_size = scenario.cache_size;
    settings.auxiliary.backup_interval = Duration::from_millis(1500);
    settings.auxiliary.drain_timeout = Duration::from_secs(20);
    settings.auxiliary.settle_share = 100;
    settings
}

/// An auxiliary's process, from its start to its end.
async fn auxiliary(world: Rc<World>, number: usize, net: SimNet) -> anyhow::Result<()> {
    let machine = &world.machines[number];
    world.stagger().await;
    while !machine.is_enabled.get() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let scenario = &world.scenario;
    let listener = net.bind("0.0.0.0:80").await?;
    let joining = Joining {
        authority: world.authority(&machine.is_cut, net.clone()),
        address: format!("{}:80", machine.name),
        secret: Secret::new(SECRET)?,
    };
    let files = Arc::clone(&machine.disk.borrow());
    let snapshots = Snapshots::new(files, machine.name.clone(), 2).with_atomic(scenario.atomic_snapshots);
    let parts = annulus_auxiliary::Parts {
        seed: scenario.seed,
        joining: Some(joining),
        keeping: None,
        snapshots: scenario.disks.then_some(snapshots),
        mechanisms: scenario.mechanisms,
        workers: Workers::ambient(),
        source: None,
    };
    let node = Auxiliary::build(machine.name.clone(), &world.settings, &net, parts)?;
    let shutdown = CancellationToken::new();
    machine.shutdown.replace(Some(shutdown.clone()));
    node.run(listener, None, shutdown).await;
    world.network.stop(machine.host);
    Ok(())
}

/// A master's process.
pub(super) async fn master(world: Rc<World>, number: usize) -> anyhow::Result<()> {
    let scenario = &world.scenario;
    let net = world.network.start(world.masters[number], scenario.skew_ms * number as u64);
    world.stagger().await;
    let listener = net.bind("0.0.0.0:80").await?;
    let authority = world.authority(&Arc::default(), net.clone());
    let layout = scenario.layout();
    let parts = annulus_master::Parts {
        seed: scenario.seed + number as u64,
        roster: Roster::new(layout),
        authority,
        mechanisms: scenario.mechanisms,
        workers: Workers::ambient(),
        source: None,
    };
    let node = Master::build(format!("master-{number}"), &world.settings, &net, parts)?;
    node.run(listener, None, CancellationToken::new()).await;
    Ok(())
}
