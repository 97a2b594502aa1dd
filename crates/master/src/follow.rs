//! Follows the authority: learns of every new roster, and takes note of who is dead.

use std::sync::Arc;
use std::time::Duration;

use annulus_service::admin::Readiness;

use crate::Node;

/// How often the authority is asked at least, whether it has told of a change or not: what it tells may be lost.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Follows until cancelled from outside. The master is ready once it has seen somebody to route to, and stays so: where the
/// authority is away, the last roster goes on.
pub(crate) async fn follow(node: Arc<Node>, readiness: Readiness) {
    let fleet = &node.coordinator.fleet;
    // Observations of leases that are farther apart say nothing.
    let interval = POLL_INTERVAL.min(node.lease_ttl / 5);
    let mut away = false;
    let mut last_sweep_ms = 0;
    loop {
        let changed = node.authority.changed();
        let known = Arc::clone(fleet.route().placement().roster());
        match node.authority.roster(Some(Arc::clone(&known))).await {
            Ok(roster) => {
                if away {
                    tracing::info!("the membership authority answers again");
                }
                away = false;
                fleet.adopt(&roster);
            }
            Err(error) => {
                if !away {
                    tracing::warn!(%error, "cannot learn who the members are; going on with the last roster");
                }
                away = true;
            }
        }
        if fleet.route().placement().roster().base().iter().next().is_some() && !readiness.is_ready() {
            readiness.set_ready();
        }
        let now_ms = node.clock.now_ms();
        if now_ms >= last_sweep_ms + interval.as_millis() as u64 {
            last_sweep_ms = now_ms;
            match node.authority.sweep(now_ms).await {
                Ok(expired) => {
                    for name in expired {
                        tracing::warn!(node = name, "its lease has ended: it leaves the ring");
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot look for members whose lease has ended"),
            }
        }
        tokio::select! {
            biased;
            () = changed => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}
