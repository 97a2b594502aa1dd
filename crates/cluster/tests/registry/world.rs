//! What the suite runs on, and the nodes that live there.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{
    Authority, AuthorityError, Beat, Keeper, KeeperSettings, Layout, MemoryRegistry, Node, RedisRegistry,
    RedisSettings, Registry, Roster, Seat,
};
use tokio::time::Instant;

use crate::server::RedisServer;

pub(crate) const LAYOUT: Layout = Layout { replicas: 2, virtual_nodes: 8 };

/// Long enough that no lease ends while a test runs, unless it is freed.
pub(crate) const LONG: Duration = Duration::from_secs(600);

/// A registry of some kind, as many nodes share it.
pub(crate) trait World {
    type Registry: Registry;

    /// What one node has of it.
    fn registry(&self) -> Self::Registry;

    /// Everything in it is lost.
    async fn wipe(&self);

    fn keeper(&self, lease_ttl: Duration) -> Keeper<Self::Registry> {
        Keeper::new(self.registry(), KeeperSettings { lease_ttl, layout: LAYOUT })
    }

    async fn has_roster(&self) -> bool {
        self.registry().load().await.unwrap().is_some()
    }

    async fn holder(&self, name: &str) -> Option<u64> {
        self.registry().holders(&[name]).await.unwrap()[0]
    }
}

pub(crate) struct Memory(MemoryRegistry);

impl Memory {
    pub(crate) async fn start() -> Self {
        let start = Instant::now();
        Self(MemoryRegistry::new(Arc::new(move || start.elapsed().as_millis() as u64)))
    }
}

impl World for Memory {
    type Registry = MemoryRegistry;

    fn registry(&self) -> MemoryRegistry {
        self.0.clone()
    }

    async fn wipe(&self) {
        self.0.wipe();
    }
}

pub(crate) struct Redis(pub(crate) RedisServer);

impl Redis {
    pub(crate) async fn start() -> Self {
        Self(RedisServer::start().await)
    }
}

impl World for Redis {
    type Registry = RedisRegistry;

    fn registry(&self) -> RedisRegistry {
        RedisRegistry::new(RedisSettings::new(self.0.address())).unwrap()
    }

    async fn wipe(&self) {
        self.0.ask::<()>("FLUSHALL").await.unwrap();
    }
}

pub(crate) fn beat(name: &str, incarnation: u64, settled: u64) -> Beat {
    let address = format!("{name}:1");
    Beat { seat: Seat { node: Node::new(name, address), incarnation }, settled, leaving: false }
}

pub(crate) fn names(roster: &Roster) -> Vec<&str> {
    roster.current().map(|seat| seat.node.name.as_str()).collect()
}

/// A cluster of these nodes, in their first life, settled.
pub(crate) async fn form(authority: &impl Authority, nodes: &[&str]) -> Arc<Roster> {
    let mut roster = authority.roster(None).await.unwrap();
    for node in nodes {
        roster = authority.beat(beat(node, 1, 0), Some(roster)).await.unwrap();
        roster = settle(authority, roster).await;
    }
    assert_eq!(names(&roster), nodes);
    roster
}

/// Everybody says that it has settled.
pub(crate) async fn settle(authority: &impl Authority, mut roster: Arc<Roster>) -> Arc<Roster> {
    let epoch = roster.epoch();
    for member in roster.members().to_vec() {
        let report = Beat { seat: member.seat, settled: epoch, leaving: member.leaving };
        roster = authority.beat(report, Some(roster)).await.unwrap();
    }
    assert!(roster.is_settled());
    roster
}

/// A node that beats until dropped, and settles as soon as it is asked to.
pub(crate) struct Live {
    pub(crate) seen: tokio::sync::watch::Receiver<Seen>,
    task: tokio::task::JoinHandle<()>,
}

/// What a live node has learned.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) roster: Arc<Roster>,
    pub(crate) answers: u32,
    pub(crate) errors: Vec<AuthorityError>,
}

impl Live {
    pub(crate) fn start(authority: impl Authority, name: &'static str, interval: Duration) -> Self {
        let roster = Arc::new(Roster::new(LAYOUT));
        let (sender, seen) =
            tokio::sync::watch::channel(Seen { roster: Arc::clone(&roster), answers: 0, errors: Vec::new() });
        let task = tokio::spawn(async move {
            let mut known = roster;
            loop {
                let report = beat(name, 1, known.epoch());
                match authority.beat(report, Some(Arc::clone(&known))).await {
                    Ok(roster) => {
                        known = Arc::clone(&roster);
                        sender.send_modify(|seen| {
                            seen.roster = roster;
                            seen.answers += 1;
                        });
                    }
                    Err(error) => sender.send_modify(|seen| seen.errors.push(error)),
                }
                tokio::time::sleep(interval).await;
            }
        });
        Self { seen, task }
    }

    /// Waits until what it has learned is so.
    pub(crate) async fn sees(&self, what: &str, condition: impl Fn(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(LIMIT, seen.wait_for(condition)).await;
        waited.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}")).unwrap().clone()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Far more than anything takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
