//! What is broken, and when it heals.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use annulus_auxiliary::snapshots::MemoryFiles;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use turmoil::Sim;

use super::world::{LEASE_TTL, World};

/// Faults of the network heal within this.
const LONGEST_MS: u64 = 1500;

/// Breaks and heals, by a seed.
pub(super) struct Faults {
    random: SmallRng,
    world: Rc<World>,
    next_ms: u64,
    healing: Vec<(u64, Healing)>,
    /// Auxiliaries whose process has ended or is ending, or that are cut off for so long that they are taken for dead.
    away: Vec<usize>,
    /// Lives that have ended, whether the roster knows it yet or not: name and number.
    ended: Vec<(String, u64)>,
    was_dark: bool,
    pub(super) injected: u64,
    pub(super) lives: u64,
}

#[derive(Debug)]
enum Healing {
    Partition(String, String),
    OneWay(String, String),
    Hold(String, String),
    /// Whether it was taken for dead meanwhile comes with it.
    Registry(usize, bool),
    Start(usize),
}

impl Faults {
    pub(super) fn new(world: Rc<World>) -> Self {
        let random = SmallRng::seed_from_u64(world.scenario.seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
        Self {
            random,
            world,
            next_ms: 2500,
            healing: Vec::new(),
            away: Vec::new(),
            ended: Vec::new(),
            was_dark: false,
            injected: 0,
            lives: 0,
        }
    }

    /// Does what is due. Past the end of the scenario nothing more breaks.
    pub(super) fn at(&mut self, now_ms: u64, sim: &mut Sim<'_>) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.healing).into_iter().partition(|(at_ms, _)| *at_ms <= now_ms);
        self.healing = later;
        for (_, healing) in due {
            self.heal(now_ms, healing, sim);
        }
        if self.world.scenario.blackout_ms().is_some_and(|at_ms| now_ms >= at_ms) && !self.was_dark {
            self.black_out(now_ms, sim);
        }
        if now_ms >= self.next_ms && now_ms < self.world.scenario.duration.as_millis() as u64 {
            self.next_ms = now_ms + self.random.random_range(100..1200);
            self.inject(now_ms, sim);
        }
    }

    /// What is broken still.
    pub(super) fn describe(&self) -> String {
        format!("{:?}", self.healing)
    }

    /// Whether everything is whole again.
    pub(super) fn are_over(&self) -> bool {
        self.healing.is_empty()
    }

    fn heal(&mut self, now_ms: u64, healing: Healing, sim: &mut Sim<'_>) {
        match healing {
            Healing::Partition(from, to) => sim.repair(from, to),
            Healing::OneWay(from, to) => sim.repair_oneway(from, to),
            Healing::Hold(from, to) => sim.release(from, to),
            Healing::Registry(number, was_long) => {
                self.world.machines[number].is_cut.store(false, Ordering::Relaxed);
                if was_long {
                    self.away.retain(|other| *other != number);
                }
            }
            Healing::Start(number) => {
                let machine = &self.world.machines[number];
                if sim.is_host_running(machine.name.as_str()) && !machine.has_ended.get() {
                    // Still handing over.
                    self.healing.push((now_ms + 200, Healing::Start(number)));
                    return;
                }
                sim.bounce(machine.name.as_str());
                self.away.retain(|other| *other != number);
            }
        }
    }

    fn inject(&mut self, now_ms: u64, sim: &mut Sim<'_>) {
        self.injected += 1;
        let churn = self.world.scenario.churn;
        match self.random.random_range(0..if churn { 12 } else { 4 }) {
            0..8 => self.break_a_link(now_ms, sim),
            8 => self.cut_from_registry(now_ms),
            9 => self.add(),
            10 => self.drain(now_ms),
            _ => self.crash(now_ms, sim),
        }
    }

    fn break_a_link(&mut self, now_ms: u64, sim: &mut Sim<'_>) {
        let machines = self.world.machines.len();
        let one = self.random.random_range(0..machines);
        let auxiliary = self.world.machines[one].name.clone();
        let other = if self.random.random_bool(0.7) || !self.world.scenario.churn {
            format!("master-{}", self.random.random_range(0..self.world.scenario.masters))
        } else {
            let step = self.random.random_range(1..machines);
            self.world.machines[(one + step) % machines].name.clone()
        };
        let (from, to) = if self.random.random_bool(0.5) { (other, auxiliary) } else { (auxiliary, other) };
        let until_ms = now_ms + self.random.random_range(50..LONGEST_MS);
        let healing = match self.random.random_range(0..4) {
            0 => {
                sim.partition(from.as_str(), to.as_str());
                Healing::Partition(from, to)
            }
            1 | 2 => {
                sim.partition_oneway(from.as_str(), to.as_str());
                Healing::OneWay(from, to)
            }
            _ => {
                sim.hold(from.as_str(), to.as_str());
                Healing::Hold(from, to)
            }
        };
        self.healing.push((until_ms, healing));
    }

    /// Cuts an auxiliary off from the registry: for a moment, or for so long that it is taken for dead.
    fn cut_from_registry(&mut self, now_ms: u64) {
        let number = self.random.random_range(0..self.world.machines.len());
        let lease_ms = LEASE_TTL.as_millis() as u64;
        if self.away.contains(&number) || self.world.machines[number].is_cut.load(Ordering::Relaxed) {
            return;
        }
        let is_long = self.random.random_bool(0.3) && self.may_lose(number) && self.can_spare(number);
        let for_ms = if is_long {
            self.end(number);
            self.random.random_range(3 * lease_ms..5 * lease_ms)
        } else {
            self.random.random_range(50..lease_ms / 2)
        };
        self.world.machines[number].is_cut.store(true, Ordering::Relaxed);
        self.healing.push((now_ms + for_ms, Healing::Registry(number, is_long)));
    }

    fn add(&mut self) {
        if let Some(machine) = self.world.machines.iter().find(|machine| !machine.is_enabled.get()) {
            machine.is_enabled.set(true);
        }
    }

    fn drain(&mut self, now_ms: u64) {
        let number = self.random.random_range(0..self.world.machines.len());
        if !self.is_running(number) || !self.can_spare(number) {
            return;
        }
        self.end(number);
        if let Some(shutdown) = &*self.world.machines[number].shutdown.borrow() {
            shutdown.cancel();
        }
        self.healing.push((now_ms + self.random.random_range(500..8000), Healing::Start(number)));
    }

    fn crash(&mut self, now_ms: u64, sim: &mut Sim<'_>) {
        let number = self.random.random_range(0..self.world.machines.len());
        if !self.is_running(number) || !self.may_lose(number) {
            return;
        }
        self.end(number);
        let machine = &self.world.machines[number];
        sim.crash(machine.name.as_str());
        if self.random.random_bool(0.3) {
            machine.disk.replace(Arc::new(MemoryFiles::default()));
        } else {
            machine.disk.borrow().crash(self.random.random());
        }
        // Back before its lease ends, or perhaps long after.
        let most_ms = if self.can_spare(number) { 12_000 } else { LEASE_TTL.as_millis() as u64 / 2 };
        self.healing.push((now_ms + self.random.random_range(200..most_ms), Healing::Start(number)));
    }

    /// All auxiliaries lose their power at once, and come back one after the other.
    fn black_out(&mut self, now_ms: u64, sim: &mut Sim<'_>) {
        self.was_dark = true;
        for number in 0..self.world.machines.len() {
            let machine = &self.world.machines[number];
            sim.crash(machine.name.as_str());
            machine.disk.borrow().crash(self.random.random());
            self.away.push(number);
            self.healing.push((now_ms + self.random.random_range(100..2000), Healing::Start(number)));
        }
    }

    /// Takes note that the life of an auxiliary ends.
    fn end(&mut self, number: usize) {
        self.away.push(number);
        self.lives += 1;
        let name = &self.world.machines[number].name;
        let life = self.world.roster().and_then(|roster| Some(roster.find(name)?.seat.incarnation));
        self.ended.extend(life.map(|life| (name.clone(), life)));
    }

    fn is_running(&self, number: usize) -> bool {
        let machine = &self.world.machines[number];
        let has_started = machine.is_enabled.get() && machine.shutdown.borrow().is_some();
        has_started && !machine.has_ended.get() && !self.away.contains(&number)
    }

    /// Whether there is a spare without this auxiliary: with as many nodes as copies reads promise less.
    fn can_spare(&self, number: usize) -> bool {
        let others =
            (0..self.world.machines.len()).filter(|other| *other != number && self.is_running(*other));
        others.count() > self.world.scenario.replicas as usize
    }

    /// Whether an auxiliary's life may end without warning: of n copies n - 1 may be lost at once, and more once what was lost
    /// is made up for.
    fn may_lose(&self, number: usize) -> bool {
        let Some(roster) = self.world.roster() else { return false };
        let name = &self.world.machines[number].name;
        let in_views = |name: &str| {
            roster.find(name).is_some() || roster.base().iter().any(|seat| seat.node.name == name)
        };
        if !in_views(name) || self.away.contains(&number) {
            return !self.away.contains(&number);
        }
        let ended = |seat: &&annulus_cluster::Seat| {
            let is_it = |(name, life): &(String, u64)| *name == seat.node.name && *life == seat.incarnation;
            self.ended.iter().any(is_it) || !roster.has(&seat.node.name, seat.incarnation)
        };
        let lost_of_base = roster.base().iter().filter(ended).count();
        let lost_of_current = roster.current().filter(ended).count();
        let most = (self.world.scenario.replicas as usize).saturating_sub(1);
        lost_of_base.max(lost_of_current) < most
    }
}
