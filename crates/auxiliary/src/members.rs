//! Where this node stands in the cluster: which life it is in, by which roster it goes, and whom that lets in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annulus_cluster::{Beat, Duty, Mechanisms, Node, Placement, Roster, Seat, Stake};
use annulus_store::{FLOOR_BUCKETS, Role};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::{Notify, watch};

/// This node's side of the membership.
pub(crate) struct Members {
    node: Node,
    mechanisms: Mechanisms,
    state: RwLock<State>,
    /// Something is to be said to the authority at once.
    pub(crate) poke: Notify,
    changed: watch::Sender<u64>,
}

struct State {
    incarnation: u64,
    standing: Option<Arc<Standing>>,
    settled: u64,
    leaving: bool,
    /// The floors that others handed over for the epoch that is being settled; they hold once it has settled. First those of
    /// all, then those of spares: whoever is the spare of a key from now on stands by what the one before has forgotten.
    inherited: Option<Vec<u64>>,
}

/// One roster, as seen from this node.
pub(crate) struct Standing {
    pub(crate) placement: Placement,
    /// This life's index in the placement; `None` where it is no member.
    pub(crate) me: Option<usize>,
    pub(crate) adopted_ms: u64,
    /// Whether all that an earlier epoch left behind is gone, of keys that the base does not give to this node. Shared by
    /// all rosters of one epoch: the one that was there when it began may not be the one that is there at its end.
    purged: Arc<AtomicBool>,
}

/// Why a call about a key is turned away.
pub(crate) enum Turned {
    /// The caller goes by a later roster than this node.
    Behind,
    /// The caller goes by an older roster than this one.
    Outdated(Arc<Roster>),
    /// What an earlier roster left behind of the key is not gone yet.
    Loading,
}

/// Held while a call about a key is carried out: no other roster is adopted meanwhile.
pub(crate) struct Admitted<'a> {
    state: RwLockReadGuard<'a, State>,
}

/// What came of a roster.
pub(crate) struct Adopted {
    /// The floors that hold from now on, as they were inherited.
    pub(crate) floors: Option<Vec<u64>>,
    /// Whether this life was a member and is none any more.
    pub(crate) is_expelled: bool,
}

impl Admitted<'_> {
    /// The number of the life that carries the call out.
    pub(crate) fn incarnation(&self) -> u64 {
        self.state.incarnation
    }

    /// What this node is to the key of this hash, for as long as the call takes.
    pub(crate) fn role(&self, hash: u64) -> Role {
        self.state.standing.as_ref().map_or(Role::Owner, |standing| standing.role(hash))
    }
}

impl Standing {
    pub(crate) fn epoch(&self) -> u64 {
        self.placement.epoch()
    }

    pub(crate) fn is_purged(&self) -> bool {
        self.purged.load(Ordering::Acquire)
    }

    pub(crate) fn set_purged(&self) {
        self.purged.store(true, Ordering::Release);
    }

    /// What this node has to do with the key of this hash; `None` where it is no member.
    pub(crate) fn stake(&self, hash: u64) -> Option<Stake> {
        self.me.map(|me| self.placement.stake(hash, me))
    }

    /// What this node is to the key of this hash; where it is no member, whatever it has forgotten counts.
    pub(crate) fn role(&self, hash: u64) -> Role {
        match self.me.map(|me| self.placement.duty(hash, me)) {
            None | Some(Duty::Owner) => Role::Owner,
            Some(Duty::Spare) => Role::Spare,
            Some(Duty::Between) => Role::Between,
        }
    }
}

impl Members {
    pub(crate) fn new(node: Node, incarnation: u64, mechanisms: Mechanisms) -> Self {
        let state = State { incarnation, standing: None, settled: 0, leaving: false, inherited: None };
        let (changed, _) = watch::channel(0);
        Self { node, mechanisms, state: RwLock::new(state), poke: Notify::new(), changed }
    }

