//! Reads and writes of one key over its copies: quorum, refusal and repair.
//!
//! A key's *preference list* is its first `replicas + 1` owners. A write is acknowledged when `replicas` of them have
//! it; a read takes as many answers as make every read meet every acknowledged write, and
//! as many as there are copies where it can. The newest version wins, and a read that finds copies behind it brings them up before it answers, so that nobody
//! reads anything older afterwards. While the cluster settles to a new view, an operation needs its quorum in that view and
//! in the base ([`plan`]). These are the rules of ABD registers (Attiya, Bar-Noy and Dolev, "Sharing Memory
//! Robustly in Message-Passing Systems", 1995) with versions from a hybrid clock in place of their first phase.

mod change;
mod conditional;
mod gather;
pub mod plan;
pub mod race;
mod read;
mod swap;
mod write;

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::{ErrorCode, HybridClock, Key, Problem, Version};
use annulus_service::config::Consistency;
use annulus_service::net::Clock;
use annulus_service::telemetry::TraceContext;

use crate::fleet::Fleet;
use crate::hop::Call;
use crate::metrics::CopyMetrics;
use crate::route::Route;
pub use change::{Change, Written};
pub use conditional::Outcome;
use gather::{Gathered, Rules};
use plan::Plan;

/// How often a request starts over because others write the same key, or because its clock is behind.
const MAX_ATTEMPTS: usize = 16;

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
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) versions: HybridClock,
    pub(crate) hedge_after: Duration,
    pub(crate) metrics: CopyMetrics,
}

impl Coordinator {
    /// The newest route, with what the key's operation may ask in ring order, those that answer in front.
    ///
    /// # Errors
    /// Where nobody is a member yet.
    fn plan(&self, key: &Key) -> Result<(Arc<Route>, Plan), Problem> {
        self.plan_by(key, false)
    }

    fn plan_by(&self, key: &Key, shared_first: bool) -> Result<(Arc<Route>, Plan), Problem> {
        let route = self.fleet.route();
        let plan = route.plan(annulus_ring::key_hash(key.as_bytes()), shared_first);
        if plan.is_empty() {
            return Err(Problem::new(
                ErrorCode::Unavailable,
                "no auxiliary has joined yet: start one, or look at its log for why it cannot join",
            ));
        }
        Ok((route, plan))
    }

    fn rules(&self, plan: Plan) -> Rules {
        Rules { plan, hedge_after: self.hedge_after, hedges: self.metrics.hedges.clone() }
    }

    /// Goes by the later roster that a race brought. Returns whether there was one: then the attempt is void.
    fn was_outdated<T>(&self, gathered: &mut Gathered<T>) -> bool {
        let Some(roster) = gathered.outdated.take() else { return false };
        self.fleet.adopt(&Arc::from(roster));
        true
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

    fn still_loading() -> Problem {
        Problem::new(
            ErrorCode::Unavailable,
            "all nodes that had the key have just started and are still putting together what they hold; try again",
        )
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
