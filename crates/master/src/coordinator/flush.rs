//! Forgetting everything, on every node.

use annulus_protocol::{ErrorCode, Problem, Version};
use futures_util::future::join_all;

use super::{Context, Coordinator, MAX_ATTEMPTS};
use crate::hop::HopError;
use crate::route::Route;

impl Coordinator {
    /// Has every node forget what was written up to now: nothing of it is ever shown again, whoever still holds a copy, because
    /// a flush raises the floor of every key.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where a node could not be told: it may still show what the others have forgotten.
    pub async fn flush(&self, context: &Context) -> Result<(), Problem> {
        let version = self.next_version();
        for _ in 0..MAX_ATTEMPTS {
            let route = self.fleet.route();
            let missed = self.flush_nodes(&route, version, context).await;
            if self.fleet.route().placement().roster().revision() != route.placement().roster().revision() {
                continue;
            }
            let Some((node, error)) = missed else { return Ok(()) };
            let node = &route.placement().nodes()[node].seat.node.name;
            return Err(Problem::new(
                ErrorCode::Unavailable,
                format!(
                    "{node} could not be told to flush ({error}); what it holds alone may still be shown, so try again"
                ),
            ));
        }
        Err(Self::contended())
    }

    /// Tells all nodes; gives back one that was not reached.
    async fn flush_nodes(
        &self,
        route: &Route,
        version: Version,
        context: &Context,
    ) -> Option<(usize, HopError)> {
        let placed = route.placement().nodes().iter().enumerate();
        let alive = placed.filter(|(_, placed)| placed.is_alive).map(|(node, _)| node);
        let told = alive.map(|node| async move {
            let ticket = route.sent(node);
            let result = route.hop().flush(node, version, Self::call(context)).await;
            match &result {
                Ok(()) => route.answered(ticket),
                Err(error) => route.failed(ticket, error),
            }
            (node, result)
        });
        join_all(told).await.into_iter().find_map(|(node, result)| Some((node, result.err()?)))
    }
}
