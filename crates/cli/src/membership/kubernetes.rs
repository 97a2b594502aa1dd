//! Members by Kubernetes: who is wanted from there, the roster from one of the pods.

#[cfg(feature = "kubernetes")]
pub(super) use self::built::watch;
#[cfg(not(feature = "kubernetes"))]
pub(super) use self::not_built::watch;

use std::sync::Arc;

use annulus_auxiliary::Keeping;
use annulus_cluster::discovery::{EventCounts, Snapshots};
use annulus_cluster::registry::{Home, HomeRegistry, Wire};
use annulus_cluster::{Authority, Discovered, Keeper, SteadyClock};
use annulus_service::config::ClusterSettings;

use super::keeper_settings;
use crate::serve::random_seed;

/// Where Kubernetes is reached from inside of it.
const KUBERNETES: &str = "kubernetes.default.svc:443";

/// What Kubernetes tells, and the way to the pod that keeps the roster.
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "only a build that can watch makes one"))]
pub(super) struct Told {
    snapshots: Snapshots,
    counts: Arc<EventCounts>,
    wire: Arc<dyn Wire>,
}

impl Told {
    pub(super) fn authority(&self, cluster: &ClusterSettings) -> Arc<dyn Authority> {
        let registry = HomeRegistry::new(Arc::clone(&self.wire), self.snapshots.clone());
        let keeper = Keeper::new(registry, keeper_settings(cluster));
        Arc::new(Discovered::new(keeper, self.snapshots.clone(), Arc::clone(&self.counts)))
    }

    /// What the auxiliary called `name` needs should it have to keep the roster.
    pub(super) fn keeping(&self, name: &str, clock: SteadyClock) -> Keeping {
        Keeping {
            home: Arc::new(Home::new(name, random_seed(), clock)),
            wire: Arc::clone(&self.wire),
            snapshots: self.snapshots.clone(),
        }
    }

    /// Towards whom a pod has the address at which others reach it.
    pub(super) fn towards() -> String {
        let of = |name| std::env::var(name).ok();
        let inside = of("KUBERNETES_SERVICE_HOST").zip(of("KUBERNETES_SERVICE_PORT"));
        inside.map_or_else(
            || KUBERNETES.to_owned(),
            |(host, port)| {
                let host = if host.contains(':') { format!("[{host}]") } else { host };
                format!("{host}:{port}")
            },
        )
    }
}

#[cfg(feature = "kubernetes")]
mod built {
    use std::sync::Arc;

    use annulus_auxiliary::HttpWire;
    use annulus_cluster::discovery::{Kubernetes, KubernetesSettings};
    use annulus_protocol::Secret;
    use annulus_service::SystemNet;
    use annulus_service::config::ClusterSettings;
    use anyhow::Result;

    use super::Told;
    use crate::failure::Usage;
    use crate::serve::random_seed;

    pub(in super::super) async fn watch(
        cluster: &ClusterSettings,
        net: &SystemNet,
        secret: Secret,
    ) -> Result<Told> {
        let given = &cluster.kubernetes;
        let selector = given.label_selector.clone().unwrap_or_default();
        let settings = KubernetesSettings {
            namespace: given.namespace.clone(),
            statefulset: given.statefulset.clone(),
            ..KubernetesSettings::new(selector, given.port)
        };
        let watched = Kubernetes::watch(&settings);
        let watched = watched.await.map_err(|error| Usage(format!("cluster.kubernetes: {error}")))?;
        tracing::info!(statefulset = given.statefulset, "Kubernetes says who the members are");
        let wire = Arc::new(HttpWire::new(net, secret, random_seed()));
        Ok(Told { snapshots: watched.snapshots(), counts: watched.counts(), wire })
    }
}

#[cfg(not(feature = "kubernetes"))]
mod not_built {
    use annulus_protocol::Secret;
    use annulus_service::SystemNet;
    use annulus_service::config::ClusterSettings;
    use anyhow::Result;

    use super::Told;
    use crate::failure::Usage;

    pub(in super::super) async fn watch(_: &ClusterSettings, _: &SystemNet, _: Secret) -> Result<Told> {
        let text = "cluster.kubernetes is set, and this program was built without it: take the container image, or build with \
                    `cargo build --features annulus/kubernetes`; or keep the members in Redis with cluster.redis";
        Err(Usage(text.to_owned()).into())
    }
}
