use super::*;

const LAYOUT: Layout = Layout { replicas: 2, virtual_nodes: 8 };

fn seat(name: &str, incarnation: u64) -> Seat {
    Seat { node: Node::new(name, format!("{name}:1")), incarnation }
}

fn beat(name: &str, incarnation: u64, settled: u64) -> Beat {
    Beat { seat: seat(name, incarnation), settled, leaving: false }
}

fn after(roster: Roster, beat: &Beat) -> Roster {
    roster.beat(beat).unwrap().unwrap_or(roster)
}

/// Lets every member report until the views are one.
fn settle(roster: Roster) -> Roster {
    let roster = settled_by_all(roster);
    assert!(roster.is_settled());
    roster
}

fn settled_by_all(mut roster: Roster) -> Roster {
    for member in roster.members().to_vec() {
        let beat = Beat { seat: member.seat, settled: roster.epoch(), leaving: member.leaving };
        roster = after(roster, &beat);
    }
    roster
}

fn of(names: &[&str]) -> Roster {
    names.iter().fold(Roster::new(LAYOUT), |roster, name| settle(after(roster, &beat(name, 1, 0))))
}

fn names(roster: &Roster) -> Vec<&str> {
    roster.current().map(|seat| seat.node.name.as_str()).collect()
}

#[test]
fn a_node_joins_and_counts_in_the_base_once_all_have_settled() {
    let roster = of(&["a", "b"]);
    let joining = after(roster.clone(), &beat("c", 1, 0));
    assert_eq!((names(&joining), joining.base().len()), (vec!["a", "b", "c"], 2));
    assert!(!joining.is_warm("c", 1) && joining.has("c", 1) && joining.epoch() > roster.epoch());
    let most = after(after(joining.clone(), &beat("a", 1, joining.epoch())), &beat("b", 1, joining.epoch()));
    assert!(!most.is_settled());
    let all = after(most, &beat("c", 1, joining.epoch()));
    assert!(all.is_settled() && all.is_warm("c", 1) && all.epoch() > joining.epoch());
}

#[test]
fn a_second_join_waits_until_the_first_has_settled() {
    let joining = after(of(&["a"]), &beat("b", 1, 0));
    assert_eq!(joining.beat(&beat("c", 1, 0)), Ok(None));
    assert_eq!(names(&after(settle(joining), &beat("c", 1, 0))), ["a", "b", "c"]);
}

#[test]
fn a_new_life_is_cold_at_once_and_an_old_one_is_turned_away() {
    let again = after(of(&["a", "b"]), &beat("a", 2, 0));
    assert!(again.has("a", 2) && !again.is_warm("a", 2) && !again.is_settled());
    assert!(matches!(again.beat(&beat("a", 1, 0)), Err(BeatError::Superseded { incarnation: 2, .. })));
    assert!(settle(again).is_warm("a", 2));
}

#[test]
fn a_report_of_an_earlier_epoch_settles_nothing() {
    let joining = after(of(&["a", "b"]), &beat("c", 1, 0));
    let stale = joining.epoch() - 1;
    let roster = ["a", "b", "c"].iter().fold(joining, |roster, name| after(roster, &beat(name, 1, stale)));
    assert!(!roster.is_settled());
}

#[test]
fn the_dead_leave_at_once_and_nobody_waits_for_their_report() {
    let joining = after(of(&["a", "b", "c"]), &beat("d", 1, 0));
    let without = joining.expire("b", 1).unwrap();
    assert_eq!((names(&without), without.base().len()), (vec!["a", "c", "d"], 3));
    assert_eq!(settle(without).base().len(), 3);
    assert_eq!(of(&["a"]).expire("a", 1), None, "somebody must be left");
}

#[test]
fn a_leaver_stays_where_the_one_it_hands_over_to_dies() {
    let leaving = of(&["a", "b"]).retire("a").unwrap();
    let alone = leaving.expire("b", 1).unwrap();
    assert_eq!(names(&alone), ["a"]);
    assert!(settle(alone).is_warm("a", 1));
}

#[test]
fn a_leaver_is_out_of_the_current_view_and_a_member_until_all_have_settled() {
    let roster = of(&["a", "b", "c"]);
    let goodbye = Beat { leaving: true, ..beat("b", 1, roster.epoch()) };
    let leaving = after(after(roster.clone(), &goodbye), &goodbye);
    assert_eq!((names(&leaving), leaving.has("b", 1)), (vec!["a", "c"], true));
    assert_eq!(roster.retire("b").unwrap().members(), leaving.members());
    let gone = settle(leaving);
    assert!(!gone.has("b", 1));
    assert_eq!(gone.beat(&goodbye), Ok(None), "and it does not come back by saying so again");
}

#[test]
fn departures_wait_for_their_turn_as_long_as_somebody_stays() {
    let goodbye = |name| Beat { leaving: true, ..beat(name, 1, 0) };
    let before = of(&["a", "b", "c"]);
    let announced = after(after(before.clone(), &goodbye("a")), &goodbye("b"));
    assert_eq!((announced.epoch(), announced.nobody_stays()), (before.epoch(), false));
    let begun = after(announced, &goodbye("a"));
    assert_eq!((names(&begun), begun.nobody_stays()), (vec!["b", "c"], false));
    assert_eq!(begun.beat(&goodbye("b")), Ok(None), "its turn comes once the first has settled");
    let first = settled_by_all(begun);
    assert_eq!((names(&first), first.is_settled()), (vec!["b", "c"], true));
    let last = settle(after(first, &goodbye("b")));
    assert_eq!((names(&last), last.is_warm("c", 1)), (vec!["c"], true));
}

