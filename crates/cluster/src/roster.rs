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
    /// Whether it waits for its turn to do so: another change has to settle first, or nobody stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits_to_leave: bool,
}

impl Member {
    fn new(seat: &Seat, settled: u64) -> Self {
        Self { seat: seat.clone(), settled, leaving: false, waits_to_leave: false }
    }

    /// Whether its process ends as soon as it may.
    pub fn is_going(&self) -> bool {
        self.leaving || self.waits_to_leave
    }
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
        let members = base.iter().map(|seat| Member::new(seat, 1)).collect();
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

    /// Whether every member is going, so that nobody can take over what another one holds.
    pub fn nobody_stays(&self) -> bool {
        self.members.iter().all(Member::is_going)
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
            next.members[at] = Member::new(seat, 0);
            return Ok(Some(next.with_views_changed()));
        }
        if *leaving && !self.members[at].leaving {
            // It begins with a later beat: meanwhile others can say the same.
            let is_announced = std::mem::replace(&mut next.members[at].waits_to_leave, true);
            if next.nobody_stays() {
                if next.call_departures_off() {
                    return Ok(Some(next.with_views_changed()));
                }
            } else if is_announced && self.is_settled() {
                return Ok(Some(next.with_departure(at)));
            }
        }
        if !self.is_settled() && beat.settled == self.epoch && self.members[at].settled != self.epoch {
            next.members[at].settled = self.epoch;
            if next.members.iter().all(|member| member.settled == self.epoch) {
                next = next.completed();
            }
        }
        Ok((next != *self).then(|| next.revised()))
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
            next.call_departures_off();
        }
        Some(next.with_views_changed())
    }

    /// Lets a member hand everything over and go. `None` where it does so already, or where another change has to settle
    /// first.
    pub fn retire(&self, name: &str) -> Option<Self> {
        let at = self.members.iter().position(|member| member.seat.node.name == name)?;
        let stays = |member: &Member| !member.is_going() && member.seat.node.name != name;
        let may_go = self.is_settled() && self.members.iter().any(stays);
        may_go.then(|| self.clone().with_departure(at))
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
        next.members.push(Member::new(seat, 0));
        next.members.sort_by(|left, right| left.seat.node.name.cmp(&right.seat.node.name));
        next.with_views_changed()
    }

    /// Departures begin one at a time, each once the one before has settled; and where nobody stays, none does: what a
    /// departure would move to others would be moved for nothing, and push out what those hold.
    fn with_departure(mut self, at: usize) -> Self {
        let member = &mut self.members[at];
        (member.leaving, member.waits_to_leave) = (true, false);
        self.with_views_changed()
    }

    /// Those who were leaving stand in the current view as before. Whether there were any.
    fn call_departures_off(&mut self) -> bool {
        let mut any = false;
        for member in self.members.iter_mut().filter(|member| member.leaving) {
            (member.leaving, member.waits_to_leave, any) = (false, true, true);
        }
        any
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
mod tests;
