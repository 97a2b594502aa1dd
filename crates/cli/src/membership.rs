//! Which authority the settings name: a fixed list, Redis, Kubernetes, the masters, or none.

mod kubernetes;

use std::sync::Arc;

use annulus_auxiliary::{HttpAuthority, Joining, Keeping};
use annulus_cluster::{
    Authority, Keeper, KeeperSettings, Layout, MemoryRegistry, Node, RedisRegistry, RedisSettings, Registry,
    Roster, StaticAuthority, SteadyClock,
};
use annulus_master::DEFAULT_REPLICAS;
use annulus_protocol::Secret;
use annulus_service::SystemNet;
use annulus_service::config::{ClusterSettings, Route, Settings};
use annulus_service::net::{Clock, Net as _};
use anyhow::Result;

use crate::advertise;
use crate::failure::Usage;
use crate::serve::random_seed;

/// What a master starts with: who knows the members, and the first roster that it goes by.
pub(crate) struct Known {
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) roster: Roster,
}

/// How an auxiliary becomes a member, and what it keeps for others.
pub(crate) struct Membership {
    pub(crate) joining: Joining,
    pub(crate) keeping: Option<Keeping>,
}

/// How a master learns who the auxiliaries are. Nobody is waited for, so it starts while Redis or Kubernetes is away.
pub(crate) async fn of_master(settings: &Settings, net: &SystemNet) -> Result<Known> {
    let cluster = &settings.cluster;
    if !cluster.auxiliaries.is_empty() {
        let roster = annulus_master::fixed_list(cluster).map_err(|error| Usage(error.to_string()))?;
        return Ok(Known { authority: Arc::new(StaticAuthority::from(roster.clone())), roster });
    }
    let roster = Roster::new(layout(cluster));
    if let Some(url) = &cluster.redis {
        secret(cluster)?;
        tracing::info!("the members are kept in Redis (cluster.redis)");
        return Ok(Known { authority: keeper(redis(url, cluster)?, cluster), roster });
    }
    if cluster.kubernetes.label_selector.is_some() {
        let told = kubernetes::watch(cluster, net, secret(cluster)?).await?;
        return Ok(Known { authority: told.authority(cluster), roster });
    }
    if cluster.secret.is_none() {
        let text = "a master needs auxiliaries. Either list them, with --auxiliaries a=10.0.0.1:3001,b=10.0.0.2:3001 \
                    (or ANNULUS_CLUSTER__AUXILIARIES); or let them register: give all nodes one secret in \
                    ANNULUS_CLUSTER__SECRET, such as the output of `openssl rand -hex 32`, and --redis HOST:PORT, or each \
                    auxiliary this master with --master-address, or let Kubernetes say who they are with \
                    cluster.kubernetes; or run a whole cluster with `annulus dev`";
        return Err(Usage(text.to_owned()).into());
    }
    secret(cluster)?;
    tracing::info!(
        "this master keeps the members itself, in its memory: auxiliaries register through it. Only one master can do so; \
         for more of them set cluster.redis on all nodes"
    );
    Ok(Known { authority: in_memory(&net.clock(), cluster), roster })
}