#[test]
fn where_all_say_that_they_leave_no_departure_begins() {
    let goodbye = |name| Beat { leaving: true, ..beat(name, 1, 0) };
    let before = of(&["a", "b", "c"]);
    let roster = ["a", "b", "c"].iter().fold(before.clone(), |roster, name| after(roster, &goodbye(name)));
    assert!(roster.nobody_stays() && roster.is_settled() && roster.epoch() == before.epoch());
    assert_eq!(["a", "b", "c"].map(|name| roster.beat(&goodbye(name))), [const { Ok(None) }; 3]);
    assert_eq!(roster.retire("a"), None);

    let joined = after(roster.clone(), &beat("d", 1, 0));
    assert!(!joined.nobody_stays(), "who comes now is handed everything");
    assert_eq!(names(&after(settle(joined), &goodbye("a"))), ["b", "c", "d"]);
    let again = after(roster, &beat("b", 2, 0));
    assert!(!again.nobody_stays() && again.find("a").unwrap().is_going(), "another life has not said so");
}

#[test]
fn a_departure_that_has_begun_is_called_off_where_nobody_stays() {
    let goodbye = |name| Beat { leaving: true, ..beat(name, 1, 0) };
    let leaving = of(&["a", "b", "c"]).retire("a").unwrap();
    let roster = after(after(leaving.clone(), &goodbye("b")), &goodbye("c"));
    assert!(roster.nobody_stays() && roster.is_settled() && roster.epoch() > leaving.epoch());
    assert_eq!((names(&roster), roster.base()), (vec!["a", "b", "c"], leaving.base()));
}

#[test]
fn a_member_that_waits_to_leave_says_so_in_text_and_others_are_written_as_ever() {
    let roster = after(of(&["a", "b"]), &Beat { leaving: true, ..beat("b", 1, 0) });
    let text = serde_json::to_string(&roster).unwrap();
    assert!(text.contains("\"waits_to_leave\":true"), "{text}");
    assert_eq!(serde_json::from_str::<Roster>(&text).unwrap(), roster);
    assert!(!serde_json::to_string(&of(&["a", "b"])).unwrap().contains("waits_to_leave"));
}

#[test]
fn one_who_was_in_the_base_comes_back_while_others_settle() {
    let without = of(&["a", "b", "c"]).expire("b", 1).unwrap();
    assert_eq!(without.beat(&beat("z", 1, 0)), Ok(None));
    assert!(after(without, &beat("b", 2, 0)).has("b", 2));
}

#[test]
fn an_address_belongs_to_one_name() {
    let mut other = beat("z", 1, 0);
    other.seat.node.address = "a:1".to_owned();
    assert!(matches!(of(&["a"]).beat(&other), Err(BeatError::AddressTaken { .. })));
}

#[test]
fn another_home_numbers_above_all_that_the_one_before_gave_out() {
    let roster = of(&["a", "b", "c"]);
    let lost = after(roster.clone(), &beat("a", 2, 0));
    let taken_over = roster.clone().renumbered();
    assert_eq!((taken_over.revision(), taken_over.epoch()), (2048, 2048));
    assert!(taken_over.revision() > lost.revision() && taken_over.epoch() > lost.epoch());
    assert_eq!((taken_over.members(), taken_over.base()), (roster.members(), roster.base()));
    assert_eq!(taken_over.renumbered().epoch(), 4096);
}

#[test]
fn those_who_settle_while_another_home_takes_over_say_so_again() {
    let joining = after(of(&["a", "b"]), &beat("c", 1, 0));
    let reported = after(joining.clone(), &beat("a", 1, joining.epoch()));
    let taken_over = reported.renumbered();
    let most = ["b", "c"]
        .iter()
        .fold(taken_over.clone(), |roster, name| after(roster, &beat(name, 1, taken_over.epoch())));
    assert!(!most.is_settled());
    assert!(settle(most).is_warm("c", 1));
}

#[test]
fn an_epoch_is_never_below_the_generation_of_who_says_who_is_wanted() {
    let roster = of(&["a", "b"]);
    let reported = roster.clone().with_epoch_from(50, &roster);
    assert_eq!(reported.epoch(), roster.epoch(), "where no view has changed, nothing does");
    let joining = after(roster.clone(), &beat("c", 1, 0));
    assert_eq!(joining.clone().with_epoch_from(50, &roster).epoch(), 50);
    assert_eq!(joining.clone().with_epoch_from(1, &roster).epoch(), joining.epoch());
    assert!(settle(joining.with_epoch_from(50, &roster)).is_warm("c", 1));
}

#[test]
fn a_beat_that_says_nothing_new_changes_nothing() {
    let roster = of(&["a", "b"]);
    assert_eq!(roster.beat(&beat("a", 1, roster.find("a").unwrap().settled)), Ok(None));
}
