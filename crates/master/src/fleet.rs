//! The auxiliaries as this master sees them: who they are, and who answers now.

use std::sync::Arc;

use annulus_cluster::{
    Census, Change, Condition, Health, HealthSettings, Node, Outcome, Probe, Ticket, View,
};
use annulus_protocol::rest::{self, NodeState};
use annulus_service::config::ClusterSettings;
use annulus_service::net::Clock;
use parking_lot::Mutex;

use crate::hop::HopError;

/// The membership view with the health of its nodes. Nodes are known by their index in the view.
pub struct Fleet {
    view: View,
    health: Mutex<Health>,
    clock: Arc<dyn Clock>,
}

impl Fleet {
    /// A fleet of the view's nodes, all of them taken to be up.
    pub fn new(view: View, settings: &ClusterSettings, clock: Arc<dyn Clock>) -> Self {
        let settings = HealthSettings {
            breaker_failures: settings.breaker_failures,
            health_check_interval_ms: settings.health_check_interval.as_millis() as u64,
            probe_interval_ms: settings.probe_interval.as_millis() as u64,
        };
        let health = Mutex::new(Health::new(settings, &view, clock.now_ms()));
        Self { view, health, clock }
    }

    /// Who stands on the ring.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Puts those that answer in front; the order stays otherwise.
    pub fn rank(&self, preference: &mut [usize]) {
        self.health.lock().rank(preference);
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
        // This master's own limit says nothing of the node.
        if *error != HopError::Busy {
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
        let Node { name, address, .. } = &self.view.nodes()[node];
        let is_it = health.role == "auxiliary" && (name == address || health.name == *name);
        let rest::Health { role, name: theirs, .. } = health;
        (!is_it).then(|| format!("{address} is listed as {name}, but {role} {theirs} answers there"))
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

    fn record(&self, ticket: Ticket, outcome: Outcome, why: &str) {
        let change = self.health.lock().record(ticket, outcome, self.clock.now_ms());
        let Some(Change { node, from, to }) = change else { return };
        let node = &self.view.nodes()[node].name;
        match to {
            Condition::Down => tracing::warn!(node, why, "node is down: asked last from now on"),
            _ if from == Condition::Down => tracing::info!(node, "node answers again"),
            _ => tracing::debug!(node, why, from = from.as_str(), to = to.as_str(), "node changed state"),
        }
    }

    /// Whom to check now.
    pub fn due(&self) -> Vec<Probe> {
        self.health.lock().due(self.clock.now_ms())
    }
}
