//! One random schedule: what happens when, and what must hold whatever happens.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use annulus_cluster::LeaseSettings;
use annulus_cluster::fenced::Claim;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng as _};

use crate::home::{Ask, Home, Told};
use crate::replica::{Do, Purpose, Replica};

pub(crate) const LEASE: LeaseSettings =
    LeaseSettings { ttl: Duration::from_secs(1), check_interval: Duration::from_millis(250) };
const TTL_MS: u64 = LEASE.ttl.as_millis() as u64;

/// How long faults happen, and how long is left to recover.
const FAULTS_MS: u64 = 12_000;
const END_MS: u64 = FAULTS_MS + 6 * TTL_MS;
/// How long a replica waits for an answer.
const TIMEOUT_MS: u64 = 150;
const PUBLISH_EVERY_MS: u64 = 200;
const LOOK_EVERY_MS: u64 = 300;

/// What is switched on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// The home refuses who does not hold the lease.
    pub(crate) fenced: bool,
    /// By how much clocks are off at most.
    pub(crate) drift: f64,
    /// The clock of a copy is behind by less than the outage lasts.
    pub(crate) skew_is_small: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { fenced: true, drift: 0.01, skew_is_small: true }
    }
}

/// What happened in all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) terms: u64,
    pub(crate) published: u64,
    pub(crate) refused: u64,
    pub(crate) losses: u64,
    pub(crate) stops: u64,
}

impl Outcome {
    pub(crate) fn add(&mut self, other: &Self) {
        self.terms += other.terms;
        self.published += other.published;
        self.refused += other.refused;
        self.losses += other.losses;
        self.stops += other.stops;
    }
}

#[derive(Debug)]
enum Event {
    Tick(usize),
    Publish(usize),
    Look(usize),
    Arrives { replica: usize, call: u64, purpose: Purpose, ask: Ask },
    Answered { replica: usize, call: u64, purpose: Purpose, told: Option<Told> },
    Replicate,
    Fault,
}

struct Schedule {
    random: SmallRng,
    home: Home,
    replicas: Vec<Replica>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    /// By number, as the queue has them.
    events: Vec<Option<Event>>,
    /// Calls that still wait for their answer or for their time to be over.
    waiting: Vec<bool>,
    rules: Rules,
    outcome: Outcome,
    now_ms: u64,
}

/// Runs one schedule; an error says what did not hold.
pub(crate) fn run(seed: u64, rules: Rules) -> Result<Outcome, String> {
    let mut random = SmallRng::seed_from_u64(seed);
    let rate = |random: &mut SmallRng| 1.0 + random.random_range(-rules.drift..=rules.drift);
    let home = Home::new(rate(&mut random), rules);
    let count = random.random_range(2..=4);
    let replicas =
        (0..count).map(|n| Replica::new(n, rate(&mut random), random.random_range(0..1_000_000))).collect();
    let mut schedule = Schedule {
        random,
        home,
        replicas,
        queue: BinaryHeap::new(),
        events: Vec::new(),
        waiting: Vec::new(),
        rules,
        outcome: Outcome::default(),
        now_ms: 0,
    };
    for replica in 0..count {
        let start = schedule.random.random_range(0..500);
        schedule.at(start, Event::Tick(replica));
        schedule.at(start, Event::Publish(replica));
        schedule.at(start, Event::Look(replica));
    }
    schedule.at(0, Event::Replicate);
    schedule.at(1_000, Event::Fault);
    schedule.go_on()?;
    schedule.check_the_end()?;
    Ok(schedule.outcome)
}

impl Schedule {
    fn at(&mut self, ms: u64, event: Event) {
        self.queue.push(Reverse((ms, self.events.len() as u64)));
        self.events.push(Some(event));
    }

    fn go_on(&mut self) -> Result<(), String> {
        while let Some(Reverse((ms, number))) = self.queue.pop() {
            if ms > END_MS {
                return Ok(());
            }
            self.now_ms = ms;
            let Some(event) = self.events[number as usize].take() else { continue };
            self.happens(event)?;
        }
        Ok(())
    }

    fn happens(&mut self, event: Event) -> Result<(), String> {
        // Whoever is stopped finds everything waiting when it goes on.
        if let Event::Tick(n) | Event::Publish(n) | Event::Look(n) | Event::Answered { replica: n, .. } =
            &event
            && self.replicas[*n].stopped_until_ms > self.now_ms
        {
            let late = self.replicas[*n].stopped_until_ms;
            self.at(late, event);
            return Ok(());
        }
        match event {
            Event::Tick(n) => {
                let todo = self.replicas[n].tick(self.now_ms);
                self.follow_up(n, todo)?;
                let pause = self.random.random_range(5..40);
                self.at(self.now_ms + pause, Event::Tick(n));
            }
            Event::Publish(n) => {
                let todo = self.replicas[n].publish(self.now_ms);
                self.follow_up(n, todo.into_iter().collect())?;
                self.at(self.now_ms + PUBLISH_EVERY_MS, Event::Publish(n));
            }
            Event::Look(n) => {
                let todo = self.replicas[n].look();
                self.follow_up(n, vec![todo])?;
                self.at(self.now_ms + LOOK_EVERY_MS, Event::Look(n));
            }
            Event::Arrives { replica, call, purpose, ask } => self.arrives(replica, call, purpose, ask)?,
            Event::Answered { replica, call, purpose, told } => {
                if std::mem::take(&mut self.waiting[call as usize]) {
                    let todo = self.replicas[replica].told(self.now_ms, purpose, told);
                    self.follow_up(replica, todo)?;
                }
            }
            Event::Replicate => {
                self.home.replicate();
                let pause = self.random.random_range(1..600);
                self.at(self.now_ms + pause, Event::Replicate);
            }
            Event::Fault => self.fault(),
        }
        Ok(())
    }

