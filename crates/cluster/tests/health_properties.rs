//! What holds of health whatever happens.

use annulus_cluster::{Breaker, Health, HealthSettings, Node, NodeList, Outcome, Ticket};
use proptest::prelude::*;

const SETTINGS: HealthSettings =
    HealthSettings { breaker_failures: 3, health_check_interval_ms: 1_000, probe_interval_ms: 100 };

#[derive(Clone, Debug)]
enum Event {
    Send(usize),
    /// The outcome of one of the requests sent so far, early or late, once or twice.
    End(usize, bool),
    Wait(u64),
    Probe,
    /// A new view: the nodes whose bit is set.
    Adopt(u8),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0..8_usize).prop_map(Event::Send),
        8 => (any::<usize>(), prop::bool::weighted(0.3)).prop_map(|(which, answered)| Event::End(which, answered)),
        2 => (0..300_u64).prop_map(Event::Wait),
        2 => Just(Event::Probe),
        1 => any::<u8>().prop_map(Event::Adopt),
    ];
    prop::collection::vec(event, 0..200)
}

fn view(members: u8) -> Vec<Node> {
    let chosen = (0..8).filter(|bit| members & (1 << bit) != 0);
    chosen.map(|bit| Node::new(format!("n{bit}"), format!("h:{}", bit + 1))).collect()
}

struct World {
    health: Health,
    nodes: usize,
    tickets: Vec<Ticket>,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        Self { health: Health::new(SETTINGS, &view(0b111), 0), nodes: 3, tickets: Vec::new(), now_ms: 0 }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Send(node) if self.nodes > 0 => self.tickets.push(self.health.sent(node % self.nodes)),
            Event::End(which, answered) if !self.tickets.is_empty() => {
                let outcome = if *answered { Outcome::Answered } else { Outcome::Failed };
                self.health.record(self.tickets[which % self.tickets.len()], outcome, self.now_ms);
            }
            Event::Wait(ms) => self.now_ms += ms,
            Event::Probe => {
                self.tickets.extend(self.health.due(self.now_ms).iter().map(|probe| probe.ticket));
            }
            Event::Adopt(members) => {
                self.health.adopt(&view(*members), self.now_ms);
                self.nodes = members.count_ones() as usize;
            }
            Event::Send(_) | Event::End(..) => {}
        }
    }

    fn open(&self) -> Vec<usize> {
        let is_open = |node: &usize| matches!(self.health.breaker(*node), Some(Breaker::Open { .. }));
        (0..self.nodes).filter(is_open).collect()
    }
}

proptest! {
    #[test]
    fn no_node_is_forgotten_and_none_made_up(events in events()) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            let census = world.health.census();
            prop_assert_eq!(census.up + census.suspect + census.down, world.nodes);
            prop_assert!((0..world.nodes).all(|node| world.health.condition(node).is_some()));
            prop_assert_eq!(world.health.condition(world.nodes), None);
        }
    }

    #[test]
    fn rank_is_a_stable_partition_of_what_it_was_given(
        events in events(),
        preference in Just((0..8_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        let mut ranked: NodeList = preference.iter().copied().collect();
        ranked.sort_by_rank(|node| world.health.reluctance(node));
        let mut expected = preference;
        expected.sort_by_key(|node| match world.health.breaker(*node) {
            None | Some(Breaker::Closed) => 0,
            Some(Breaker::HalfOpen) => 1,
            Some(Breaker::Open { .. }) => 2,
        });
        prop_assert_eq!(ranked.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_open_breaker_is_probed_within_its_interval_and_closes_once_its_probes_are_answered(events in events()) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            for node in world.open() {
                let mut health = world.health.clone();
                let mut now_ms = world.now_ms + SETTINGS.probe_interval_ms;
                for _ in 0..2 {
                    let probe = health.due(now_ms).into_iter().find(|probe| probe.node == node);
                    prop_assert!(probe.is_some(), "node {node} is down and not probed");
                    now_ms += 1;
                    health.record(probe.unwrap().ticket, Outcome::Answered, now_ms);
                }
                prop_assert_eq!(health.breaker(node), Some(Breaker::Closed));
            }
        }
    }

    #[test]
    fn an_outcome_counts_at_most_in_the_phase_it_was_asked_in(events in events()) {
        let mut world = World::new();
        for event in &events {
            let open = world.open();
            let late = world.tickets.clone();
            world.happen(event);
            let opened: Vec<_> = world.open().into_iter().filter(|node| !open.contains(node)).collect();
            if matches!(event, Event::End(..)) && !opened.is_empty() {
                let before = world.health.census();
                for ticket in late {
                    let mut health = world.health.clone();
                    let change = health.record(ticket, Outcome::Answered, world.now_ms);
                    prop_assert!(change.is_none_or(|change| !opened.contains(&change.node)));
                }
                prop_assert_eq!(world.health.census(), before);
            }
        }
    }
}
