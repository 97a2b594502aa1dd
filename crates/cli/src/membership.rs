//! Which authority the settings name: a fixed list, Redis, the masters, or none.

use std::sync::Arc;

use annulus_auxiliary::{HttpAuthority, Joining};
use annulus_cluster::{
    Authority, Keeper, KeeperSettings, Layout, MemoryRegistry, Node, RedisRegistry, RedisSettings, Registry,
    Roster, StaticAuthority,
};
use annulus_master::DEFAULT_REPLICAS;
use annulus_protocol::Secret;
use annulus_service::SystemNet;
use annulus_service::config::{ClusterSettings, Route, Settings};
use annulus_service::net::Clock;
use anyhow::Result;

use crate::advertise;
use crate::failure::Usage;
use crate::serve::random_seed;

/// What a master starts with: who knows the members, and the first roster that it goes by.
pub(crate) struct Known {
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) roster: Roster,
}

/// How a master learns who the auxiliaries are. Nobody is asked yet, so it starts while Redis is away.
pub(crate) fn of_master(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Known> {
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
    if cluster.secret.is_none() {
        let text = "a master needs auxiliaries. Either list them, with --auxiliaries a=10.0.0.1:3001,b=10.0.0.2:3001 \
                    (or ANNULUS_CLUSTER__AUXILIARIES); or let them register: give all nodes one secret in \
                    ANNULUS_CLUSTER__SECRET, such as the output of `openssl rand -hex 32`, and --redis HOST:PORT, or each \
                    auxiliary this master with --master-address; or run a whole cluster with `annulus dev`";
        return Err(Usage(text.to_owned()).into());
    }
    secret(cluster)?;
    tracing::info!(
        "this master keeps the members itself, in its memory: auxiliaries register through it. Only one master can do so; \
         for more of them set cluster.redis on all nodes"
    );
    Ok(Known { authority: in_memory(clock, cluster), roster })
}

/// How an auxiliary becomes a member; `None` where it stands alone. `port` is the one it listens on.
pub(crate) async fn of_auxiliary(
    settings: &Settings,
    net: &SystemNet,
    name: &str,
    port: u16,
) -> Result<Option<Joining>> {
    let (cluster, own) = (&settings.cluster, &settings.auxiliary);
    if !cluster.auxiliaries.is_empty() {
        return Ok(None);
    }
    let (authority, towards) = if let Some(url) = &cluster.redis {
        secret(cluster)?;
        (keeper(redis(url, cluster)?, cluster), advertise::host_of_redis(url))
    } else if let Some(first) = own.master_address.first() {
        (through_masters(&own.master_address, net, secret(cluster)?)?, advertise::host_of_master(first))
    } else {
        tracing::warn!(
            "this auxiliary stands alone: it serves masters that list it in cluster.auxiliaries, and a restart forgets \
             what is in no snapshot. To make it a member, set cluster.redis or auxiliary.master_address, and cluster.secret"
        );
        return Ok(None);
    };
    let address = advertise::address(settings, port, &towards).await?;
    let node = Node { zone: own.zone.clone(), ..Node::new(name, address.clone()) };
    node.check().map_err(|error| Usage(format!("this node cannot register: {error}")))?;
    tracing::info!(address, "others reach this node at");
    Ok(Some(Joining { authority, address, secret: secret(cluster)? }))
}

/// The authority of an auxiliary that registers through masters.
fn through_masters(masters: &[String], net: &SystemNet, secret: Secret) -> Result<Arc<dyn Authority>> {
    let authority = HttpAuthority::new(net, masters, secret, random_seed());
    Ok(Arc::new(authority.map_err(|error| Usage(error.to_string()))?))
}

/// A keeper of what is in this registry.
pub(crate) fn keeper(registry: impl Registry, cluster: &ClusterSettings) -> Arc<dyn Authority> {
    let settings = KeeperSettings { lease_ttl: cluster.lease_ttl, layout: layout(cluster) };
    Arc::new(Keeper::new(registry, settings))
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
    let clock = Arc::clone(clock);
    MemoryRegistry::new(Arc::new(move || clock.now_ms()))
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
    use annulus_service::net::Net as _;

    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
    }

    fn master(change: impl FnOnce(&mut Settings)) -> Result<Known> {
        of_master(&settings(change), &SystemNet::new().clock())
    }

    async fn auxiliary(change: impl FnOnce(&mut Settings)) -> Result<Option<Joining>> {
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
            master(redis).err(),
            auxiliary(redis).await.err(),
            master(short).err(),
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
        assert_eq!(master(away).unwrap().roster.members(), []);
        assert_eq!(auxiliary(away).await.unwrap().unwrap().address, "127.0.0.1:3001");
    }

    #[tokio::test]
    async fn an_auxiliary_registers_through_masters_where_it_is_told_of_them() {
        let told = |masters: &'static str| {
            move |settings: &mut Settings| {
                settings.auxiliary.master_address = vec![masters.to_owned()];
                settings.cluster.secret = Some(SECRET.to_owned());
            }
        };
        assert_eq!(auxiliary(told("127.0.0.1:1")).await.unwrap().unwrap().address, "127.0.0.1:3001");
        let error = auxiliary(told("https://a")).await.err().unwrap();
        assert!(error.is::<Usage>() && error.to_string().contains("auxiliary.master_address"), "{error}");
    }

    #[tokio::test]
    async fn an_auxiliary_that_is_told_of_nobody_stands_alone() {
        assert!(auxiliary(|_| {}).await.unwrap().is_none());
        let listed = |settings: &mut Settings| settings.cluster.auxiliaries = vec!["a=h:1".to_owned()];
        assert!(auxiliary(listed).await.unwrap().is_none());
        assert_eq!(master(listed).unwrap().roster.members().len(), 1);
    }

    #[test]
    fn a_master_that_nobody_could_join_says_what_to_do() {
        let error = master(|_| {}).err().unwrap().to_string();
        for way in ["--auxiliaries", "--redis", "ANNULUS_CLUSTER__SECRET", "annulus dev"] {
            assert!(error.contains(way), "{error}");
        }
        let alone = master(|settings| settings.cluster.secret = Some(SECRET.to_owned()));
        assert_eq!(alone.unwrap().roster.layout(), Layout { replicas: 2, virtual_nodes: 4096 });
    }
}