    fn follow_up(&mut self, n: usize, todo: Vec<Do>) -> Result<(), String> {
        for one in todo {
            match one {
                Do::Lead => self.leads(n)?,
                Do::Send { purpose, ask } => self.send(n, purpose, ask),
            }
        }
        Ok(())
    }

    /// Nobody else may lead then, unless the home has forgotten since that it let them.
    fn leads(&mut self, n: usize) -> Result<(), String> {
        self.outcome.terms += 1;
        for (other, replica) in self.replicas.iter().enumerate() {
            let is_forgotten = replica.losses_before < self.home.losses;
            if other != n && !is_forgotten && replica.leads(self.now_ms) {
                return Err(format!("{n} and {other} both lead at {} ms", self.now_ms));
            }
        }
        Ok(())
    }

    /// Between deciding and sending, a replica may be stopped; on the way, a call may be lost or take long.
    fn send(&mut self, n: usize, purpose: Purpose, ask: Ask) {
        let call = self.waiting.len() as u64;
        self.waiting.push(true);
        let is_calm = self.now_ms >= FAULTS_MS;
        let mut sent_ms = self.now_ms;
        if !is_calm && matches!(purpose, Purpose::Publish { .. }) && self.random.random_bool(0.03) {
            sent_ms += self.random.random_range(1..3 * TTL_MS);
            self.replicas[n].stopped_until_ms = sent_ms;
            self.outcome.stops += 1;
        }
        self.at(sent_ms + TIMEOUT_MS, Event::Answered { replica: n, call, purpose, told: None });
        if !is_calm && self.random.random_bool(0.05) {
            return;
        }
        let way = if !is_calm && self.random.random_bool(0.03) {
            self.random.random_range(1..2 * TTL_MS)
        } else {
            self.random.random_range(1..30)
        };
        self.at(sent_ms + way, Event::Arrives { replica: n, call, purpose, ask });
    }

    fn arrives(&mut self, replica: usize, call: u64, purpose: Purpose, ask: Ask) -> Result<(), String> {
        if self.home.is_down(self.now_ms) {
            return Ok(());
        }
        let id = self.replicas[replica].id.clone();
        let told = self.home.answer(self.now_ms, &id, ask, &mut self.outcome)?;
        if matches!(told, Told::Claim(Claim::Granted { .. })) {
            self.replicas[replica].losses_before = self.home.losses;
        }
        let is_lost = self.now_ms < FAULTS_MS && self.random.random_bool(0.05);
        if !is_lost {
            let way = self.random.random_range(1..30);
            self.at(self.now_ms + way, Event::Answered { replica, call, purpose, told: Some(told) });
        }
        Ok(())
    }

    fn fault(&mut self) {
        if self.now_ms >= FAULTS_MS {
            return;
        }
        if self.random.random_bool(0.7) {
            let n = self.random.random_range(0..self.replicas.len());
            let stop = self.random.random_range(1..3 * TTL_MS);
            self.replicas[n].stopped_until_ms = self.now_ms + stop;
            self.outcome.stops += 1;
        } else {
            let outage_ms = self.random.random_range(50..2 * TTL_MS);
            let most = if self.rules.skew_is_small { outage_ms as i64 - 40 } else { 5_000 };
            let skew_ms = -self.random.random_range(-500..most.max(-400));
            let everything = self.random.random_bool(0.3);
            self.home.lose(self.now_ms, outage_ms, skew_ms, everything);
            self.outcome.losses += 1;
        }
        let pause = self.random.random_range(200..3_000);
        self.at(self.now_ms + pause, Event::Fault);
    }

    /// Once all is well for a while, one leads, and all know the same.
    fn check_the_end(&self) -> Result<(), String> {
        let leaders = self.replicas.iter().filter(|replica| replica.leads(END_MS)).count();
        if leaders != 1 {
            return Err(format!("{leaders} lead in the end"));
        }
        let newest = self.replicas.iter().map(|replica| replica.known.revision).max().unwrap_or(0);
        let lag = 2 * (PUBLISH_EVERY_MS + LOOK_EVERY_MS);
        let is_behind = |replica: &&Replica| replica.known.revision + lag < newest;
        match self.replicas.iter().find(is_behind) {
            Some(replica) => Err(format!("{} knows {:?} and another {newest}", replica.id, replica.known)),
            None => Ok(()),
        }
    }
}