/// How an auxiliary becomes a member; `None` where it stands alone. `port` is the one it listens on.
pub(crate) async fn of_auxiliary(
    settings: &Settings,
    net: &SystemNet,
    name: &str,
    port: u16,
) -> Result<Option<Membership>> {
    let (cluster, own) = (&settings.cluster, &settings.auxiliary);
    if !cluster.auxiliaries.is_empty() {
        return Ok(None);
    }
    let mut keeping = None;
    let (authority, towards) = if let Some(url) = &cluster.redis {
        secret(cluster)?;
        (keeper(redis(url, cluster)?, cluster), advertise::host_of_redis(url))
    } else if cluster.kubernetes.label_selector.is_some() {
        let told = kubernetes::watch(cluster, net, secret(cluster)?).await?;
        keeping = Some(told.keeping(name, memory_clock(&net.clock())));
        (told.authority(cluster), kubernetes::Told::towards())
    } else if let Some(first) = own.master_address.first() {
        (through_masters(&own.master_address, net, secret(cluster)?)?, advertise::host_of_master(first))
    } else {
        tracing::warn!(
            "this auxiliary stands alone: it serves masters that list it in cluster.auxiliaries, and a restart forgets \
             what is in no snapshot. To make it a member, set cluster.redis, cluster.kubernetes or \
             auxiliary.master_address, and cluster.secret"
        );
        return Ok(None);
    };
    let address = advertise::address(settings, port, &towards).await?;
    let node = Node { zone: own.zone.clone(), ..Node::new(name, address.clone()) };
    node.check().map_err(|error| Usage(format!("this node cannot register: {error}")))?;
    tracing::info!(address, "others reach this node at");
    Ok(Some(Membership { joining: Joining { authority, address, secret: secret(cluster)? }, keeping }))
}

/// The authority of an auxiliary that registers through masters.
fn through_masters(masters: &[String], net: &SystemNet, secret: Secret) -> Result<Arc<dyn Authority>> {
    let authority = HttpAuthority::new(net, masters, secret, random_seed());
    Ok(Arc::new(authority.map_err(|error| Usage(error.to_string()))?))
}

/// A keeper of what is in this registry.
pub(crate) fn keeper(registry: impl Registry, cluster: &ClusterSettings) -> Arc<dyn Authority> {
    Arc::new(Keeper::new(registry, keeper_settings(cluster)))
}

fn keeper_settings(cluster: &ClusterSettings) -> KeeperSettings {
    KeeperSettings { lease_ttl: cluster.lease_ttl, layout: layout(cluster) }
}

/// The layout of a cluster that has yet to form.
pub(crate) fn layout(cluster: &ClusterSettings) -> Layout {
    let replicas = match cluster.route {
        Route::Replicated => Layout::ALL,
        Route::Sharded | Route::NearThenCluster => cluster.replicas.unwrap_or(DEFAULT_REPLICAS),
    };
    Layout { replicas, virtual_nodes: cluster.virtual_nodes }
}

/// A registry in this process, whose leases end by `clock`.
pub(crate) fn memory_registry(clock: &Arc<dyn Clock>) -> MemoryRegistry {
    MemoryRegistry::new(memory_clock(clock))
}

fn memory_clock(clock: &Arc<dyn Clock>) -> SteadyClock {
    let clock = Arc::clone(clock);
    Arc::new(move || clock.now_ms())
}

fn in_memory(clock: &Arc<dyn Clock>, cluster: &ClusterSettings) -> Arc<dyn Authority> {
    keeper(memory_registry(clock), cluster)
}

fn redis(url: &str, cluster: &ClusterSettings) -> Result<RedisRegistry> {
    let mut settings = RedisSettings::new(url);
    if let Some(prefix) = &cluster.redis_prefix {
        settings.prefix.clone_from(prefix);
    }
    Ok(RedisRegistry::new(settings).map_err(|error| Usage(format!("cluster.redis: {error}")))?)
}

