//! What is simulated.

use std::time::Duration;

use annulus_cluster::{Layout, Mechanisms};
use annulus_store::FLOOR_BUCKETS;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

/// What is simulated.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Decides everything.
    pub seed: u64,
    /// For how long clients are at work and faults happen.
    pub duration: Duration,
    /// Masters, of which the second's clock is ahead by `skew_ms`.
    pub masters: usize,
    /// Auxiliaries at the start.
    pub auxiliaries: usize,
    /// Auxiliaries that join later, and come and go.
    pub more_auxiliaries: usize,
    /// Copies of each key; with `everywhere`, one more than may be lost at once.
    pub replicas: u32,
    /// Whether each node has a copy of each key.
    pub everywhere: bool,
    /// Clients, each with one request under way.
    pub clients: u64,
    /// Keys.
    pub keys: usize,
    /// Entries that an auxiliary holds at most; 0 for all.
    pub cache_size: usize,
    /// Whether clients delete.
    pub deletes: bool,
    /// Whether clients set expiries.
    pub expiries: bool,
    /// Whether all keys share one miss floor, and what is written to every other one expires. The rest may not be missed.
    pub crowded: bool,
    /// How far the second master's clock is ahead.
    pub skew_ms: u64,
    /// Whether the network fails.
    pub links: bool,
    /// Whether auxiliaries come, go and die.
    pub churn: bool,
    /// Whether all auxiliaries lose their power at once, halfway, and come back with what is on their disks.
    pub blackout: bool,
    /// Whether all auxiliaries are told to stop at once, halfway, and come back one after the other.
    pub shutdown: bool,
    /// Whether auxiliaries have disks.
    pub disks: bool,
    /// Whether snapshots are written beside and renamed, or in place.
    pub atomic_snapshots: bool,
    /// The longest pause of a client between two requests.
    pub pause_ms: u64,
    /// What keeps the copies right.
    pub mechanisms: Mechanisms,
}

impl Scenario {
    /// Two masters, three auxiliaries, two copies, three clients and eight keys for twenty seconds; only the network fails.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            duration: Duration::from_secs(20),
            masters: 2,
            auxiliaries: 3,
            more_auxiliaries: 0,
            replicas: 2,
            everywhere: false,
            clients: 3,
            keys: 8,
            cache_size: 0,
            deletes: false,
            expiries: false,
            crowded: false,
            skew_ms: 0,
            links: true,
            churn: false,
            blackout: false,
            shutdown: false,
            disks: false,
            atomic_snapshots: true,
            pause_ms: 40,
            mechanisms: Mechanisms::default(),
        }
    }

    /// Everything at once, drawn from the seed: the network fails in all ways, auxiliaries join, drain, crash and come back
    /// empty or from snapshots, clocks differ, stores may be smaller than the keys. A minute of it.
    pub fn any(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed ^ 0x5eed);
        // Where nothing may be forgotten, a miss is a fault too.
        let forgets = random.random_bool(0.6);
        let replicas = if random.random_bool(0.8) { 2 } else { 3 };
        Self {
            duration: Duration::from_secs(60),
            auxiliaries: replicas as usize + random.random_range(1..4),
            more_auxiliaries: random.random_range(0..3),
            replicas,
            clients: random.random_range(2..5),
            keys: random.random_range(2..12),
            cache_size: if forgets && random.random_bool(0.4) { random.random_range(3..8) } else { 0 },
            deletes: forgets,
            expiries: forgets && random.random_bool(0.5),
            skew_ms: if random.random_bool(0.5) { random.random_range(0..10_000) } else { 0 },
            churn: true,
            disks: random.random_bool(0.7),
            pause_ms: 120,
            ..Self::new(seed)
        }
    }

    /// Auxiliaries come, go and die, while floors rise above what was written before and never expires: that must stay. No
    /// link fails and the masters' clocks agree: what an owner missed or refused, and was not brought yet, one more death may cost.
    pub fn crowded(seed: u64) -> Self {
        Self {
            crowded: true,
            links: false,
            keys: 12,
            deletes: false,
            expiries: false,
            cache_size: 0,
            skew_ms: 0,
            ..Self::any(seed)
        }
    }

    /// Halfway all auxiliaries lose their power at once; what was in the last snapshots must be back.
    pub fn blackout(seed: u64) -> Self {
        Self { blackout: true, disks: true, pause_ms: 120, ..Self::new(seed) }
    }

    /// Halfway all auxiliaries are told to stop at once; everything must be back.
    pub fn shutdown(seed: u64) -> Self {
        Self { shutdown: true, disks: true, pause_ms: 120, ..Self::new(seed) }
    }

    /// How keys are laid out.
    pub(crate) fn layout(&self) -> Layout {
        let replicas = if self.everywhere { Layout::ALL } else { self.replicas };
        Layout { replicas, virtual_nodes: 64 }
    }

    /// When the power fails.
    pub(crate) fn blackout_ms(&self) -> Option<u64> {
        self.blackout.then_some(self.halfway_ms())
    }

    /// When all auxiliaries are told to stop.
    pub(crate) fn shutdown_ms(&self) -> Option<u64> {
        self.shutdown.then_some(self.halfway_ms())
    }

    fn halfway_ms(&self) -> u64 {
        self.duration.as_millis() as u64 / 2
    }

    /// Whether this key may be missed at any time.
    pub(crate) fn may_be_missed(&self, key: usize) -> bool {
        self.deletes || self.expiries || self.cache_size > 0 || self.is_fleeting(key)
    }

    /// Whether all that is written to this key expires.
    pub(crate) fn is_fleeting(&self, key: usize) -> bool {
        self.crowded && !key.is_multiple_of(2)
    }

    /// The keys' names.
    pub(crate) fn key_names(&self) -> Vec<String> {
        let shares_a_floor = |name: &String| {
            !self.crowded || annulus_ring::key_hash(name.as_bytes()).is_multiple_of(FLOOR_BUCKETS as u64)
        };
        let names = (0..=u64::MAX).map(|number| format!("key-{number}"));
        names.filter(shares_a_floor).take(self.keys).collect()
    }

    /// All auxiliaries that there may ever be.
    pub(crate) fn all_auxiliaries(&self) -> usize {
        self.auxiliaries + self.more_auxiliaries
    }
}
