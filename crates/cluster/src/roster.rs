//! The roster: who is a member, in which life, and how far the cluster has settled. A value; every change makes a new one.
//!
//! The authority keeps one roster. It names up to two views: the *base*, which is the last view that settled, and the
//! *current* one. They differ from the moment a node joins, leaves, dies or starts a new life until every member has said
//! that it has settled; then the current view becomes the base. Meanwhile both count: an operation needs its quorum in
//! each. A join or a departure waits for its turn, so that there is never a third; a death and a new life do not wait,
//! because they have happened.

use serde::{Deserialize, Serialize};

use crate::Node;

/// How the keys are laid out: every node must agree on it, so the authority keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Copies of each key, where there are nodes enough; or [`Layout::ALL`].
    pub replicas: u32,
    /// Places on the ring for each unit of a node's weight.
    pub virtual_nodes: u32,
}

impl Layout {
    /// In place of a number of copies: one on every node.
    pub const ALL: u32 = u32::MAX;
}

/// A node in one of its lives: the place of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// The node.
    pub node: Node,
    /// The number of its life; a process that starts again has forgotten what it held, and has a higher one. 0 stands
    /// for whatever life there is.
    pub incarnation: u64,
}

/// A node that is alive as far as the authority knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    #[serde(flatten)]
    pub seat: Seat,
    /// The last epoch to which it has settled.
    pub settled: u64,
    /// Whether it is handing everything over, to be gone when all have settled.
    pub leaving: bool,
}

/// What a node says of itself, again and again: all that the authority knows of it comes from this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Who it is.
    #[serde(flatten)]
    pub seat: Seat,
    /// The epoch to which it has settled.
    pub settled: u64,
    /// Whether it wants to leave.
    pub leaving: bool,
}

/// Why a beat is turned away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum BeatError {
    /// A later life of this name is known: either this process is the older one, or its clock went back.
    #[error("a later life of node {name} is known, at {address}: each node needs a name of its own")]
    Superseded {
        /// The name.
        name: String,
        /// Where the later one is.
        address: String,
        /// Its number.
        incarnation: u64,
    },
    /// Two nodes under one address.
    #[error("node {name} is known at {address} already: each node needs an address of its own")]
    AddressTaken {
        /// Whose it is.
        name: String,
        /// The address.
        address: String,
    },
}

/// Who is a member. See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    revision: u64,
    epoch: u64,
    layout: Layout,
    base: Vec<Seat>,
    members: Vec<Member>,
}

impl Roster {
    /// How many rosters one home makes at most that nobody else has seen; far more than it can.
    pub const NUMBERS_OF_A_HOME: u64 = 1024;

    /// A cluster that has yet to form.
    pub fn new(layout: Layout) -> Self {
        Self { revision: 0, epoch: 0, layout, base: Vec::new(), members: Vec::new() }
    }

    /// A fixed list of nodes, of whose lives nothing is known: settled, and for ever the same.
    pub fn fixed(nodes: impl IntoIterator<Item = Node>, layout: Layout) -> Self {
        let seats = nodes.into_iter().map(|node| Seat { node, incarnation: 0 });
        let base: Vec<Seat> = seats.collect();
        let member = |seat: &Seat| Member { seat: seat.clone(), settled: 1, leaving: false };
        let members = base.iter().map(member).collect();
        Self { revision: 1, epoch: 1, layout, base, members }
    }

    /// Rises with every change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Rises with every change of a view: what requests carry.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How the keys are laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The last view that settled, by name. Some of its lives may be over.
    pub fn base(&self) -> &[Seat] {
        &self.base
    }

    /// Everybody alive, by name; those of the current view and those who leave.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The current view, by name.
    pub fn current(&self) -> impl Iterator<Item = &Seat> {
        self.members.iter().filter(|member| !member.leaving).map(|member| &member.seat)
    }

