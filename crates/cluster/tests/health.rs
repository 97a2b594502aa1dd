//! Health as a master lives with it.

use Outcome::{Answered, Failed};
use annulus_cluster::{
    Breaker, Census, Change, Condition, Health, HealthSettings, Node, NodeList, Outcome, View,
};

const SETTINGS: HealthSettings =
    HealthSettings { breaker_failures: 3, health_check_interval_ms: 10_000, probe_interval_ms: 500 };

fn view(list: &str) -> Vec<Node> {
    View::from_list([list]).unwrap().nodes().to_vec()
}

/// Nodes a (0), b (1) and c (2), all up, just checked at 0.
fn abc() -> Health {
    let mut health = Health::new(SETTINGS, &view("a=h:1,b=h:2,c=h:3"), 0);
    assert_eq!(health.due(0).len(), 3);
    health
}

/// A request to `node` that ends at once.
fn request(health: &mut Health, node: usize, outcome: Outcome, now_ms: u64) -> Option<Change> {
    let ticket = health.sent(node);
    health.record(ticket, outcome, now_ms)
}

fn break_down(health: &mut Health, node: usize, now_ms: u64) {
    for _ in 0..SETTINGS.breaker_failures {
        request(health, node, Failed, now_ms);
    }
    assert_eq!(health.breaker(node), Some(Breaker::Open { since_ms: now_ms }));
}

fn ranked(health: &Health, preference: &[usize]) -> Vec<usize> {
    let mut preference: NodeList = preference.iter().copied().collect();
    preference.sort_by_rank(|node| health.reluctance(node));
    preference.iter().collect()
}

#[test]
fn failures_in_a_row_open_the_breaker() {
    let mut health = abc();
    let changed = |from, to| Some(Change { node: 0, from, to });
    assert_eq!(request(&mut health, 0, Failed, 1), changed(Condition::Up, Condition::Suspect));
    assert_eq!(request(&mut health, 0, Failed, 2), None);
    assert_eq!(request(&mut health, 0, Failed, 3), changed(Condition::Suspect, Condition::Down));
    assert_eq!(health.census(), Census { up: 2, suspect: 0, down: 1 });
}

#[test]
fn an_answer_in_between_starts_the_count_anew() {
    let mut health = abc();
    for outcome in [Failed, Failed, Answered, Failed, Failed] {
        request(&mut health, 0, outcome, 1);
    }
    assert_eq!(health.breaker(0), Some(Breaker::Closed));
    assert_eq!(health.condition(0), Some(Condition::Suspect));
}

#[test]
fn a_node_that_is_down_is_asked_last_and_the_others_keep_their_order() {
    let mut health = abc();
    assert_eq!(ranked(&health, &[2, 0, 1]), [2, 0, 1]);
    break_down(&mut health, 2, 1);
    assert_eq!(ranked(&health, &[2, 0, 1]), [0, 1, 2]);
    assert_eq!(ranked(&health, &[2]), [2]);
    break_down(&mut health, 0, 1);
    assert_eq!(ranked(&health, &[2, 0, 1]), [1, 2, 0]);
    break_down(&mut health, 1, 1);
    assert_eq!(ranked(&health, &[2, 0, 1]), [2, 0, 1], "where all are down, each in its turn");
}

#[test]
fn a_single_failure_changes_nobodys_turn() {
    let mut health = abc();
    request(&mut health, 0, Failed, 1);
    assert_eq!(ranked(&health, &[0, 1, 2]), [0, 1, 2]);
}

#[test]
fn a_node_that_is_well_is_checked_once_an_interval() {
    let mut health = abc();
    assert_eq!(health.next_due_ms(), Some(10_000));
    assert!(health.due(9_999).is_empty());
    assert_eq!(health.due(10_000).len(), 3);
    assert!(health.due(10_000).is_empty());
}

#[test]
fn a_node_that_failed_once_is_checked_soon() {
    let mut health = abc();
    request(&mut health, 1, Failed, 100);
    assert_eq!(health.next_due_ms(), Some(600));
    assert_eq!(health.due(600).iter().map(|probe| probe.node).collect::<Vec<_>>(), [1]);
}

