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
mod doubts;
mod flush;
mod gather;
mod one;
pub mod plan;
pub mod race;
mod read;
mod swap;
mod write;

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::hop::Look;
use annulus_protocol::{ErrorCode, HybridClock, Key, Problem, Version};
use annulus_service::config::Consistency;
use annulus_service::net::Clock;
use annulus_service::telemetry::TraceContext;
use arc_swap::ArcSwap;

use crate::fleet::Fleet;
use crate::hop::Call;
use crate::metrics::CopyMetrics;
use crate::route::Route;
pub use change::{Change, Written};
pub use conditional::{Decision, Outcome};
pub(crate) use doubts::Doubts;
use gather::{Gathered, Rules};
use plan::Plan;

/// How often a request starts over because others write the same key, or because its clock is behind.
const MAX_ATTEMPTS: usize = 16;

/// What goes with a request through the coordinator.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// When the answer must be out, in microseconds of the node's clock.
    pub deadline_us: u64,
    /// The worker that serves it.
    pub worker: usize,
    /// The trace to which the calls belong.
    pub trace: TraceContext,
    /// How many copies a read asks.
    pub consistency: Consistency,
    /// Whether the client asked for just that: then nothing but copies may answer.
    pub insists: bool,
    /// How copies are read.
    pub look: Look,
}

/// What a coordinator goes by that may change while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ways {
    /// After how long another node is asked.
    pub(crate) hedge_after: Duration,
    /// The zone whose copies are read first, where one is enough.
    pub(crate) zone: Option<String>,
}

/// Reads and writes keys over their copies.
pub struct Coordinator {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) versions: Arc<HybridClock>,
    pub(crate) ways: ArcSwap<Ways>,
    pub(crate) metrics: CopyMetrics,
    pub(crate) doubts: Doubts,
}

impl Coordinator {
    /// The newest route, with what the key's operation may ask in ring order, those that answer in front.
    ///
    /// # Errors
    /// Where nobody is a member yet.
    fn plan(&self, key: &Key) -> Result<(Arc<Route>, Plan), Problem> {
        let (route, hash) = self.way_to(key);
        let plan = Self::plan_by(&route, hash, false)?;
        Ok((route, plan))
    }

    /// The newest route, and the key's place on it.
    fn way_to(&self, key: &Key) -> (Arc<Route>, u64) {
        (self.fleet.route(), annulus_ring::key_hash(key.as_bytes()))
    }

    fn plan_by(route: &Route, hash: u64, shared_first: bool) -> Result<Plan, Problem> {
        let plan = route.plan(hash, shared_first);
        if plan.is_empty() {
            return Err(Self::nobody_has_joined());
        }
        Ok(plan)
    }

    fn nobody_has_joined() -> Problem {
        Problem::new(
            ErrorCode::Unavailable,
            "no auxiliary has joined yet: start one, or look at its log for why it cannot join",
        )
    }

    /// Whether none of a key's owners answered the last time.
    pub(crate) fn is_out_of_reach(&self, key: &Key) -> bool {
        let (route, hash) = self.way_to(key);
        route.is_out_of_reach(&route.plan(hash, false))
    }

    fn rules(&self, plan: Plan) -> Rules {
        Rules { plan, hedge_after: self.ways.load().hedge_after, hedges: self.metrics.hedges.clone() }
    }

    /// Goes by the later roster that a race brought. Returns whether there was one: then the attempt is void.
    fn was_outdated<T>(&self, gathered: &mut Gathered<T>) -> bool {
        let Some(roster) = gathered.outdated.take() else { return false };
        self.fleet.adopt(&Arc::from(roster));
        true
    }

    pub(crate) fn call(context: &Context) -> Call {
        let Context { deadline_us, worker, trace, look, .. } = *context;
        Call { deadline_us, worker, trace, look }
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

    pub(crate) fn too_few_answer_a_read(answered: usize, needed: usize) -> Problem {
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
