//! The authority where Kubernetes says who should be a member.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{DiscoveryCounts, EventCounts, Snapshot, Snapshots};
use crate::registry::Registry;
use crate::{Authority, AuthorityError, Beat, Keeper, Roster};

/// A keeper that goes by what Kubernetes wants:
///
/// - whoever is not wanted does not become a member; a member that is not wanted any more leaves when its pod is told to end;
/// - a member that is wanted stays one, however long its pod is away;
/// - one that is not, whose pod is gone and whose lease has ended, is taken out.
#[derive(Debug)]
pub struct Discovered<R> {
    keeper: Keeper<R>,
    snapshots: Snapshots,
    counts: Arc<EventCounts>,
}

impl<R: Registry> Discovered<R> {
    /// Keeps what is in the keeper's registry. `counts` are of what the snapshots are made from.
    pub fn new(keeper: Keeper<R>, snapshots: Snapshots, counts: Arc<EventCounts>) -> Self {
        Self { keeper, snapshots, counts }
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, AuthorityError> {
        self.snapshots.borrow().clone().map_err(AuthorityError::Unreachable)
    }

    async fn beat(&self, mut beat: Beat, known: Option<Arc<Roster>>) -> Result<Arc<Roster>, AuthorityError> {
        let snapshot = self.snapshot()?;
        self.keeper.raise_epochs_to(snapshot.generation());
        let node = &mut beat.seat.node;
        if node.zone.is_none() {
            node.zone = snapshot.pod(&node.name).and_then(|pod| pod.zone.clone());
        }
        if !snapshot.wants(&node.name) {
            let roster = Authority::roster(&self.keeper, known.clone()).await?;
            if roster.find(&node.name).is_none() {
                let has_pod = snapshot.pod(&node.name).is_some();
                return if has_pod { Ok(roster) } else { Err(AuthorityError::NoPod(node.name.clone())) };
            }
        }
        Authority::beat(&self.keeper, beat, known).await
    }

    async fn retire(&self, name: &str) -> Result<Arc<Roster>, AuthorityError> {
        let snapshot = self.snapshot()?;
        if snapshot.wants(name) {
            let set = snapshot.statefulset();
            return Err(AuthorityError::Wanted(set.map_or_else(
                || "delete its pod, or scale its Deployment".to_owned(),
                |set| format!("kubectl scale statefulset {set} --replicas=N takes the last pods away"),
            )));
        }
        Authority::retire(&self.keeper, name).await
    }

    async fn sweep(&self, now_ms: u64) -> Result<Vec<String>, AuthorityError> {
        let snapshot = self.snapshot()?;
        self.keeper.raise_epochs_to(snapshot.generation());
        self.keeper.sweep_but(now_ms, |name| snapshot.wants(name) || snapshot.pod(name).is_some()).await
    }
}

impl<R: Registry> Authority for Discovered<R> {
    fn beat(
        &self,
        beat: Beat,
        known: Option<Arc<Roster>>,
    ) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(self.beat(beat, known))
    }

    fn roster(&self, known: Option<Arc<Roster>>) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Authority::roster(&self.keeper, known)
    }

    fn retire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(self.retire(name))
    }

    fn release<'a>(&'a self, name: &'a str, incarnation: u64) -> BoxFuture<'a, Result<(), AuthorityError>> {
        self.keeper.release(name, incarnation)
    }

    fn sweep(&self, now_ms: u64) -> BoxFuture<'_, Result<Vec<String>, AuthorityError>> {
        Box::pin(self.sweep(now_ms))
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let mut snapshots = self.snapshots.clone();
        snapshots.mark_unchanged();
        let kept = self.keeper.changed();
        Box::pin(async move {
            tokio::select! {
                () = kept => {}
                // Where nobody tells of snapshots any more, the other way is left.
                Ok(()) = snapshots.changed() => {}
            }
        })
    }

    fn discovery(&self) -> Option<DiscoveryCounts> {
        let peers = self.snapshots.borrow().as_ref().map_or(0, |snapshot| snapshot.peers());
        Some(DiscoveryCounts { peers, events: self.counts.get() })
    }
}