    /// The member of this name.
    pub fn find(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.seat.node.name == name)
    }

    /// Whether this very life is a member.
    pub fn has(&self, name: &str, incarnation: u64) -> bool {
        self.find(name).is_some_and(|member| member.seat.incarnation == incarnation)
    }

    /// Whether this very life stands in the base: it holds what it should.
    pub fn is_warm(&self, name: &str, incarnation: u64) -> bool {
        self.has(name, incarnation)
            && self.base.iter().any(|seat| seat.node.name == name && seat.incarnation == incarnation)
    }

    /// Whether the current view is the base, in the same lives, and nobody is leaving.
    pub fn is_settled(&self) -> bool {
        self.members.iter().all(|member| !member.leaving) && self.current().eq(self.base.iter())
    }

    /// Takes what a node says of itself. `None`: nothing changes.
    ///
    /// # Errors
    /// See [`BeatError`].
    pub fn beat(&self, beat: &Beat) -> Result<Option<Self>, BeatError> {
        let Beat { seat, leaving, .. } = beat;
        let taken = |member: &&Member| {
            member.seat.node.address == seat.node.address && member.seat.node.name != seat.node.name
        };
        if let Some(other) = self.members.iter().find(taken) {
            let Node { name, address, .. } = other.seat.node.clone();
            return Err(BeatError::AddressTaken { name, address });
        }
        let Some(at) = self.members.iter().position(|member| member.seat.node.name == seat.node.name) else {
            return Ok(if *leaving || !self.may_join(&seat.node.name) {
                None
            } else {
                Some(self.join(seat))
            });
        };
        let known = &self.members[at].seat;
        if known.incarnation > seat.incarnation {
            let Node { name, address, .. } = known.node.clone();
            return Err(BeatError::Superseded { name, address, incarnation: known.incarnation });
        }
        let mut next = self.clone();
        if known.incarnation < seat.incarnation {
            next.members[at] = Member { seat: seat.clone(), settled: 0, leaving: false };
            return Ok(Some(next.with_views_changed()));
        }
        if self.is_settled() {
            if !*leaving || self.members.len() == 1 {
                return Ok(None);
            }
            next.members[at].leaving = true;
            return Ok(Some(next.with_views_changed()));
        }
        if beat.settled != self.epoch || self.members[at].settled == self.epoch {
            return Ok(None);
        }
        next.members[at].settled = self.epoch;
        if next.members.iter().all(|member| member.settled == self.epoch) {
            next = next.completed();
        }
        Ok(Some(next.revised()))
    }

    /// Takes out a member whose life has ended. `None` where it is none, or where nobody would be left.
    pub fn expire(&self, name: &str, incarnation: u64) -> Option<Self> {
        if !self.has(name, incarnation) || self.members.len() == 1 {
            return None;
        }
        let mut next = self.clone();
        next.members.retain(|member| member.seat.node.name != name);
        if next.current().next().is_none() {
            // Whoever was leaving has nobody left to hand over to.
            next.members.iter_mut().for_each(|member| member.leaving = false);
        }
        Some(next.with_views_changed())
    }

    /// Lets a member hand everything over and go. `None` where it does so already, or where another change has to settle
    /// first.
    pub fn retire(&self, name: &str) -> Option<Self> {
        let member = self.find(name)?;
        let beat = Beat { seat: member.seat.clone(), settled: member.settled, leaving: true };
        self.beat(&beat).ok().flatten()
    }

    /// The same as another home takes it over: revision and epoch are above all that the home before can have given out.
    pub(crate) fn renumbered(mut self) -> Self {
        // One block is left out: the home before may have been at the end of this one.
        let next = |number: u64| (number / Self::NUMBERS_OF_A_HOME + 2) * Self::NUMBERS_OF_A_HOME;
        self.revision = next(self.revision);
        self.epoch = next(self.epoch);
        self
    }

    /// The same, where the view is another one than in `before`, with an epoch of at least `floor`.
    pub(crate) fn with_epoch_from(mut self, floor: u64, before: &Self) -> Self {
        if self.epoch != before.epoch {
            self.epoch = self.epoch.max(floor);
        }
        self
    }

    /// A member that has a place in the base comes back with what it held; others wait until the views are one.
    fn may_join(&self, name: &str) -> bool {
        self.is_settled() || self.members.is_empty() || self.base.iter().any(|seat| seat.node.name == name)
    }

    fn join(&self, seat: &Seat) -> Self {
        let mut next = self.clone();
        next.members.push(Member { seat: seat.clone(), settled: 0, leaving: false });
        next.members.sort_by(|left, right| left.seat.node.name.cmp(&right.seat.node.name));
        next.with_views_changed()
    }

    /// Everybody has settled: the current view is the base from now on.
    fn completed(mut self) -> Self {
        self.members.retain(|member| !member.leaving);
        self.base = self.members.iter().map(|member| member.seat.clone()).collect();
        self.epoch += 1;
        self
    }

    fn with_views_changed(mut self) -> Self {
        self.epoch += 1;
        self.revised()
    }

    fn revised(mut self) -> Self {
        self.revision += 1;
        self
    }
}

#[cfg(test)]
mod tests {
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
    fn settle(mut roster: Roster) -> Roster {
        for member in roster.members().to_vec() {
            let beat = Beat { seat: member.seat, settled: roster.epoch(), leaving: member.leaving };
            roster = after(roster, &beat);
        }
        assert!(roster.is_settled());
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
        let most =
            after(after(joining.clone(), &beat("a", 1, joining.epoch())), &beat("b", 1, joining.epoch()));
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
        let roster =
            ["a", "b", "c"].iter().fold(joining, |roster, name| after(roster, &beat(name, 1, stale)));
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
        let leaving = after(roster.clone(), &goodbye);
        assert_eq!((names(&leaving), leaving.has("b", 1)), (vec!["a", "c"], true));
        assert_eq!(roster.retire("b").unwrap().members(), leaving.members());
        let gone = settle(leaving);
        assert!(!gone.has("b", 1));
        assert_eq!(gone.beat(&goodbye), Ok(None), "and it does not come back by saying so again");
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
}
