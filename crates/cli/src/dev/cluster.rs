//! The cluster: bind everything, build everything on the addresses that came of it, run everything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use annulus_auxiliary::Joining;
use annulus_cluster::Roster;
use annulus_master::{BuildError, DEFAULT_REPLICAS};
use annulus_protocol::Secret;
use annulus_service::config::{ClusterSettings, Route, Settings};
use annulus_service::net::SystemListener;
use annulus_service::reload::Source;
use annulus_service::{Listener as _, Net as _, SystemNet, Workers};
use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::refresher::{self, Example};
use crate::failure::Usage;
use crate::membership::{self, Known, Membership};
use crate::ports::Ports;
use crate::serve::{bind, build_auxiliary, build_master, random_seed};

const ELSEWHERE: &str = "stop the cluster or program that uses it, or move this cluster with --port-base N: masters \
                         go to N, N+1, …, auxiliaries to N+101, N+102, … and the refresher to N+200; 0 takes any free ports";

/// How long the cluster may take to form before the user is told so, and how often it is looked at.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How many of what, and where.
pub(crate) struct Plan {
    pub(crate) masters: u16,
    pub(crate) auxiliaries: u16,
    pub(crate) has_refresher: bool,
    pub(crate) ports: Ports,
}

/// A node for those who want to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) role: &'static str,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    /// Bytes for entries; a master keeps none.
    pub(crate) memory: Option<usize>,
    /// Where it speaks memcached and nothing else.
    pub(crate) memcached: Option<SocketAddr>,
}

/// All nodes have their ports, none is built.
pub(crate) struct Cluster {
    masters: Vec<Bound>,
    auxiliaries: Vec<Bound>,
    refresher: Option<(Bound, Example)>,
    settings: Settings,
}

/// A node with its port, its clock and nothing else yet.
pub(super) struct Bound {
    pub(super) place: Place,
    pub(super) net: SystemNet,
    pub(super) listener: SystemListener,
    memcached: Option<SystemListener>,
}

/// All nodes serve.
pub(crate) struct Running {
    places: Vec<Place>,
    masters: JoinSet<()>,
    auxiliaries: JoinSet<()>,
    refresher: JoinSet<()>,
    stop_auxiliaries: CancellationToken,
}

impl Cluster {
    /// Binds every port first, so that a port in use is known before anything runs.
    pub(crate) async fn bind(plan: &Plan, settings: &Settings) -> Result<Self> {
        let host = &settings.server.host;
        let memory = Some(settings.auxiliary.memory);
        let (mut masters, mut auxiliaries) = (Vec::new(), Vec::new());
        for number in 1..=plan.masters {
            let name = format!("master-{number}");
            let bound = Bound::new("master", name, host, plan.ports.master(number), None).await?;
            masters.push(bound.with_memcached(host, plan.ports.master_memcached(number)).await?);
        }
        for number in 1..=plan.auxiliaries {
            let name = format!("aux-{number}");
            let bound = Bound::new("auxiliary", name, host, plan.ports.auxiliary(number), memory).await?;
            auxiliaries.push(bound.with_memcached(host, plan.ports.auxiliary_memcached(number)).await?);
        }
        let refresher = if plan.has_refresher {
            let (name, port) = ("refresher-1".to_owned(), plan.ports.refresher());
            Some((Bound::new("refresher", name, host, port, None).await?, Example::bind().await?))
        } else {
            None
        };
        let mut settings = settings.clone();
        settings.cluster.auxiliaries.clear();
        settings.cluster.secret = Some(random_secret());
        // All nodes stop together, so there is nobody to hand anything over to.
        settings.auxiliary.drain_timeout = Duration::ZERO;
        Ok(Self { masters, auxiliaries, refresher, settings })
    }

