//! What a running master takes over of other settings.

use std::sync::Arc;

use annulus_service::config::Settings;

pub(crate) use annulus_service::reload::at_each_hangup;

use crate::Node;
use crate::coordinator::Ways;
use crate::policy::Policy;
use crate::routing::gutter::Gutter;

impl Node {
    /// Goes by these settings from now on, as far as that needs no restart. Requests under way end as they began.
    ///
    /// # Errors
    /// Says what is wrong with them; then nothing has changed.
    pub(crate) fn take_over(&self, settings: &Settings) -> Result<(), String> {
        let before = self.policy.load_full();
        let hops = || (self.gutter_hops)();
        let gutter = Gutter::new(&settings.cluster, before.gutter.as_ref(), &self.coordinator, hops);
        let gutter = gutter.map_err(|error| error.to_string())?;
        let policy = Policy::new(settings, Some(&before), gutter, self.clock.now_us());
        // Nothing can fail from here on.
        self.policy.store(Arc::new(policy));
        self.coordinator.ways.store(Arc::new(ways(settings)));
        self.coordinator.fleet.judge_by(&settings.cluster);
        self.server_limits.set(&settings.server);
        self.bodies.set_timeout(settings.server.body_timeout);
        Ok(())
    }
}

/// What the settings say of how copies are asked.
pub(crate) fn ways(settings: &Settings) -> Ways {
    Ways { hedge_after: settings.cluster.hedge_after, zone: settings.master.zone.clone() }
}
