//! Being a member: says so again and again, follows the roster, and leaves in good order.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Authority, AuthorityError, BeatError, Roster};
use annulus_service::admin::Readiness;
use tokio_util::sync::CancellationToken;

use crate::Node;
use crate::members::Members;

/// How often one who waits to be let in, or to go, asks again.
const KNOCK_INTERVAL: Duration = Duration::from_millis(200);
/// How long a departure is announced before it begins: others that are told to stop at the same time say so meanwhile.
const ANNOUNCEMENT: Duration = Duration::from_millis(500);
/// How long a leaver waits where no member stays: whoever waits to be let in gets its turn then, and is handed everything.
const NOBODY_STAYS_MS: u64 = 5 * KNOCK_INTERVAL.as_millis() as u64;

/// A node's membership.
pub(crate) struct Member {
    pub(crate) node: Arc<Node>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) readiness: Readiness,
    pub(crate) lease_ttl: Duration,
    pub(crate) drain_timeout: Duration,
}

/// Why a node is no member any more, or need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// All have settled without it.
    Left,
    /// Every other member is going too, or gone: there is nobody to hand over to.
    Deserted,
}

/// Looks out for when a leaver may go: rosters in, a verdict out.
#[derive(Debug)]
struct Lookout {
    was_member: bool,
    deserted_since_ms: Option<u64>,
}

impl Lookout {
    fn see(&mut self, roster: &Roster, name: &str, incarnation: u64, now_ms: u64) -> Option<Parting> {
        if !roster.has(name, incarnation) {
            return self.was_member.then_some(Parting::Left);
        }
        self.was_member = true;
        if !roster.nobody_stays() {
            self.deserted_since_ms = None;
            return None;
        }
        let since_ms = *self.deserted_since_ms.get_or_insert(now_ms);
        (now_ms.saturating_sub(since_ms) >= NOBODY_STAYS_MS).then_some(Parting::Deserted)
    }
}

