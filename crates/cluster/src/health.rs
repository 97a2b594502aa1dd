//! Health: one master's opinion of all nodes of a view.

use crate::breaker::Circuit;
use crate::{Breaker, Condition, HealthSettings, Node, Outcome};

/// The breakers of some nodes, each known by its index among them.
///
/// One master has one, behind a lock; every method takes nanoseconds, but for [`adopt`](Self::adopt).
#[derive(Clone, Debug)]
pub struct Health {
    settings: HealthSettings,
    nodes: Vec<Tracked>,
    last_phase: u64,
}

/// A node and its breaker. The phase is the number of the breaker's present state: never used twice, so that it also
/// tells nodes apart.
#[derive(Clone, Debug)]
struct Tracked {
    node: Node,
    circuit: Circuit,
    phase: u64,
}

/// Which node was asked, and in which phase of its breaker. An outcome counts only in the phase it was asked in: the
/// late answer of a request that was sent before the breaker opened says nothing about the node now, and the late
/// failure of one sent before it closed neither. So what is late cannot make a breaker flap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    node: usize,
    phase: u64,
}

/// The action to take: ask this node whether it is well, and [`record`](Health::record) what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whom to ask.
    pub node: usize,
    /// What to record the outcome with.
    pub ticket: Ticket,
}

/// A node came into another condition: something to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose condition it is.
    pub node: usize,
    /// Before.
    pub from: Condition,
    /// Now.
    pub to: Condition,
}

/// How many nodes are in each condition; for the gauge `nodes{state}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// [`Condition::Up`].
    pub up: usize,
    /// [`Condition::Suspect`].
    pub suspect: usize,
    /// [`Condition::Down`].
    pub down: usize,
}

impl Health {
    /// All nodes up until they show otherwise, and due to be asked at once.
    pub fn new(settings: HealthSettings, nodes: &[Node], now_ms: u64) -> Self {
        let mut health = Self { settings, nodes: Vec::new(), last_phase: 0 };
        health.adopt(nodes, now_ms);
        health
    }

    /// Goes by other settings from now on. What is known of the nodes stays.
    pub fn judge_by(&mut self, settings: HealthSettings) {
        self.settings = settings;
    }

    /// Follows a change of the nodes. A node that stays, by name and address, keeps its state and its tickets; one with a new
    /// address is a new process, of which nothing is known.
    pub fn adopt(&mut self, nodes: &[Node], now_ms: u64) {
        let mut before = std::mem::take(&mut self.nodes);
        for node in nodes {
            let same = |known: &Tracked| known.node.name == node.name && known.node.address == node.address;
            let tracked = match before.iter().position(same) {
                Some(at) => Tracked { node: node.clone(), ..before.swap_remove(at) },
                None => {
                    Tracked { node: node.clone(), circuit: Circuit::new(now_ms), phase: self.next_phase() }
                }
            };
            self.nodes.push(tracked);
        }
    }

    /// The ticket of a request that is sent now.
    ///
    /// # Panics
    /// `node` is not an index of a node.
    pub fn sent(&self, node: usize) -> Ticket {
        Ticket { node, phase: self.nodes[node].phase }
    }

    /// Takes the outcome of a request or of a probe; tells where it put its node into another condition. What is late
    /// is passed over (see [`Ticket`]), as is what concerns a node that has left.
    pub fn record(&mut self, ticket: Ticket, outcome: Outcome, now_ms: u64) -> Option<Change> {
        let node = self.find(ticket)?;
        let circuit = &mut self.nodes[node].circuit;
        let from = circuit.condition();
        let moved = circuit.record(outcome, &self.settings, now_ms);
        let to = circuit.condition();
        if moved {
            self.nodes[node].phase = self.next_phase();
        }
        (from != to).then_some(Change { node, from, to })
    }

    /// The nodes to ask now, each at most once an interval: often where it has failed, now and then where it answers.
    pub fn due(&mut self, now_ms: u64) -> Vec<Probe> {
        let mut probes = Vec::new();
        for (node, tracked) in self.nodes.iter_mut().enumerate() {
            if tracked.circuit.next_probe_ms() <= now_ms {
                tracked.circuit.probed(&self.settings, now_ms);
                probes.push(Probe { node, ticket: Ticket { node, phase: tracked.phase } });
            }
        }
        probes
    }

    /// When [`due`](Self::due) will next have something to say; earlier if an outcome brings news. `None` without
    /// nodes.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.nodes.iter().map(|tracked| tracked.circuit.next_probe_ms()).min()
    }

    /// The state of a node's breaker; `None` for an index of no node.
    pub fn breaker(&self, node: usize) -> Option<Breaker> {
        self.nodes.get(node).map(|tracked| tracked.circuit.breaker())
    }

    /// The condition of a node; `None` for an index of no node.
    pub fn condition(&self, node: usize) -> Option<Condition> {
        self.nodes.get(node).map(|tracked| tracked.circuit.condition())
    }

    /// How many nodes are in each condition.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for tracked in &self.nodes {
            match tracked.circuit.condition() {
                Condition::Up => census.up += 1,
                Condition::Suspect => census.suspect += 1,
                Condition::Down => census.down += 1,
            }
        }
        census
    }

    /// How late a node is to be asked, as a rank for [`NodeList::sort_by_rank`](crate::NodeList::sort_by_rank): breakers closed first, then half
    /// open, then open.
    pub fn reluctance(&self, node: usize) -> u8 {
        match self.breaker(node) {
            None | Some(Breaker::Closed) => 0,
            Some(Breaker::HalfOpen) => 1,
            Some(Breaker::Open { .. }) => 2,
        }
    }

    /// Where the ticket's node is now, if it is still in the ticket's phase: a view may have moved it.
    fn find(&self, ticket: Ticket) -> Option<usize> {
        let is_it = |tracked: &Tracked| tracked.phase == ticket.phase;
        if self.nodes.get(ticket.node).is_some_and(is_it) {
            return Some(ticket.node);
        }
        self.nodes.iter().position(is_it)
    }

    fn next_phase(&mut self) -> u64 {
        self.last_phase += 1;
        self.last_phase
    }
}
