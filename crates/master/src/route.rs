//! One placement with what it takes to use it: how to reach each node, and who answers now.

use std::sync::Arc;

use annulus_cluster::{
    Census, Change, Condition, Health, HealthSettings, Node, Outcome, Placement, Probe, Ticket,
};
use annulus_protocol::rest::{self, NodeState};
use annulus_service::net::Clock;
use parking_lot::Mutex;

use crate::coordinator::plan::Plan;
use crate::hop::{Hop, HopError};

/// A placement with the hop to its nodes and their health. Nodes are known by their index in the placement, so whoever
/// works with one route goes on with it to the end of an attempt.
pub struct Route {
    placement: Placement,
    hop: Arc<dyn Hop>,
    health: Mutex<Health>,
    clock: Arc<dyn Clock>,
}

impl Route {
    /// A route whose nodes are all taken to be up.
    pub(crate) fn first(
        placement: Placement,
        hop: Arc<dyn Hop>,
        settings: HealthSettings,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let health = Mutex::new(Health::new(settings, &nodes(&placement), clock.now_ms()));
        Self { placement, hop, health, clock }
    }

    /// The route that follows this one; what is known of nodes that stay is kept.
    pub(crate) fn next(&self, placement: Placement, hop: Arc<dyn Hop>) -> Self {
        let mut health = self.health.lock().clone();
        health.adopt(&nodes(&placement), self.clock.now_ms());
        Self { placement, hop, health: Mutex::new(health), clock: Arc::clone(&self.clock) }
    }

    /// Who holds what.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// How to reach the nodes.
    pub fn hop(&self) -> &dyn Hop {
        &*self.hop
    }

    /// What a key's operation may ask, those that answer in front; see [`Plan::rank`].
    pub fn plan(&self, hash: u64, shared_first: bool) -> Plan {
        let mut plan = Plan::new(&self.placement, hash);
        if plan.candidates.len() > 1 {
            let health = self.health.lock();
            plan.rank(|node| health.reluctance(node), shared_first);
        }
        plan
    }

    /// The same for a read of one copy: of those that answer, the ones in `zone` in front.
    pub fn plan_for_one(&self, hash: u64, zone: Option<&str>) -> Plan {
        let mut plan = Plan::new(&self.placement, hash);
        if plan.candidates.len() > 1 {
            let health = self.health.lock();
            let is_far = |node: usize| {
                zone.is_some() && self.placement.nodes()[node].seat.node.zone.as_deref() != zone
            };
            let copies = self.placement.base_quorum().copies;
            plan.rank_for_one(copies, |node| health.reluctance(node), is_far);
        }
        plan
    }

    /// Whether none of those whom a plan may ask answered the last time.
    pub fn is_out_of_reach(&self, plan: &Plan) -> bool {
        let health = self.health.lock();
        plan.candidates.iter().all(|node| health.condition(node) != Some(Condition::Up))
    }

    /// Judges the nodes by other settings from now on.
    pub(crate) fn judge_by(&self, settings: HealthSettings) {
        self.health.lock().judge_by(settings);
    }

    /// Whether one of those whom a plan may ask did not answer the last time.
    pub fn is_doubtful(&self, plan: &Plan) -> bool {
        let health = self.health.lock();
        plan.candidates.iter().any(|node| health.condition(node) != Some(Condition::Up))
    }

    /// The ticket of a call made now; its outcome goes to [`Self::answered`] or [`Self::failed`].
    pub fn sent(&self, node: usize) -> Ticket {
        self.health.lock().sent(node)
    }

    /// A call was answered, whatever the answer says.
    pub fn answered(&self, ticket: Ticket) {
        self.record(ticket, Outcome::Answered, "answers again");
    }

    /// A call came to nothing.
    pub fn failed(&self, ticket: Ticket, error: &HopError) {
        if error.is_of_the_node() {
            self.record(ticket, Outcome::Failed, &error.to_string());
        }
    }

    /// A call has taken so long that another node is asked in its place.
    pub fn overdue(&self, ticket: Ticket) {
        self.record(ticket, Outcome::Overdue, "slower than cluster.hedge_after");
    }

    /// What is wrong where somebody else answers under a node's address. A node that the list gives no name of its own
    /// may call itself what it likes.
    pub fn wrong_node(&self, node: usize, health: &rest::Health) -> Option<String> {
        let Node { name, address, .. } = &self.placement.nodes()[node].seat.node;
        let is_it = health.role == "auxiliary" && (name == address || health.name == *name);
        let rest::Health { role, name: theirs, .. } = health;
        (!is_it).then(|| format!("{address} is known as {name}, but {role} {theirs} answers there"))
    }

    /// How many nodes are in each state.
    pub fn census(&self) -> Census {
        self.health.lock().census()
    }

    /// The state of one node.
    pub fn state(&self, node: usize) -> NodeState {
        match self.health.lock().condition(node) {
            Some(Condition::Up) => NodeState::Up,
            Some(Condition::Suspect) => NodeState::Suspect,
            Some(Condition::Down) | None => NodeState::Down,
        }
    }

    /// Whom to check now.
    pub fn due(&self) -> Vec<Probe> {
        self.health.lock().due(self.clock.now_ms())
    }

    fn record(&self, ticket: Ticket, outcome: Outcome, why: &str) {
        let change = self.health.lock().record(ticket, outcome, self.clock.now_ms());
        let Some(Change { node, from, to }) = change else { return };
        let node = &self.placement.nodes()[node].seat.node.name;
        match to {
            Condition::Down => tracing::warn!(node, why, "node is down: asked last from now on"),
            _ if from == Condition::Down => tracing::info!(node, "node answers again"),
            _ => tracing::debug!(node, why, from = from.as_str(), to = to.as_str(), "node changed state"),
        }
    }
}

fn nodes(placement: &Placement) -> Vec<Node> {
    placement.nodes().iter().map(|placed| placed.seat.node.clone()).collect()
}
