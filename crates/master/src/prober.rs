//! Checks the health of the fleet.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::Probe;
use annulus_service::telemetry::{TraceContext, TraceIds};

use crate::coordinator::Coordinator;
use crate::hop::{Call, HopError};

/// The longest that a health check waits for its answer.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// The longest that the prober sleeps: a failure of a request can make a node due at any time.
const PROBER_TICK: Duration = Duration::from_millis(100);

/// Checks the health of the fleet until cancelled from outside: often where a node failed, now and then where it answers.
pub(crate) async fn probe(coordinator: Arc<Coordinator>, ids: Arc<TraceIds>) {
    let mut ticks = tokio::time::interval(PROBER_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let route = coordinator.fleet.route();
        for Probe { node, ticket } in route.due() {
            let route = Arc::clone(&route);
            let call = Call { timeout: PROBE_TIMEOUT, trace: TraceContext::start(&ids) };
            tokio::spawn(async move {
                match route.hop().health(node, call).await {
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
}