#[test]
fn an_idle_cluster_notices_a_dead_node_by_its_checks_alone() {
    let mut health = abc();
    let mut now_ms = 0;
    while health.breaker(0) == Some(Breaker::Closed) {
        now_ms = health.next_due_ms().unwrap();
        for probe in health.due(now_ms) {
            let outcome = if probe.node == 0 { Failed } else { Answered };
            health.record(probe.ticket, outcome, now_ms);
        }
    }
    assert_eq!(now_ms, 11_000, "one check and two probes");
}

#[test]
fn two_probes_that_are_answered_close_the_breaker() {
    let mut health = abc();
    break_down(&mut health, 0, 100);
    assert!(health.due(599).is_empty());
    let probe = health.due(600)[0];
    health.record(probe.ticket, Answered, 610);
    assert_eq!(health.breaker(0), Some(Breaker::HalfOpen));
    assert_eq!(ranked(&health, &[0, 1, 2]), [1, 2, 0]);

    let probe = health.due(610)[0];
    health.record(probe.ticket, Answered, 620);
    assert_eq!(health.breaker(0), Some(Breaker::Closed));
    assert_eq!(health.census(), Census { up: 3, suspect: 0, down: 0 });
    assert_eq!(ranked(&health, &[0, 1, 2]), [0, 1, 2]);
}

#[test]
fn a_node_that_fails_again_right_after_its_first_answer_is_down_again() {
    let mut health = abc();
    break_down(&mut health, 0, 100);
    request(&mut health, 0, Answered, 200);
    assert_eq!(health.breaker(0), Some(Breaker::HalfOpen));
    request(&mut health, 0, Failed, 300);
    assert_eq!(health.breaker(0), Some(Breaker::Open { since_ms: 300 }));
    assert_eq!(health.due(800).len(), 1);
}

#[test]
fn a_late_answer_from_before_the_breaker_opened_changes_nothing() {
    let mut health = abc();
    let early = health.sent(0);
    break_down(&mut health, 0, 100);
    assert_eq!(health.record(early, Answered, 101), None);
    assert_eq!(health.breaker(0), Some(Breaker::Open { since_ms: 100 }));
}

#[test]
fn late_failures_from_before_the_breaker_closed_change_nothing() {
    let mut health = abc();
    let early: Vec<_> = (0..10).map(|_| health.sent(0)).collect();
    break_down(&mut health, 0, 100);
    let while_open = health.sent(0);
    request(&mut health, 0, Answered, 200);
    request(&mut health, 0, Answered, 210);
    for ticket in early.into_iter().chain([while_open]) {
        assert_eq!(health.record(ticket, Failed, 220), None);
    }
    assert_eq!(health.condition(0), Some(Condition::Up));
}

#[test]
fn a_node_that_stays_keeps_its_state_and_its_tickets_in_a_new_view() {
    let mut health = abc();
    break_down(&mut health, 1, 100);
    let ticket = health.sent(1);
    health.adopt(&view("b=h:2*2,c=h:3,d=h:4"), 200);
    assert_eq!(health.breaker(0), Some(Breaker::Open { since_ms: 100 }), "b is now the first");
    assert_eq!(health.census(), Census { up: 2, suspect: 0, down: 1 });
    assert_eq!(health.record(ticket, Answered, 210).map(|change| change.node), Some(0));
}

#[test]
fn a_node_that_left_or_moved_is_no_longer_judged_by_old_tickets() {
    let mut health = abc();
    break_down(&mut health, 0, 100);
    let tickets = [health.sent(0), health.sent(1)];
    health.adopt(&view("a=h:9,c=h:3"), 200);
    assert_eq!(health.breaker(0), Some(Breaker::Closed), "a is at another address");
    for ticket in tickets {
        assert_eq!(health.record(ticket, Failed, 210), None);
    }
    assert_eq!(
        health.due(200).iter().map(|probe| probe.node).collect::<Vec<_>>(),
        [0],
        "and is asked at once"
    );
}
