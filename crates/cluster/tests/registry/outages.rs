//! A Redis that dies, comes back empty, hangs or is not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annulus_cluster::{
    Authority, AuthorityError, Keeper, KeeperSettings, RedisRegistry, RedisSettings, Roster,
};
use tokio::time::{Instant, timeout};

use crate::server::RedisServer;
use crate::world::{LAYOUT, LIMIT, LONG, Live, Redis, World, beat, eventually, form, names};

const NODES: [&str; 4] = ["a", "b", "c", "d"];
const BEAT: Duration = Duration::from_millis(50);
const TTL: Duration = Duration::from_secs(2);
const BEATS_PER_TTL: u32 = (TTL.as_millis() / BEAT.as_millis()) as u32;

/// Four nodes that beat, and a master that sweeps.
struct Cluster {
    nodes: [Live; 4],
    sweeps: Arc<AtomicU32>,
    sweeper: tokio::task::JoinHandle<Vec<String>>,
}

impl Cluster {
    async fn start(server: &RedisServer, read_timeout: Duration) -> (Self, Arc<Roster>) {
        let keeper = || {
            let settings = RedisSettings { read_timeout, ..RedisSettings::new(server.address()) };
            let registry = RedisRegistry::new(settings).unwrap();
            Keeper::new(registry, KeeperSettings { lease_ttl: TTL, layout: LAYOUT })
        };
        let nodes = NODES.map(|name| Live::start(keeper(), name, BEAT));
        let sweeps = Arc::new(AtomicU32::new(0));
        let (master, count) = (keeper(), Arc::clone(&sweeps));
        let sweeper = tokio::spawn(async move {
            let start = Instant::now();
            loop {
                match master.sweep(start.elapsed().as_millis() as u64).await {
                    Ok(expired) if expired.is_empty() => count.fetch_add(1, Ordering::SeqCst),
                    Ok(expired) => return expired,
                    Err(_) => 0,
                };
                tokio::time::sleep(BEAT).await;
            }
        });
        let cluster = Self { nodes, sweeps, sweeper };
        let roster = cluster.all_see(|roster| names(roster) == NODES && roster.is_settled()).await;
        (cluster, roster)
    }

    async fn all_see(&self, condition: impl Fn(&Roster) -> bool) -> Arc<Roster> {
        let mut last = None;
        for node in &self.nodes {
            last = Some(node.sees("a roster", |seen| condition(&seen.roster)).await.roster);
        }
        last.unwrap()
    }

    /// Waits until every node has failed so often since.
    async fn all_fail(&self, times: usize) {
        let before = self.nodes.each_ref().map(|node| node.seen.borrow().errors.len());
        for (node, before) in self.nodes.iter().zip(before) {
            node.sees("errors", |seen| seen.errors.len() >= before + times).await;
        }
    }

    /// Waits until every node has had an answer since.
    async fn all_are_answered(&self) {
        let before = self.nodes.each_ref().map(|node| node.seen.borrow().answers);
        for (node, before) in self.nodes.iter().zip(before) {
            node.sees("an answer", |seen| seen.answers > before).await;
        }
    }

    /// Waits until the master has swept for longer than a lease lasts, then looks whether anybody has left.
    async fn nobody_was_taken_out(&self, roster: &Arc<Roster>) {
        let before = self.sweeps.load(Ordering::SeqCst);
        let enough = BEATS_PER_TTL + BEATS_PER_TTL / 4;
        eventually("sweeps", async || {
            self.sweeper.is_finished() || self.sweeps.load(Ordering::SeqCst) >= before + enough
        })
        .await;
        assert!(!self.sweeper.is_finished(), "somebody was taken out");
        let now = self.all_see(|_| true).await;
        assert_eq!((&now, now.revision()), (roster, roster.revision()));
    }

    fn errors(&self) -> Vec<AuthorityError> {
        self.nodes.iter().flat_map(|node| node.seen.borrow().errors.clone()).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.sweeper.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_dies_and_comes_back_empty_and_nobody_leaves() {
    let mut server = RedisServer::start().await;
    let (cluster, roster) = Cluster::start(&server, Duration::from_secs(3)).await;
    for outage in [1, 3 * BEATS_PER_TTL as usize / 2] {
        server.kill();
        cluster.all_fail(outage).await;
        server.restart().await;
        cluster.all_are_answered().await;
        cluster.nobody_was_taken_out(&roster).await;
    }
    for error in cluster.errors() {
        let text = error.to_string();
        let says_where = text.contains(&server.address()) && text.contains("tried again");
        assert!(matches!(error, AuthorityError::Unreachable(_)) && says_where, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_gives_errors_within_bounds_and_nobody_leaves() {
    let server = RedisServer::start().await;
    let (cluster, roster) = Cluster::start(&server, Duration::from_millis(200)).await;
    server.ask::<()>("CLIENT PAUSE 3000 ALL").await.unwrap();
    cluster.all_fail(3).await;
    cluster.all_are_answered().await;
    cluster.nobody_was_taken_out(&roster).await;
    let errors = cluster.errors();
    assert!(errors.iter().any(|error| error.to_string().contains("took longer than 200ms")), "{errors:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_answer_is_waited_for() {
    let server = RedisServer::start().await;
    let (cluster, roster) = Cluster::start(&server, Duration::from_secs(30)).await;
    server.ask::<()>("CLIENT PAUSE 1000 ALL").await.unwrap();
    cluster.all_are_answered().await;
    cluster.nobody_was_taken_out(&roster).await;
    assert_eq!(cluster.errors(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_heard_again_after_redis_was_away() {
    let mut world = Redis::start().await;
    let waiting = world.keeper(LONG);
    let changed = async |after| timeout(LIMIT, after).await.expect("a change is heard");
    let change = waiting.changed();
    form(&world.keeper(LONG), &["a"]).await;
    changed(change).await;
    world.0.kill();
    let back = waiting.changed();
    world.0.restart().await;
    // It wakes for the new connection, because what was told meanwhile is lost, and then for changes.
    changed(back).await;
    let change = waiting.changed();
    form(&world.keeper(LONG), &["a"]).await;
    changed(change).await;
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_a_clear_error_and_found_once_it_is() {
    let mut world = Redis::start().await;
    world.0.kill();
    let keeper = world.keeper(LONG);
    for _ in 0..3 {
        let error = keeper.beat(beat("a", 1, 0), None).await.unwrap_err().to_string();
        let address = world.0.address();
        assert!(error.starts_with(&format!("cannot connect to Redis at {address} (")), "{error}");
        assert!(error.contains("check that it runs there"), "{error}");
    }
    world.0.restart().await;
    eventually("it is found", async || keeper.beat(beat("a", 1, 0), None).await.is_ok()).await;
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let short = Duration::from_millis(100);
    let settings = RedisSettings {
        connect_timeout: short,
        read_timeout: short,
        ..RedisSettings::new(address.to_string())
    };
    let registry = RedisRegistry::new(settings).unwrap();
    let keeper = Keeper::new(registry, KeeperSettings { lease_ttl: LONG, layout: LAYOUT });
    let error = keeper.roster(None).await.unwrap_err().to_string();
    assert!(error.contains("cannot connect to Redis"), "{error}");
}
