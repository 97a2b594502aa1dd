//! What is broken, and when it heals.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use annulus_auxiliary::snapshots::MemoryFiles;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::wire::HostId;
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
    Links(Vec<(HostId, HostId)>),
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

    /// Breaks and heals until the scenario is over and everything is whole again.
    pub(super) async fn run(&mut self) {
        let end_ms = self.end_ms();
        while let Some(due_ms) = self.due_ms() {
            self.wait_until(due_ms).await;
            self.at(due_ms);
        }
        self.wait_until(end_ms).await;
    }

    async fn wait_until(&self, at_ms: u64) {
        let left = Duration::from_millis(at_ms).saturating_sub(self.world.network.elapsed());
        tokio::time::sleep(left).await;
    }

    fn end_ms(&self) -> u64 {
        self.world.scenario.duration.as_millis() as u64
    }

    /// When the next thing breaks or heals.
    fn due_ms(&self) -> Option<u64> {
        let healing = self.healing.iter().map(|(at_ms, _)| *at_ms).min();
        let breaking = (self.next_ms < self.end_ms()).then_some(self.next_ms);
        let scenario = &self.world.scenario;
        let all_at_once = scenario.blackout_ms().or(scenario.shutdown_ms()).filter(|_| !self.was_dark);
        [healing, breaking, all_at_once].into_iter().flatten().min()
    }

    /// Does what is due. Past the end of the scenario nothing more breaks.
    fn at(&mut self, now_ms: u64) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.healing).into_iter().partition(|(at_ms, _)| *at_ms <= now_ms);
        self.healing = later;
        for (_, healing) in due {
            self.heal(now_ms, healing);
        }
        if self.world.scenario.blackout_ms().is_some_and(|at_ms| now_ms >= at_ms) && !self.was_dark {
            self.black_out(now_ms);
        }
        if self.world.scenario.shutdown_ms().is_some_and(|at_ms| now_ms >= at_ms) && !self.was_dark {
            self.shut_down(now_ms);
        }
        if now_ms >= self.next_ms && now_ms < self.end_ms() {
            self.next_ms = now_ms + self.random.random_range(100..1200);
            self.inject(now_ms);
        }
    }

    /// What is broken still.
    pub(super) fn describe(&self) -> String {
        format!("{:?}", self.healing)
    }

    fn heal(&mut self, now_ms: u64, healing: Healing) {
        match healing {
            Healing::Links(links) => {
                for (from, to) in links {
                    self.world.network.mend(from, to);
                }
            }
            Healing::Registry(number, was_long) => {
                self.world.machines[number].is_cut.store(false, Ordering::Relaxed);
                if was_long {
                    self.away.retain(|other| *other != number);
                }
            }
            Healing::Start(number) => {
                if self.world.machines[number].is_running() {
                    // Still handing over.
                    self.healing.push((now_ms + 200, Healing::Start(number)));
                    return;
                }
                self.world.start(number);
                self.away.retain(|other| *other != number);
            }
        }
    }

    fn inject(&mut self, now_ms: u64) {
        self.injected += 1;
        let churn = self.world.scenario.churn;
        let first = if self.world.scenario.links { 0 } else { 8 };
        match self.random.random_range(first..if churn { 12 } else { 4 }) {
            0..8 => self.break_a_link(now_ms),
            8 => self.cut_from_registry(now_ms),
            9 => self.add(),
            10 => self.drain(now_ms),
            _ => self.crash(now_ms),
        }
    }

    fn break_a_link(&mut self, now_ms: u64) {
        let machines = self.world.machines.len();
        let one = self.random.random_range(0..machines);
        let auxiliary = self.world.machines[one].host;
        let other = if self.random.random_bool(0.7) || !self.world.scenario.churn {
            self.world.masters[self.random.random_range(0..self.world.scenario.masters)]
        } else {
            let step = self.random.random_range(1..machines);
            self.world.machines[(one + step) % machines].host
        };
        let (from, to) = if self.random.random_bool(0.5) { (other, auxiliary) } else { (auxiliary, other) };
        let until_ms = now_ms + self.random.random_range(50..LONGEST_MS);
        let kind = self.random.random_range(0..4);
        let links = if matches!(kind, 1 | 2) { vec![(from, to)] } else { vec![(from, to), (to, from)] };
        for (from, to) in &links {
            let mut wire = self.world.network.wire();
            if kind == 3 { wire.hold(*from, *to) } else { wire.cut(*from, *to) }
        }
        self.healing.push((until_ms, Healing::Links(links)));
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

    fn crash(&mut self, now_ms: u64) {
        let number = self.random.random_range(0..self.world.machines.len());
        if !self.is_running(number) || !self.may_lose(number) {
            return;
        }
        self.end(number);
        self.world.crash(number, self.random.random());
        if self.random.random_bool(0.3) {
            self.world.machines[number].disk.replace(Arc::new(MemoryFiles::default()));
        }
        // Back before its lease ends, or perhaps long after.
        let most_ms = if self.can_spare(number) { 12_000 } else { LEASE_TTL.as_millis() as u64 / 2 };
        self.healing.push((now_ms + self.random.random_range(200..most_ms), Healing::Start(number)));
    }

    /// All auxiliaries lose their power at once, and come back one after the other.
    fn black_out(&mut self, now_ms: u64) {
        self.was_dark = true;
        for number in 0..self.world.machines.len() {
            self.world.crash(number, self.random.random());
            self.away.push(number);
            self.healing.push((now_ms + self.random.random_range(100..2000), Healing::Start(number)));
        }
    }

    /// All auxiliaries are told to stop at once, and come back one after the other.
    fn shut_down(&mut self, now_ms: u64) {
        self.was_dark = true;
        for number in 0..self.world.machines.len() {
            self.end(number);
            if let Some(shutdown) = &*self.world.machines[number].shutdown.borrow() {
                shutdown.cancel();
            }
            self.healing.push((now_ms + self.random.random_range(100..5000), Healing::Start(number)));
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
        has_started && machine.is_running() && !self.away.contains(&number)
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
