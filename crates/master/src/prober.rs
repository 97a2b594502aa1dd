//! What a master does by itself: it checks the health of the fleet, and looks at keys in doubt.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::Probe;
use annulus_service::telemetry::TraceContext;

use crate::Node;
use crate::hop::HopError;
use crate::route::Route;

/// The longest that a health check waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest that the prober sleeps: a failure of a request can make a node due at any time.
const PROBER_TICK: Duration = Duration::from_millis(100);

/// Checks the health of the fleet until cancelled from outside: often where a node failed, now and then where it answers.
pub(crate) async fn probe(node: Arc<Node>) {
    let mut ticks = tokio::time::interval(PROBER_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        probe_due(&node.coordinator.fleet.route());
        let gutter = node.policy.load().gutter.clone();
        if let Some(gutter) = gutter {
            probe_due(&gutter.coordinator.fleet.route());
        }
    }
}

fn probe_due(route: &Arc<Route>) {
    for Probe { node, ticket } in route.due() {
        let route = Arc::clone(route);
        tokio::spawn(async move {
            match route.hop().health(node, PROBE_TIMEOUT).await {
                Ok(health) => match route.wrong_node(node, &health) {
                    None => route.answered(ticket),
                    Some(why) => {
                        tracing::warn!("{why}: check the addresses");
                        route.failed(ticket, &HopError::Unexpected(why));
                    }
                },
                Err(error) => route.failed(ticket, &error),
            }
        });
    }
}

/// Between two looks at keys in doubt, and how long one may take.
const RECONCILE_INTERVAL: Duration = Duration::from_millis(500);
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(1);

/// Looks at keys in doubt until cancelled from outside.
pub(crate) async fn reconcile(node: Arc<Node>) {
    let (coordinator, ids) = (&node.coordinator, &node.trace_ids);
    let mut ticks = tokio::time::interval(RECONCILE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if coordinator.doubts.len() > 0 {
            let deadline_us = coordinator.clock.now_us() + RECONCILE_TIMEOUT.as_micros() as u64;
            coordinator.reconcile(deadline_us, TraceContext::start(ids)).await;
        }
    }
}
