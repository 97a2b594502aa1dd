//! What the hosts of a run share, and how each starts.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use tokio_util::sync::CancellationToken;

use super::net::SimNet;
use super::registry::Linked;
use super::scenario::Scenario;

/// The secret of the simulated cluster.
const SECRET: &str = "a secret of the simulation";
/// How long a silent auxiliary stays a member.
pub(super) const LEASE_TTL: Duration = Duration::from_secs(3);

/// What happens to one auxiliary outside of its program.
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) disk: RefCell<Arc<MemoryFiles>>,
    pub(super) is_cut: Arc<AtomicBool>,
    pub(super) is_enabled: Cell<bool>,
    pub(super) has_ended: Cell<bool>,
    /// Of the process that runs, if one does.
    pub(super) shutdown: RefCell<Option<CancellationToken>>,
}

/// What the hosts of a run share.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) registry: MemoryRegistry,
    pub(super) now_ms: Arc<AtomicU64>,
    pub(super) machines: Vec<Machine>,
}

impl World {
    pub(super) fn new(scenario: Scenario) -> Rc<Self> {
        let now_ms = Arc::new(AtomicU64::new(0));
        let clock = Arc::clone(&now_ms);
        let registry = MemoryRegistry::new(Arc::new(move || clock.load(Ordering::Relaxed)));
        let machine = |number| Machine {
            name: format!("aux-{number}"),
            disk: RefCell::new(Arc::new(MemoryFiles::default())),
            is_cut: Arc::default(),
            is_enabled: Cell::new(number < scenario.auxiliaries),
            has_ended: Cell::new(false),
            shutdown: RefCell::default(),
        };
        let machines = (0..scenario.all_auxiliaries()).map(machine).collect();
        Rc::new(Self { scenario, registry, now_ms, machines })
    }

    /// The roster as the registry keeps it.
    pub(super) fn roster(&self) -> Option<Roster> {
        self.registry.load().now_or_never()?.ok()?
    }

    fn authority(&self, is_cut: &Arc<AtomicBool>) -> Arc<dyn Authority> {
        let layout = self.scenario.layout();
        let settings = KeeperSettings { lease_ttl: LEASE_TTL, layout };
        let keeper = Keeper::new(self.registry.clone(), settings);
        Arc::new(Linked { keeper, is_cut: Arc::clone(is_cut) })
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
pub(super) async fn auxiliary(world: Rc<World>, number: usize) -> turmoil::Result {
    let machine = &world.machines[number];
    machine.has_ended.set(false);
    machine.shutdown.take();
    while !machine.is_enabled.get() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let scenario = &world.scenario;
    let net = SimNet::new(0);
    let listener = net.bind("0.0.0.0:80").await?;
    let joining = Joining {
        authority: world.authority(&machine.is_cut),
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
    let node = Auxiliary::build(machine.name.clone(), &settings(scenario), &net, parts)?;
    let shutdown = CancellationToken::new();
    machine.shutdown.replace(Some(shutdown.clone()));
    node.run(listener, None, shutdown).await;
    machine.has_ended.set(true);
    Ok(())
}

/// A master's process.
pub(super) async fn master(world: Rc<World>, number: usize) -> turmoil::Result {
    let scenario = &world.scenario;
    let net = SimNet::new(scenario.skew_ms * number as u64);
    let listener = net.bind("0.0.0.0:80").await?;
    let authority = world.authority(&Arc::default());
    let layout = scenario.layout();
    let parts = annulus_master::Parts {
        seed: scenario.seed + number as u64,
        roster: Roster::new(layout),
        authority,
        mechanisms: scenario.mechanisms,
        workers: Workers::ambient(),
        source: None,
    };
    let node = Master::build(format!("master-{number}"), &settings(scenario), &net, parts)?;
    node.run(listener, None, CancellationToken::new()).await;
    Ok(())
}
