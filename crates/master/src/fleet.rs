//! The auxiliaries as this master sees them: the newest roster it knows, as a route.

use std::sync::Arc;

use annulus_cluster::{HealthSettings, Mechanisms, Placement, Roster};
use annulus_ring::RingError;
use annulus_service::config::ClusterSettings;
use annulus_service::net::Clock;
use parking_lot::{Mutex, RwLock};

use crate::hop::Hop;
use crate::route::Route;

/// Makes the hop to the nodes of a placement.
pub trait Hops: Send + Sync + 'static {
    /// A hop whose indices are those of `placement`; connections to nodes that stay are kept.
    fn reach(&self, placement: &Placement) -> Arc<dyn Hop>;
}

/// The newest route. A roster replaces it only by a later one.
pub struct Fleet {
    route: RwLock<Arc<Route>>,
    adopting: Mutex<()>,
    hops: Box<dyn Hops>,
    mechanisms: Mechanisms,
}

impl Fleet {
    /// A fleet of the roster's nodes, all of them taken to be up.
    ///
    /// # Errors
    /// Where the ring cannot be laid out.
    pub fn new(
        roster: Roster,
        settings: &ClusterSettings,
        hops: Box<dyn Hops>,
        clock: Arc<dyn Clock>,
        mechanisms: Mechanisms,
    ) -> Result<Self, RingError> {
        let settings = health_settings(settings);
        let placement = Placement::new(Arc::new(roster), None, mechanisms)?;
        let hop = hops.reach(&placement);
        let route = RwLock::new(Arc::new(Route::first(placement, hop, settings, clock)));
        Ok(Self { route, adopting: Mutex::new(()), hops, mechanisms })
    }

    /// Judges the nodes by other settings from now on.
    pub fn judge_by(&self, settings: &ClusterSettings) {
        let _one_at_a_time = self.adopting.lock();
        self.route().judge_by(health_settings(settings));
    }

    /// The newest route.
    pub fn route(&self) -> Arc<Route> {
        Arc::clone(&self.route.read())
    }

    /// Goes by a roster from now on, if it is later than the one known. Returns whether it is.
    pub fn adopt(&self, roster: &Arc<Roster>) -> bool {
        let _one_at_a_time = self.adopting.lock();
        let route = self.route();
        let known = route.placement().roster();
        if roster.revision() <= known.revision() {
            return false;
        }
        let placement = match Placement::new(Arc::clone(roster), Some(route.placement()), self.mechanisms) {
            Ok(placement) => placement,
            Err(error) => {
                tracing::error!(%error, "cannot lay out the ring of a new roster; going on with the last one");
                return false;
            }
        };
        if roster.epoch() != known.epoch() {
            let names: Vec<_> = roster.current().map(|seat| seat.node.name.as_str()).collect();
            tracing::info!(
                epoch = roster.epoch(),
                settled = roster.is_settled(),
                nodes = names.join(","),
                "goes by a new view"
            );
        }
        let hop = self.hops.reach(&placement);
        *self.route.write() = Arc::new(route.next(placement, hop));
        true
    }
}

fn health_settings(settings: &ClusterSettings) -> HealthSettings {
    HealthSettings {
        breaker_failures: settings.breaker_failures,
        health_check_interval_ms: settings.health_check_interval.as_millis() as u64,
        probe_interval_ms: settings.probe_interval.as_millis() as u64,
    }
}
