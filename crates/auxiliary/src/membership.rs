//! Being a member: says so again and again, follows the roster, and leaves in good order.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Authority, AuthorityError, BeatError, Roster};
use annulus_service::admin::Readiness;
use tokio_util::sync::CancellationToken;

use crate::Node;
use crate::members::Members;

/// How often one who waits to be let in asks again.
const KNOCK_INTERVAL: Duration = Duration::from_millis(200);

/// A node's membership.
pub(crate) struct Member {
    pub(crate) node: Arc<Node>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) readiness: Readiness,
    pub(crate) lease_ttl: Duration,
    pub(crate) drain_timeout: Duration,
}

impl Member {
    /// Joins, stays, and after `shutdown` hands everything over; returns when that is done or its time is up.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Some(members) = &self.node.members else { return };
        tokio::select! {
            biased;
            () = self.stay(members) => return self.say_goodbye(members).await,
            () = shutdown.cancelled() => {}
        }
        if self.drain_timeout.is_zero() {
            return self.say_goodbye(members).await;
        }
        let entries = self.node.copies.stats().items;
        let is_only_one = members.roster().is_none_or(|roster| roster.members().len() <= 1);
        if is_only_one {
            if entries > 0 {
                tracing::warn!(entries, "no other node is there to take over what this one holds");
            }
            return;
        }
        tracing::info!(entries, "leaving: handing over what this node holds");
        members.leave();
        if tokio::time::timeout(self.drain_timeout, self.stay(members)).await.is_err() {
            let left = self.node.progress.show().left;
            tracing::warn!(
                left,
                drain_timeout_ms = self.drain_timeout.as_millis() as u64,
                "could not hand everything over in time: these entries have a copy less until others make up for it"
            );
        }
        self.say_goodbye(members).await;
    }

    /// Beats for as long as this node is a member or wants to be one.
    async fn stay(&self, members: &Members) {
        let mut trouble = String::new();
        let mut was_member = members.standing().is_some_and(|standing| standing.me.is_some());
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
                    if has_left(members, &known, was_member) {
                        return;
                    }
                    was_member |= known.has(members.name(), members.incarnation());
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
            let is_member = members.standing().is_some_and(|standing| standing.me.is_some());
            let wait = if is_member && trouble.is_empty() { self.lease_ttl / 5 } else { KNOCK_INTERVAL };
            tokio::select! {
                biased;
                () = members.poke.notified() => {}
                () = changed => {}
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

/// Whether the node was a leaver and all have settled without it.
fn has_left(members: &Members, roster: &Roster, was_member: bool) -> bool {
    members.is_leaving() && was_member && !roster.has(members.name(), members.incarnation())
}