impl Member {
    /// Joins, stays, and after `shutdown` hands everything over; returns when that is done, where there is nobody to hand
    /// over to, or when its time is up.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Some(members) = &self.node.members else { return };
        tokio::select! {
            biased;
            parting = self.stay(members) => return self.part(members, parting).await,
            () = shutdown.cancelled() => {}
        }
        // One that still waits to be let in holds nothing that counts.
        let is_member = members.standing().is_some_and(|standing| standing.me.is_some());
        if self.drain_timeout.is_zero() || !is_member {
            return self.say_goodbye(members).await;
        }
        let is_only_one = members.roster().is_none_or(|roster| roster.members().len() <= 1);
        if is_only_one {
            return self.tell_what_stays_behind();
        }
        tracing::info!(entries = self.entries(), "leaving: handing over what this node holds");
        members.leave();
        let Ok(parting) = tokio::time::timeout(self.drain_timeout, self.stay(members)).await else {
            let left = self.node.progress.show().left;
            tracing::warn!(
                left,
                drain_timeout_ms = self.drain_timeout.as_millis() as u64,
                "could not hand everything over in time: these entries have a copy less until others make up for it"
            );
            return self.say_goodbye(members).await;
        };
        self.part(members, parting).await;
    }

    async fn part(&self, members: &Members, parting: Parting) {
        if parting == Parting::Deserted {
            self.tell_what_stays_behind();
        }
        self.say_goodbye(members).await;
    }

    fn tell_what_stays_behind(&self) {
        let entries = self.entries();
        if self.node.snapshots.is_some() {
            tracing::info!(
                entries,
                "no other node stays to take over what this one holds: it is left to a last snapshot"
            );
        } else if entries > 0 {
            tracing::warn!(
                entries,
                "no other node stays to take over what this one holds, and it is lost: there is no auxiliary.backup_dir"
            );
        }
    }

    fn entries(&self) -> usize {
        self.node.copies.stats().items
    }

    /// Beats for as long as this node is a member or wants to be one.
    async fn stay(&self, members: &Members) -> Parting {
        let mut trouble = String::new();
        let was_member = members.standing().is_some_and(|standing| standing.me.is_some());
        let mut lookout = Lookout { was_member, deserted_since_ms: None };
        loop {
            let changed = self.authority.changed();
            let beat = members.beat();
            let incarnation = beat.seat.incarnation;
            let answer = self.authority.beat(beat, members.roster()).await;
            let note = answer.as_ref().err().map(ToString::to_string).unwrap_or_default();
            if note != trouble && !note.is_empty() {
                tracing::warn!("cannot tell the cluster of this node: {note}");
            }
            trouble = note;
            match answer {
                Ok(roster) => {
                    self.node.adopt(&roster);
                    let known = members.roster().unwrap_or(roster);
                    if known.is_warm(members.name(), members.incarnation()) && !self.readiness.is_ready() {
                        tracing::info!(epoch = known.epoch(), "holds what it should, and counts");
                        self.readiness.set_ready();
                    }
                }
                Err(AuthorityError::Beat(BeatError::Superseded { address, incarnation: later, .. }))
                    if address == members.address() && incarnation == members.incarnation() =>
                {
                    // An earlier life at this address whose clock was ahead.
                    members.start_new_life(later + 1);
                    self.node.left_behind.lock().extend(self.node.copies.store().take());
                    continue;
                }
                Err(_) => {}
            }
            // Also by the last roster known: where all leave, whoever keeps it may be gone before the others have asked again.
            let now_ms = self.node.clock.now_ms();
            let see = |known: Arc<Roster>| lookout.see(&known, members.name(), members.incarnation(), now_ms);
            if let Some(parting) = members.roster().and_then(see).filter(|_| members.is_leaving()) {
                return parting;
            }
            let standing = members.standing();
            let roster = standing.as_ref().map(|standing| standing.placement.roster());
            let waits =
                |roster: &&Arc<Roster>| roster.find(members.name()).is_some_and(|me| me.waits_to_leave);
            let is_announced = roster.filter(waits).is_some_and(|roster| roster.is_settled());
            let is_member = standing.as_ref().is_some_and(|standing| standing.me.is_some());
            let is_calm = is_member && trouble.is_empty() && !members.is_leaving();
            let wait = match is_calm {
                true => self.lease_ttl / 5,
                false if is_announced => ANNOUNCEMENT,
                false => KNOCK_INTERVAL,
            };
            tokio::select! {
                biased;
                () = members.poke.notified(), if !is_announced => {}
                () = changed, if !is_announced => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn say_goodbye(&self, members: &Members) {
        if let Err(error) = self.authority.release(members.name(), members.incarnation()).await {
            tracing::debug!(%error, "the lease ends by itself");
        }
    }
}

#[cfg(test)]
mod tests {
    use annulus_cluster::{Beat, Layout, Node, Seat};

    use super::*;

    fn beat(name: &str, leaving: bool) -> Beat {
        Beat {
            seat: Seat { node: Node::new(name, format!("{name}:1")), incarnation: 1 },
            settled: 0,
            leaving,
        }
    }

    fn after(roster: Roster, beat: &Beat) -> Roster {
        roster.beat(beat).unwrap().unwrap_or(roster)
    }

    fn settled(mut roster: Roster) -> Roster {
        for member in roster.members().to_vec() {
            let leaving = member.is_going();
            let report = Beat { seat: member.seat, settled: roster.epoch(), leaving };
            roster = after(roster, &report);
        }
        roster
    }

    fn of(names: &[&str]) -> Roster {
        let none = Roster::new(Layout { replicas: 2, virtual_nodes: 8 });
        names.iter().fold(none, |roster, name| settled(after(roster, &beat(name, false))))
    }

    fn leave(roster: Roster, names: &[&str]) -> Roster {
        names.iter().fold(roster, |roster, name| after(roster, &beat(name, true)))
    }

    /// What a sees of each roster, one every 100 ms, once it wants to leave.
    fn look(rosters: impl IntoIterator<Item = Roster>) -> Option<(u64, Parting)> {
        let mut lookout = Lookout { was_member: true, deserted_since_ms: None };
        let mut times = (0..).step_by(100);
        rosters.into_iter().find_map(|roster| {
            let now_ms = times.next()?;
            Some((now_ms, lookout.see(&roster, "a", 1, now_ms)?))
        })
    }

    #[test]
    fn a_leaver_waits_until_all_have_settled_without_it() {
        let leaving = leave(of(&["a", "b"]), &["a", "a"]);
        let rosters = std::iter::repeat_n(leaving.clone(), 300).chain([settled(leaving)]);
        assert_eq!(look(rosters), Some((30_000, Parting::Left)));
    }

    #[test]
    fn two_that_leave_at_once_wait_for_the_third() {
        let both = leave(of(&["a", "b", "c"]), &["b", "a", "b"]);
        assert_eq!(look(std::iter::repeat_n(both.clone(), 300)), None);
        let turn = leave(settled(both), &["a"]);
        assert_eq!(look([turn.clone(), settled(turn)]), Some((100, Parting::Left)));
    }

    #[test]
    fn where_all_leave_nobody_waits_longer_than_one_who_knocks_needs() {
        let all = leave(of(&["a", "b", "c"]), &["a", "b", "c"]);
        assert_eq!(look(std::iter::repeat_n(all.clone(), 300)), Some((NOBODY_STAYS_MS, Parting::Deserted)));
        let joined = after(all.clone(), &beat("d", false));
        let then = std::iter::repeat_n(all, 9).chain(std::iter::repeat_n(joined, 300));
        assert_eq!(look(then), None, "the one who came in takes over");
    }

    #[test]
    fn a_leaver_whose_last_other_member_dies_has_nobody_to_wait_for() {
        let alone = leave(of(&["a", "b"]), &["a", "a"]).expire("b", 1).unwrap();
        assert_eq!(look(std::iter::repeat_n(alone, 300)), Some((NOBODY_STAYS_MS, Parting::Deserted)));
    }
}
