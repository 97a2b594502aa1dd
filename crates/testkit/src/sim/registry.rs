//! The registry as one host reaches it: it may be cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_cluster::registry::{Keeper, MemoryRegistry};
use annulus_cluster::{Authority, AuthorityError, Beat, Roster};
use futures_util::future::BoxFuture;

use super::net::SimNet;

/// How long the registry takes to answer.
const LATENCY: Duration = Duration::from_millis(3);
/// How long one who is cut off waits before giving up.
const PATIENCE: Duration = Duration::from_millis(200);

/// The authority over a link that may be cut.
pub(super) struct Linked {
    pub(super) keeper: Keeper<MemoryRegistry>,
    pub(super) is_cut: Arc<AtomicBool>,
    /// Of the program that asks.
    pub(super) net: SimNet,
}

impl Linked {
    async fn cross(&self) -> Result<(), AuthorityError> {
        self.net.while_alive().await;
        if self.is_cut.load(Ordering::Relaxed) {
            tokio::time::sleep(PATIENCE).await;
            return Err(AuthorityError::Unreachable("cut off".to_owned()));
        }
        tokio::time::sleep(LATENCY).await;
        self.net.while_alive().await;
        Ok(())
    }
}

impl Authority for Linked {
    fn beat(
        &self,
        beat: Beat,
        known: Option<Arc<Roster>>,
    ) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(async move {
            self.cross().await?;
            Authority::beat(&self.keeper, beat, known).await
        })
    }

    fn roster(&self, known: Option<Arc<Roster>>) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(async move {
            self.cross().await?;
            Authority::roster(&self.keeper, known).await
        })
    }

    fn retire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(async move {
            self.cross().await?;
            Authority::retire(&self.keeper, name).await
        })
    }

    fn release<'a>(&'a self, name: &'a str, incarnation: u64) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(async move {
            self.cross().await?;
            Authority::release(&self.keeper, name, incarnation).await
        })
    }

    fn sweep(&self, now_ms: u64) -> BoxFuture<'_, Result<Vec<String>, AuthorityError>> {
        Box::pin(async move {
            self.cross().await?;
            Authority::sweep(&self.keeper, now_ms).await
        })
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let changed = self.keeper.changed();
        let latency = self.net.own_latency();
        Box::pin(async move {
            changed.await;
            tokio::time::sleep(latency).await;
        })
    }
}
