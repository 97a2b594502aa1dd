//! Reads and writes of one key over its copies: quorum, refusal and repair.
//!
//! A key's *preference list* is its first `replicas + 1` owners. A write is acknowledged when `replicas` of them have
//! it; a read takes as many answers as make every read meet every acknowledged write, and
//! as many as there are copies where it can. The newest version wins, and a read that finds copies behind it brings them up before it answers, so that nobody
//! reads anything older afterwards. These are the rules of ABD registers (Attiya, Bar-Noy and Dolev, "Sharing Memory
//! Robustly in Message-Passing Systems", 1995) with versions from a hybrid clock in place of their first phase.

mod change;
mod conditional;
mod gather;
pub mod race;
mod read;
mod swap;
mod write;

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::{ErrorCode, HybridClock, Key, Problem, Version};
use annulus_ring::Ring;
use annulus_service::config::Consistency;
use annulus_service::net::Clock;
use annulus_service::telemetry::TraceContext;

use crate::fleet::Fleet;
use crate::hop::{Call, Hop};
use crate::metrics::CopyMetrics;
pub use change::{Change, Written};
pub use conditional::Outcome;
use gather::Rules;
use race::{MAX_PREFERENCE, Preference};

/// How often a request starts over because others write the same key, or because its clock is behind.
const MAX_ATTEMPTS: usize = 16;

/// How many copies there are and how many must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quorum {
    /// Copies of each key that an acknowledged write has.
    pub replicas: usize,
    /// Nodes that may hold a key: one more than copies, where there are enough nodes and more than one copy.
    pub preference: usize,
    /// Answers that a read takes: as many as copies, so that answers that agree show an acknowledged write.
    pub reads: usize,
    /// Answers without which a read fails: fewer might miss an acknowledged write altogether.
    pub reads_at_least: usize,
}

impl Quorum {
    /// The quorum for `replicas` copies on `nodes` nodes.
    pub fn new(replicas: usize, nodes: usize) -> Self {
        let replicas = replicas.clamp(1, nodes.clamp(1, MAX_PREFERENCE - 1));
        let preference = if replicas == 1 { 1 } else { (replicas + 1).min(nodes) };
        Self { replicas, preference, reads: replicas, reads_at_least: preference - replicas + 1 }
    }
}

/// What goes with a request through the coordinator.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// When the answer must be out, in microseconds of the node's clock.
    pub deadline_us: u64,
    /// The trace to which the calls belong.
    pub trace: TraceContext,
    /// How many copies a read asks.
    pub consistency: Consistency,
}

/// Reads and writes keys over their copies.
pub struct Coordinator {
    pub(crate) ring: Ring,
    pub(crate) quorum: Quorum,
    pub(crate) fleet: Fleet,
    pub(crate) hop: Arc<dyn Hop>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) versions: HybridClock,
    pub(crate) hedge_after: Duration,
    pub(crate) metrics: CopyMetrics,
}

impl Coordinator {
    /// The nodes that may hold the key, by ring order with those that answer in front.
    fn preference(&self, key: &Key) -> Preference {
        let hash = annulus_ring::key_hash(key.as_bytes());
        if self.quorum.preference == 1 {
            return Preference::new(self.ring.owner(hash).into_iter());
        }
        let mut preference = Preference::new(self.ring.owners(hash, self.quorum.preference));
        self.fleet.rank(preference.as_mut_slice());
        preference
    }

    /// The rules of a race for `need` answers that has to have them all.
    fn rules(&self, preference: Preference, need: usize) -> Rules {
        Rules {
            preference,
            need,
            at_least: need,
            hedge_after: self.hedge_after,
            hedges: self.metrics.hedges.clone(),
        }
    }

    fn call(&self, context: &Context) -> Call {
        let left = context.deadline_us.saturating_sub(self.clock.now_us());
        Call { timeout: Duration::from_micros(left), trace: context.trace }
    }

    /// A version newer than all that this master has seen.
    fn next_version(&self) -> Version {
        self.versions.tick(self.clock.now_ms())
    }

    /// Waits a moment that grows with the attempts, so that two writers who collided do not collide again and again.
    async fn back_off(&self, attempt: usize) {
        if attempt == 0 {
            return;
        }
        let spread = self.clock.now_us() % 1000;
        tokio::time::sleep(Duration::from_micros(attempt as u64 * (500 + spread))).await;
    }

    fn too_few_answer_a_read(answered: usize, needed: usize) -> Problem {
        let detail = format!(
            "{answered} of the {needed} owners needed answered in place of those of the key that are away; GET /nodes shows \
             which"
        );
        Problem::new(ErrorCode::Unavailable, detail)
    }

    fn too_few_take_a_write(took: usize, needed: usize) -> Problem {
        let detail = format!(
            "{took} of the {needed} owners needed took the write; others of the key are away, GET /nodes shows which; it may \
             have happened all the same"
        );
        Problem::new(ErrorCode::Unavailable, detail)
    }

    fn outcome_unknown() -> Problem {
        Problem::new(
            ErrorCode::OutcomeUnknown,
            "another write of the key came between; read it before trying again",
        )
    }

    fn contended() -> Problem {
        Problem::new(ErrorCode::Unavailable, "other requests kept changing the key; try again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_read_meets_every_acknowledged_write() {
        for nodes in 1..=9 {
            for replicas in 1..=9 {
                let quorum = Quorum::new(replicas, nodes);
                assert!(quorum.reads_at_least + quorum.replicas > quorum.preference, "{quorum:?}");
                assert!((1..=quorum.reads).contains(&quorum.reads_at_least), "{quorum:?}");
                assert!(quorum.preference <= nodes.min(MAX_PREFERENCE), "{quorum:?}");
            }
        }
    }

    #[test]
    fn one_node_of_three_may_be_away_with_two_copies() {
        let quorum = Quorum::new(2, 3);
        assert_eq!(quorum, Quorum { replicas: 2, preference: 3, reads: 2, reads_at_least: 2 });
        assert!(quorum.preference > quorum.replicas && quorum.preference > quorum.reads);
    }

    #[test]
    fn one_copy_asks_one_owner_and_copies_never_outnumber_the_nodes() {
        assert_eq!(Quorum::new(1, 5), Quorum { replicas: 1, preference: 1, reads: 1, reads_at_least: 1 });
        assert_eq!(Quorum::new(3, 2), Quorum { replicas: 2, preference: 2, reads: 2, reads_at_least: 1 });
    }
}
