//! The gutter: auxiliaries that stand on no ring and take the keys whose owners are all out of reach, for a short time.
//!
//! It is a small cluster of its own, of one copy, so whatever can be done to a key can be done there. What is written there
//! lives for `cluster.gutter_ttl` at most, and is not read any more once an owner answers.

use std::sync::Arc;

use annulus_cluster::{Layout, Mechanisms, Roster, View};
use annulus_protocol::value::StoredValue;
use annulus_service::config::ClusterSettings;
use annulus_service::net::Clock;
use arc_swap::ArcSwap;

use crate::BuildError;
use crate::coordinator::{Change, Coordinator, Decision, Doubts, Ways};
use crate::fleet::{Fleet, Hops};
use crate::metrics::CopyMetrics;

/// A pool of nodes for keys that have none.
pub(crate) struct Gutter {
    pub(crate) coordinator: Coordinator,
    ttl_ms: u64,
    listed: Vec<String>,
}

impl Gutter {
    /// The pool that the settings name; `None` where they name none. `before` is taken over where it has the same nodes.
    ///
    /// # Errors
    /// Where the list is none, or one of its nodes stands on the ring besides.
    pub(crate) fn new(
        settings: &ClusterSettings,
        before: Option<&Arc<Self>>,
        like: &Coordinator,
        hops: impl FnOnce() -> Box<dyn Hops>,
    ) -> Result<Option<Arc<Self>>, BuildError> {
        if settings.gutter.is_empty() {
            return Ok(None);
        }
        let nodes = View::from_list(&settings.gutter).map_err(BuildError::Gutter)?.nodes().to_vec();
        if let Some(both) = View::from_list(&settings.auxiliaries).ok().and_then(|ring| {
            let on_ring = |name: &String| ring.nodes().iter().any(|node| node.name == *name);
            nodes.iter().map(|node| &node.name).find(|name| on_ring(name)).cloned()
        }) {
            return Err(BuildError::GutterOnRing(both));
        }
        let fleet = if let Some(before) = before.filter(|before| before.listed == settings.gutter) {
            before.coordinator.fleet.judge_by(settings);
            Arc::clone(&before.coordinator.fleet)
        } else {
            let layout = Layout { replicas: 1, virtual_nodes: settings.virtual_nodes };
            let roster = Roster::fixed(nodes, layout);
            let clock: Arc<dyn Clock> = Arc::clone(&like.clock);
            Arc::new(Fleet::new(roster, settings, hops(), clock, Mechanisms::default())?)
        };
        let coordinator = Coordinator {
            fleet,
            clock: Arc::clone(&like.clock),
            versions: Arc::clone(&like.versions),
            ways: ArcSwap::from_pointee(Ways { hedge_after: settings.hedge_after, zone: None }),
            metrics: CopyMetrics::clone(&like.metrics),
            doubts: Doubts::default(),
        };
        let ttl_ms = settings.gutter_ttl.as_millis() as u64;
        Ok(Some(Arc::new(Self { coordinator, ttl_ms, listed: settings.gutter.clone() })))
    }

    /// The same change, for a short time.
    pub(crate) fn capped(&self, change: Change) -> Change {
        let ttl_left_ms = Some(capped(change.ttl_left_ms, self.ttl_ms));
        Change { ttl_left_ms, ..change }
    }

    /// What decides about a key, for a short time.
    pub(crate) fn capping<R>(
        &self,
        mut decide: impl FnMut(Option<&StoredValue>) -> (Decision, R),
    ) -> impl FnMut(Option<&StoredValue>) -> (Decision, R) {
        move |current| match decide(current) {
            (Decision::Write(change), said) => (Decision::Write(self.capped(change)), said),
            kept @ (Decision::Keep, _) => kept,
        }
    }
}

fn capped(ttl_left_ms: Option<u64>, cap_ms: u64) -> u64 {
    ttl_left_ms.map_or(cap_ms, |left_ms| left_ms.min(cap_ms))
}

#[cfg(test)]
mod tests {
    use super::capped;

    #[test]
    fn a_time_to_live_is_cut_and_never_lengthened() {
        assert_eq!(capped(None, 10_000), 10_000);
        assert_eq!(capped(Some(60_000), 10_000), 10_000);
        assert_eq!(capped(Some(500), 10_000), 500);
    }
}