    /// Builds and runs every node, each with its own clock, metrics and seed; what they share is the registry of members.
    /// `shutdown` stops the refresher and the masters, and when their last request is answered the auxiliaries.
    pub(crate) fn start(self, source: &Source, shutdown: &CancellationToken) -> Result<Running> {
        let Self { masters: bound_masters, auxiliaries: bound_auxiliaries, refresher, settings } = self;
        check_replicas(&settings.cluster, bound_auxiliaries.len())?;
        let bound = bound_masters.iter().chain(&bound_auxiliaries);
        let bound = bound.chain(refresher.as_ref().map(|(bound, _)| bound));
        let places: Vec<_> = bound.map(|bound| bound.place.clone()).collect();
        let urls = bound_masters.iter().map(|bound| bound.place.address.to_string()).collect();
        let registry = membership::memory_registry(&SystemNet::new().clock());
        let secret = Secret::new(settings.cluster.secret.as_deref().unwrap_or_default())?;
        let stop_auxiliaries = CancellationToken::new();
        let (mut masters, mut auxiliaries) = (JoinSet::new(), JoinSet::new());
        for Bound { place, net, listener, memcached } in bound_auxiliaries {
            let joining = Joining {
                authority: membership::keeper(registry.clone(), &settings.cluster),
                address: place.address.to_string(),
                secret: secret.clone(),
            };
            let folder = settings.auxiliary.backup_dir.as_deref().map(|all| Path::new(all).join(&place.name));
            let node = build_auxiliary(
                place.name,
                &settings,
                &net,
                Some(Membership { joining, keeping: None }),
                folder.as_deref(),
                Workers::ambient(),
                source.clone(),
            )?;
            auxiliaries.spawn(node.run(listener, memcached, stop_auxiliaries.clone()));
        }
        for Bound { place, net, listener, memcached } in bound_masters {
            let known = Known {
                authority: membership::keeper(registry.clone(), &settings.cluster),
                roster: Roster::new(membership::layout(&settings.cluster)),
            };
            let master =
                build_master(place.name, &settings, &net, known, Workers::ambient(), source.clone())?;
            masters.spawn(master.run(listener, memcached, shutdown.clone()));
        }
        let refresher = match refresher {
            Some((bound, example)) => refresher::start(bound, example, &settings, urls, source, shutdown)?,
            None => JoinSet::new(),
        };
        Ok(Running { places, masters, auxiliaries, refresher, stop_auxiliaries })
    }
}

/// A cluster whose size is known is told at once that it is too small.
fn check_replicas(cluster: &ClusterSettings, auxiliaries: usize) -> Result<()> {
    let replicas = cluster.replicas.unwrap_or(DEFAULT_REPLICAS.min(auxiliaries as u32));
    if cluster.route != Route::Replicated && replicas as usize > auxiliaries {
        return Err(Usage(BuildError::Replicas(replicas, auxiliaries).to_string()).into());
    }
    Ok(())
}

/// A secret that lives as long as this process: 256 bits from the system's randomness.
fn random_secret() -> String {
    [(); 4].map(|()| format!("{:016x}", random_seed())).concat()
}

impl Bound {
    async fn new(
        role: &'static str,
        name: String,
        host: &str,
        port: u16,
        memory: Option<usize>,
    ) -> Result<Self> {
        let net = SystemNet::new();
        let listener =
            bind(&net, host, port, ELSEWHERE).await.with_context(|| format!("cannot start {name}"))?;
        let address = reachable(listener.local_addr()?);
        Ok(Self {
            place: Place { role, name, address, memory, memcached: None },
            net,
            listener,
            memcached: None,
        })
    }

    async fn with_memcached(mut self, host: &str, port: u16) -> Result<Self> {
        let listener = bind(&self.net, host, port, ELSEWHERE).await;
        let listener = listener.with_context(|| format!("cannot start {}", self.place.name))?;
        self.place.memcached = Some(reachable(listener.local_addr()?));
        Ok(Self { memcached: Some(listener), ..self })
    }
}

impl Running {
    /// Where every node is, masters first.
    pub(crate) fn places(&self) -> &[Place] {
        &self.places
    }

    /// Waits until every master knows all auxiliaries and they hold what they should; `false` where that takes too long.
    pub(crate) async fn has_settled(&self) -> bool {
        let of_role = |role| self.places.iter().filter(move |place| place.role == role);
        let (masters, auxiliaries) = (of_role("master"), of_role("auxiliary").count());
        let all_have = async {
            for master in masters {
                while !knows_all(master, auxiliaries).await {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            }
        };
        tokio::time::timeout(SETTLE_LIMIT, all_have).await.is_ok()
    }

    /// Completes once shutdown was asked for and every node has stopped.
    pub(crate) async fn finished(mut self) -> Result<()> {
        while let Some(ended) = self.refresher.join_next().await {
            ended.context("the refresher failed; this is a bug: please report it")?;
        }
        while let Some(ended) = self.masters.join_next().await {
            ended.context("a master failed; this is a bug: please report it")?;
        }
        self.stop_auxiliaries.cancel();
        while let Some(ended) = self.auxiliaries.join_next().await {
            ended.context("an auxiliary failed; this is a bug: please report it")?;
        }
        Ok(())
    }
}

async fn knows_all(master: &Place, auxiliaries: usize) -> bool {
    let Ok(client) = annulus_client::Client::new(&format!("http://{}", master.address)) else { return false };
    client.nodes().await.is_ok_and(|known| known.settled && known.nodes.len() == auxiliaries)
}

/// Nodes that listen everywhere are reached over loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_reached_over_loopback() {
        let reachable = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(reachable("0.0.0.0:80"), "127.0.0.1:80");
        assert_eq!(reachable("[::]:80"), "[::1]:80");
        assert_eq!(reachable("10.0.0.1:80"), "10.0.0.1:80");
    }
}
