//! Who should be a member and where, as Kubernetes has it: what it tells goes in, a [`Snapshot`] comes out.
//!
//! A StatefulSet says who: its replicas give the names, whether their pods run or not, so a pod that restarts stays a member.
//! Its pods say where. Without a StatefulSet, as in a Deployment of programs with a cache in them, the pods that run are the
//! members. Nobody becomes one before it has beaten, and nothing is ever written to Kubernetes.
//!
//! The roster itself is kept by one of the pods, the *home* ([`crate::registry::Home`]): the first pod of the StatefulSet, or the
//! oldest one that runs.

mod authority;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod watched;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

pub use self::authority::Discovered;
#[cfg(feature = "kubernetes")]
pub use self::kubernetes::{Kubernetes, KubernetesError, KubernetesSettings};
pub use self::watched::Watched;

/// A pod, as far as membership is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its name, which is its node's name.
    pub name: String,
    /// Where its node is reached, `host:port`; `None` before it has an address, and after it has ended.
    pub address: Option<String>,
    /// The failure zone, from the label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
    /// Whether its containers have started, and nobody has told it to end.
    pub runs: bool,
    /// When it was made, as text that sorts by time.
    pub created: String,
}

/// A StatefulSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatefulSet {
    /// Its name, which its pods' names begin with.
    pub name: String,
    /// The number of its first pod.
    pub start: u32,
    /// How many pods it should have.
    pub replicas: u32,
    /// Rises with every change of what it should be.
    pub generation: u64,
}

impl StatefulSet {
    fn ordinals(&self) -> Range<u32> {
        self.start..self.start.saturating_add(self.replicas)
    }

    /// Whether a pod of this name should be there.
    fn wants(&self, name: &str) -> bool {
        let ordinal = name.strip_prefix(self.name.as_str()).and_then(|rest| rest.strip_prefix('-'));
        let number = ordinal.and_then(|ordinal| ordinal.parse::<u32>().ok());
        // Numbers have one spelling: neither +1 nor 01.
        number.is_some_and(|number| {
            self.ordinals().contains(&number) && ordinal.is_some_and(|ordinal| ordinal == number.to_string())
        })
    }
}

/// Something that Kubernetes has told, or has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The StatefulSet is like this.
    Set(StatefulSet),
    /// The StatefulSet is not there, or not any more.
    NoSet,
    /// These are all the pods.
    Listed(Vec<Pod>),
    /// A pod is new, or has changed.
    Applied(Pod),
    /// A pod is gone, and so is its process.
    Deleted(String),
    /// Kubernetes did not answer, or with this error.
    Failed(String),
}

/// What Kubernetes has last told, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    set: Option<StatefulSet>,
    pods: BTreeMap<String, Pod>,
}

impl Snapshot {
    /// The StatefulSet's generation; 0 without one.
    pub fn generation(&self) -> u64 {
        self.set.as_ref().map_or(0, |set| set.generation)
    }

    /// The name of the StatefulSet.
    pub fn statefulset(&self) -> Option<&str> {
        self.set.as_ref().map(|set| set.name.as_str())
    }

    /// Whether a node of this name should be a member.
    pub fn wants(&self, name: &str) -> bool {
        match &self.set {
            Some(set) => set.wants(name),
            None => self.pod(name).is_some_and(|pod| pod.runs),
        }
    }

    /// The pod of this name, whether it should be there or not.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.get(name)
    }

    /// All pods, by name.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// The pod that keeps the roster, whether it is there or not: of a StatefulSet the first, and else the oldest that runs.
    pub fn home(&self) -> Option<String> {
        if let Some(set) = &self.set {
            return Some(format!("{}-{}", set.name, set.start));
        }
        let running = self.pods.values().filter(|pod| pod.runs && pod.address.is_some());
        running.min_by_key(|pod| (&pod.created, &pod.name)).map(|pod| pod.name.clone())
    }

    /// Members that have an address.
    pub fn peers(&self) -> u64 {
        self.pods.values().filter(|pod| pod.address.is_some() && self.wants(&pod.name)).count() as u64
    }
}

/// The newest snapshot, or why there is none yet.
pub type Snapshots = watch::Receiver<Result<Arc<Snapshot>, String>>;

/// What Kubernetes has told so far, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiscoveryCounts {
    /// Members that have an address.
    pub peers: u64,
    /// What was told, by [`DiscoveryCounts::KINDS`].
    pub events: [u64; 4],
}

impl DiscoveryCounts {
    /// Objects that are new or have changed; objects that are gone; whole lists; errors.
    pub const KINDS: [&str; 4] = ["applied", "deleted", "listed", "failed"];
}

/// Counts events by kind.
#[derive(Debug, Default)]
pub struct EventCounts([AtomicU64; 4]);

impl EventCounts {
    /// Counts one.
    pub fn count(&self, event: &Event) {
        let kind = match event {
            Event::Set(_) | Event::Applied(_) => 0,
            Event::NoSet | Event::Deleted(_) => 1,
            Event::Listed(_) => 2,
            Event::Failed(_) => 3,
        };
        self.0[kind].fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> [u64; 4] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}
