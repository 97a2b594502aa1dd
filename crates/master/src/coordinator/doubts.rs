//! Keys of which nobody knows what their owners hold: a write ended without an answer, or was given up, on the way.
//!
//! A read would repair such a key, but may never come. So it is looked at again until all its owners hold the same.

use std::collections::BTreeSet;

use annulus_cluster::NodeList;
use annulus_protocol::Key;
use annulus_protocol::hop::{CopyState, Look, Refusal};
use annulus_service::config::Consistency;
use annulus_service::telemetry::TraceContext;
use futures_util::future::join_all;
use parking_lot::Mutex;

use super::gather::{Weight, all_or_nothing, gather};
use super::plan::Plan;
use super::read::{is_repairable, newest, repair_write};
use super::{Context, Coordinator};
use crate::route::Route;

/// Keys remembered at most. Beyond that a key waits for its next read.
const MAX_KEYS: usize = 4096;

/// Keys looked at in one go.
const BATCH: usize = 64;

/// The keys in doubt.
#[derive(Default)]
pub(crate) struct Doubts {
    keys: Mutex<BTreeSet<Key>>,
}

/// A write under way. Dropped before [`Doubt::dispel`], its key is in doubt.
pub(super) struct Doubt<'a> {
    doubts: &'a Doubts,
    key: Option<&'a Key>,
}

impl Doubts {
    /// To be held while a write of the key is under way.
    pub(super) fn about<'a>(&'a self, key: &'a Key) -> Doubt<'a> {
        Doubt { doubts: self, key: Some(key) }
    }

    /// How many keys are in doubt.
    pub(crate) fn len(&self) -> usize {
        self.keys.lock().len()
    }

    /// Has a key looked at.
    pub(super) fn add(&self, key: &Key) {
        let mut keys = self.keys.lock();
        if keys.len() < MAX_KEYS {
            // The key's bytes may be a part of a whole request's, which must not be kept for it.
            keys.insert(key.detached());
        }
    }

    fn take(&self, count: usize) -> Vec<Key> {
        let mut keys = self.keys.lock();
        (0..count).map_while(|_| keys.pop_first()).collect()
    }
}

impl Doubt<'_> {
    /// The write has ended, and who needs to know of it does.
    pub(super) fn dispel(mut self) {
        self.key = None;
    }
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.doubts.add(key);
        }
    }
}

impl Coordinator {
    /// Looks at some of the keys in doubt. Those whose owners do not all answer stay in doubt.
    pub(crate) async fn reconcile(&self, deadline_us: u64, trace: TraceContext) {
        let context = Context {
            deadline_us,
            worker: 0,
            trace,
            consistency: Consistency::Quorum,
            insists: true,
            look: Look::Aside,
        };
        let looks = self.doubts.take(BATCH).into_iter().map(|key| async move {
            if !self.reconcile_one(&key, &context).await {
                self.doubts.add(&key);
            }
        });
        join_all(looks).await;
    }

    /// Brings the newest version that any holder of the key has to those that lack it. False where it is to be tried again.
    async fn reconcile_one(&self, key: &Key, context: &Context) -> bool {
        let Ok((route, plan)) = self.plan(key) else { return true };
        let everybody = of_everybody(plan);
        let ask = |node| route.hop().get(node, key, Self::call(context));
        let mut gathered = gather(&route, self.rules(everybody), ask, |_| Weight::Counts).await;
        if self.was_outdated(&mut gathered) || !gathered.complete {
            return false;
        }
        let states = gathered.answers.iter().map(|(_, state)| state);
        let Some(newest) = newest(states.filter(|state| is_repairable(state))) else { return true };
        let newest = newest.clone();
        let holds = |state: &CopyState| state.version() >= newest.version();
        let holders: NodeList = gathered.nodes_where(holds).collect();
        self.bring(key, &newest, &route, owners(plan).without(&holders), context).await
    }

    async fn bring(
        &self,
        key: &Key,
        newest: &CopyState,
        route: &Route,
        lacking: Plan,
        context: &Context,
    ) -> bool {
        if lacking.is_done() {
            return true;
        }
        self.metrics.repairs.inc();
        let write = repair_write(newest);
        let ask = |node| route.hop().put(node, key, &write, Self::call(context));
        let mut gathered = gather(route, self.rules(lacking), ask, all_or_nothing).await;
        if self.was_outdated(&mut gathered) {
            return false;
        }
        match gathered.answers.iter().find_map(|(_, taken)| taken.err()) {
            Some(Refusal::Promised(_) | Refusal::Busy) => false,
            // A copy knows better: what was to be brought is history.
            Some(_) => true,
            None => gathered.complete,
        }
    }
}

/// The plan that needs everybody's answer.
fn of_everybody(mut plan: Plan) -> Plan {
    for part in &mut plan.parts {
        part.need = part.members.len();
        part.at_least = part.need;
    }
    plan
}

/// The plan that needs the owners, and nobody in their place.
fn owners(mut plan: Plan) -> Plan {
    for part in &mut plan.parts {
        part.members = part.members.iter().take(part.need).collect();
    }
    let parts = plan.parts;
    plan.candidates = parts.iter().flat_map(|part| part.members.iter()).collect();
    plan
}