fn secret(cluster: &ClusterSettings) -> Result<Secret> {
    let Some(text) = &cluster.secret else {
        let text = "cluster.secret is missing: give all masters and auxiliaries the same one, such as the output of \
                    `openssl rand -hex 32`, in ANNULUS_CLUSTER__SECRET or in the file, where `ps` does not show it";
        return Err(Usage(text.to_owned()).into());
    };
    Ok(Secret::new(text).map_err(|error| Usage(format!("cluster.secret: {error}")))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
    }

    async fn master(change: impl FnOnce(&mut Settings)) -> Result<Known> {
        of_master(&settings(change), &SystemNet::new()).await
    }

    async fn auxiliary(change: impl FnOnce(&mut Settings)) -> Result<Option<Membership>> {
        of_auxiliary(&settings(change), &SystemNet::new(), "aux-1", 3001).await
    }

    #[tokio::test]
    async fn with_redis_both_roles_need_the_secret_and_say_where_to_get_one() {
        let redis = |settings: &mut Settings| settings.cluster.redis = Some("redis://127.0.0.1:1".to_owned());
        let short = |settings: &mut Settings| {
            redis(settings);
            settings.cluster.secret = Some("short".to_owned());
        };
        for error in [
            master(redis).await.err(),
            auxiliary(redis).await.err(),
            master(short).await.err(),
            auxiliary(short).await.err(),
        ] {
            let text = error.expect("an error").to_string();
            assert!(text.contains("cluster.secret") && text.contains("openssl rand -hex 32"), "{text}");
        }
    }

    #[tokio::test]
    async fn with_redis_nobody_waits_for_it_to_answer() {
        let away = |settings: &mut Settings| {
            settings.cluster.redis = Some("redis://127.0.0.1:1".to_owned());
            settings.cluster.secret = Some(SECRET.to_owned());
        };
        assert_eq!(master(away).await.unwrap().roster.members(), []);
        assert_eq!(auxiliary(away).await.unwrap().unwrap().joining.address, "127.0.0.1:3001");
    }

    #[tokio::test]
    async fn an_auxiliary_registers_through_masters_where_it_is_told_of_them() {
        let told = |masters: &'static str| {
            move |settings: &mut Settings| {
                settings.auxiliary.master_address = vec![masters.to_owned()];
                settings.cluster.secret = Some(SECRET.to_owned());
            }
        };
        assert_eq!(auxiliary(told("127.0.0.1:1")).await.unwrap().unwrap().joining.address, "127.0.0.1:3001");
        let error = auxiliary(told("https://a")).await.err().unwrap();
        assert!(error.is::<Usage>() && error.to_string().contains("auxiliary.master_address"), "{error}");
    }

    #[tokio::test]
    async fn an_auxiliary_that_is_told_of_nobody_stands_alone() {
        assert!(auxiliary(|_| {}).await.unwrap().is_none());
        let listed = |settings: &mut Settings| settings.cluster.auxiliaries = vec!["a=h:1".to_owned()];
        assert!(auxiliary(listed).await.unwrap().is_none());
        assert_eq!(master(listed).await.unwrap().roster.members().len(), 1);
    }

    #[tokio::test]
    async fn a_master_that_nobody_could_join_says_what_to_do() {
        let error = master(|_| {}).await.err().unwrap().to_string();
        for way in
            ["--auxiliaries", "--redis", "cluster.kubernetes", "ANNULUS_CLUSTER__SECRET", "annulus dev"]
        {
            assert!(error.contains(way), "{error}");
        }
        let alone = master(|settings| settings.cluster.secret = Some(SECRET.to_owned())).await;
        assert_eq!(alone.unwrap().roster.layout(), Layout { replicas: 2, virtual_nodes: 4096 });
    }

    fn by_kubernetes(settings: &mut Settings) {
        settings.cluster.kubernetes.label_selector = Some("app=cache".to_owned());
        settings.cluster.secret = Some(SECRET.to_owned());
    }

    #[tokio::test]
    async fn where_kubernetes_cannot_be_asked_the_error_says_what_is_missing() {
        for error in [master(by_kubernetes).await.err(), auxiliary(by_kubernetes).await.err()] {
            let text = error.expect("no pod runs the tests").to_string();
            let says =
                if cfg!(feature = "kubernetes") { "KUBECONFIG" } else { "--features annulus/kubernetes" };
            assert!(text.contains(says), "{text}");
        }
    }

    #[tokio::test]
    async fn a_list_given_by_hand_switches_kubernetes_off() {
        let listed = |settings: &mut Settings| {
            by_kubernetes(settings);
            settings.cluster.auxiliaries = vec!["a=h:1".to_owned()];
        };
        assert_eq!(master(listed).await.unwrap().roster.members().len(), 1);
        assert!(auxiliary(listed).await.unwrap().is_none());
    }
}