    /// Lets a call about the key of this hash in, if its sender goes by the same roster. A call without an epoch comes from
    /// somebody who looks on.
    pub(crate) fn admit(&self, epoch: Option<u64>, hash: u64) -> Result<Admitted<'_>, Turned> {
        let state = self.state.read();
        if let Some(epoch) = epoch {
            let standing = state.standing.as_ref().ok_or(Turned::Behind)?;
            if self.mechanisms.epochs {
                check_epoch(standing, epoch)?;
            }
            let is_mine = || standing.stake(hash).is_some_and(|stake| stake.is_authority);
            let is_ready = standing.me.is_some() && (standing.is_purged() || is_mine());
            if !is_ready {
                return Err(Turned::Loading);
            }
        }
        Ok(Admitted { state })
    }

    /// Lets a call of another auxiliary in: as [`Self::admit`], for many keys.
    pub(crate) fn admit_peer(&self, epoch: u64) -> Result<Admitted<'_>, Turned> {
        let state = self.state.read();
        let standing = state.standing.as_ref().ok_or(Turned::Behind)?;
        check_epoch(standing, epoch)?;
        if standing.me.is_none() || !standing.is_purged() {
            return Err(Turned::Loading);
        }
        Ok(Admitted { state })
    }

    /// What to say to the authority.
    pub(crate) fn beat(&self) -> Beat {
        let state = self.state.read();
        let seat = Seat { node: self.node.clone(), incarnation: state.incarnation };
        Beat { seat, settled: state.settled, leaving: state.leaving }
    }

    pub(crate) fn roster(&self) -> Option<Arc<Roster>> {
        self.standing().map(|standing| Arc::clone(standing.placement.roster()))
    }

    pub(crate) fn standing(&self) -> Option<Arc<Standing>> {
        self.state.read().standing.clone()
    }

    pub(crate) fn incarnation(&self) -> u64 {
        self.state.read().incarnation
    }

    pub(crate) fn name(&self) -> &str {
        &self.node.name
    }

    pub(crate) fn address(&self) -> &str {
        &self.node.address
    }

    /// Tells of every roster adopted.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Goes by a roster from now on, if it is later than the one known. `None`: it is not.
    pub(crate) fn adopt(&self, roster: &Arc<Roster>, now_ms: u64) -> Option<Adopted> {
        let before = self.standing();
        let is_later = |known: &Option<Arc<Standing>>| {
            known.as_ref().is_none_or(|known| roster.revision() > known.placement.roster().revision())
        };
        if !is_later(&before) {
            return None;
        }
        let known = before.as_ref().map(|known| &known.placement);
        let placement = match Placement::new(Arc::clone(roster), known, self.mechanisms) {
            Ok(placement) => placement,
            Err(error) => {
                tracing::error!(%error, "cannot lay out the ring of a new roster; going on with the last one");
                return None;
            }
        };
        let mut state = self.state.write();
        let before = state.standing.clone();
        if !is_later(&before) {
            return None;
        }
        let name = &self.node.name;
        let me = placement.find(name).filter(|_| roster.has(name, state.incarnation));
        let same_epoch = before.as_ref().filter(|known| known.epoch() == roster.epoch());
        let was_member = before.as_ref().is_some_and(|known| known.me.is_some());
        let standing = Standing {
            me,
            adopted_ms: same_epoch.map_or(now_ms, |known| known.adopted_ms),
            purged: same_epoch
                .map_or_else(|| Arc::new(AtomicBool::new(me.is_none())), |known| Arc::clone(&known.purged)),
            placement,
        };
        let floors = if same_epoch.is_some() { None } else { state.inherited.take() };
        let is_complete =
            before.as_ref().is_some_and(|known| known.placement.roster().base() != roster.base());
        state.standing = Some(Arc::new(standing));
        drop(state);
        self.changed.send_replace(roster.revision());
        Some(Adopted { floors: floors.filter(|_| is_complete), is_expelled: was_member && me.is_none() })
    }

    /// Takes the floors that another member hands over for the epoch that is being settled.
    pub(crate) fn inherit(&self, epoch: u64, floors: &[u64]) -> Result<(), Turned> {
        let mut state = self.state.write();
        check_epoch(state.standing.as_ref().ok_or(Turned::Behind)?, epoch)?;
        let inherited = state.inherited.get_or_insert_with(|| vec![0; 2 * FLOOR_BUCKETS]);
        for (mine, theirs) in inherited.iter_mut().zip(floors) {
            *mine = (*mine).max(*theirs);
        }
        Ok(())
    }

    /// Starts a new life, which has forgotten all that this node held.
    pub(crate) fn start_new_life(&self, at_least: u64) {
        let mut state = self.state.write();
        state.incarnation = at_least.max(state.incarnation + 1);
        state.settled = 0;
        if let Some(standing) = &state.standing {
            let placement = standing.placement.clone();
            let adopted_ms = standing.adopted_ms;
            state.standing = Some(Arc::new(Standing {
                placement,
                me: None,
                adopted_ms,
                purged: Arc::new(AtomicBool::new(true)),
            }));
        }
    }

    pub(crate) fn report_settled(&self, epoch: u64) {
        self.state.write().settled = epoch;
        self.poke.notify_one();
    }

    /// From now on the node wants to leave.
    pub(crate) fn leave(&self) {
        self.state.write().leaving = true;
        self.poke.notify_one();
    }

    /// Whether the roster has this life leave.
    pub(crate) fn is_told_to_leave(&self, roster: &Roster) -> bool {
        let member = roster.find(self.name());
        member.is_some_and(|member| member.is_going() && member.seat.incarnation == self.incarnation())
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.state.read().leaving
    }

    /// Whether all have settled without this node, as it wanted.
    pub(crate) fn has_left(&self) -> bool {
        let state = self.state.read();
        state.leaving && state.standing.as_ref().is_some_and(|standing| standing.me.is_none())
    }
}

fn check_epoch(standing: &Standing, epoch: u64) -> Result<(), Turned> {
    match epoch.cmp(&standing.epoch()) {
        std::cmp::Ordering::Less => Err(Turned::Outdated(Arc::clone(standing.placement.roster()))),
        std::cmp::Ordering::Greater => Err(Turned::Behind),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use annulus_cluster::{Layout, Roster};

    use super::*;

    #[test]
    fn what_is_put_away_for_an_epoch_stays_so_when_a_later_roster_of_it_comes() {
        let node = |name: &str| Node::new(name, format!("{name}:1"));
        let seat = |name: &str| Seat { node: node(name), incarnation: 1 };
        let beat = |name: &str, settled| Beat { seat: seat(name), settled, leaving: false };
        let after = |roster: Roster, beat: &Beat| roster.beat(beat).unwrap().unwrap();
        let members = Members::new(node("a"), 1, Mechanisms::default());
        let alone = after(Roster::new(Layout { replicas: 2, virtual_nodes: 8 }), &beat("a", 0));
        let settled = after(alone.clone(), &beat("a", alone.epoch()));
        let joined = after(settled, &beat("b", 0));
        let reported = after(joined.clone(), &beat("b", joined.epoch()));
        assert_eq!(joined.epoch(), reported.epoch());

        members.adopt(&Arc::new(joined), 0);
        let before = members.standing().unwrap();
        assert!(!before.is_purged());
        members.adopt(&Arc::new(reported), 0);
        before.set_purged();
        assert!(members.standing().unwrap().is_purged());
    }
}
