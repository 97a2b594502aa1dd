//! The refresher of `dev`, and the upstream of its example.

use std::sync::Arc;

use annulus_refresher::{example, memory_store};
use annulus_service::admin::Readiness;
use annulus_service::config::Settings;
use annulus_service::net::SystemListener;
use annulus_service::reload::Source;
use annulus_service::{Doors, Listener as _, Net as _, Server, SystemNet, Workers};
use anyhow::Result;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cluster::Bound;
use crate::refresher;
use crate::serve::bind;

const ELSEWHERE: &str = "this machine has no free ports";

/// The upstream of the example, with its port.
pub(super) struct Example {
    net: SystemNet,
    listener: SystemListener,
}

impl Example {
    /// On any free port of loopback: only the refresher asks it.
    pub(super) async fn bind() -> Result<Self> {
        let net = SystemNet::new();
        let listener = bind(&net, "127.0.0.1", 0, ELSEWHERE).await?;
        Ok(Self { net, listener })
    }
}

/// Runs one replica until `shutdown`. Without datasets in the configuration it keeps the example fresh; without a Redis its
/// lease and its data lie in this process.
pub(super) fn start(
    bound: Bound,
    example: Example,
    settings: &Settings,
    masters: Vec<String>,
    source: &Source,
    shutdown: &CancellationToken,
) -> Result<JoinSet<()>> {
    let mut tasks = JoinSet::new();
    let mut settings = settings.clone();
    settings.refresher.masters = masters;
    let Bound { place, net, listener, .. } = bound;
    if settings.datasets.is_empty() {
        let address = example.listener.local_addr()?.to_string();
        settings.datasets = vec![example::dataset(&address)];
        let Example { net, listener } = example;
        let registry = prometheus::Registry::new();
        let server = Server::new(settings.server.clone(), net.clock(), Workers::ambient(), &registry)?;
        let routes = example::routes(net.clock());
        let doors = Doors::http(listener, 1, |_| routes.clone());
        tasks.spawn(server.run(doors, Readiness::default(), shutdown.clone()));
    }
    let store = match settings.refresher.redis {
        Some(_) => refresher::store(&settings, &net.clock())?,
        None => Arc::new(memory_store(&net.clock())),
    };
    let replica = refresher::build(place.name, &settings, &net, store, source.clone())?;
    tasks.spawn(replica.run(listener, shutdown.clone()));
    Ok(tasks)
}
