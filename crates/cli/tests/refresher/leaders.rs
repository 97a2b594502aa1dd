//! Leaders that die, are stopped, and go.

use std::time::Duration;

use annulus_testkit::{Direction, FaultProxy, eventually};
use tokio::time::Instant;

use crate::support::{Group, LIMIT, NAME, Notices, Readers, Reply, Shape, redis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_a_leader_is_killed_the_next_one_refreshes_within_ttl_and_check_interval() {
    const KILLS: usize = 20;
    let (ttl, check) = (Duration::from_secs(2), Duration::from_secs(1));
    let shape = Shape { ttl: "2s", check: "1s", interval: "500ms", ..Shape::default() };
    let mut group = Group::start(shape, 3).await;
    let notices = Notices::listen(group.redis.address()).await;
    let mut took = Vec::new();
    for _ in 0..KILLS {
        let leader = group.leader().await;
        notices.next_after(Instant::now(), LIMIT).await;
        group.replicas[leader].kill();
        let killed = Instant::now();
        // What it had sent before it died may still come.
        let (at, _) = notices.next_after(killed + Duration::from_millis(20), LIMIT).await;
        took.push(at - killed);
        group.replicas[leader].restart().await.unwrap();
    }
    let newest = *notices.rising().last().unwrap();
    group.all_above(newest - 1, LIMIT).await;
    took.sort();
    println!(
        "{KILLS} leaders killed: the next refresh after {:?} to {:?}, median {:?}; {} publications",
        took[0],
        took[KILLS - 1],
        took[KILLS / 2],
        notices.rising().len()
    );
    assert!(took[KILLS - 1] <= ttl + check, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_in_the_middle_of_a_fetch_follows_when_it_goes_on() {
    let group = Group::start(Shape::default(), 3).await;
    let notices = Notices::listen(group.redis.address()).await;
    let leader = group.leader().await;
    let calls = group.upstream.count();
    group.upstream.answers(move |call| match call {
        call if call == calls as u64 + 1 => Reply::Held("{\"stale\":true}".to_owned()),
        call => Reply::Json(format!("{{\"call\":{call}}}")),
    });
    eventually("a fetch is under way", LIMIT, async || group.upstream.count() > calls).await;
    group.replicas[leader].stop();
    let stopped = Instant::now();
    group.upstream.release();
    let next = group.leader_other_than(Some(leader)).await;
    let three_ttl = stopped + Duration::from_secs(6);
    let (_, revision) = notices.next_after(three_ttl, LIMIT).await;
    group.replicas[leader].resume();
    eventually("it follows", LIMIT, async || group.revision(leader).await >= revision).await;
    assert_eq!(group.health(leader).await["is_leader"], false);
    let deposed = group.metrics(leader).await;
    assert!(deposed.value("annulus_leadership_changes_total{event=\"deposed\"}") >= 1.0);
    assert_eq!(group.health(next).await["is_leader"], true);
    let body = group.replicas[next].client().get(format!("/datasets/{NAME}")).await;
    assert!(!body.text().contains("stale"), "{}", body.text());
    notices.rising();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_between_fetch_and_publication_is_refused_by_redis() {
    let mut group = Group::new(Shape::default()).await;
    let proxy = FaultProxy::start(group.redis.address()).await.unwrap();
    // The first one leads, and only it reaches Redis through the proxy.
    group.add(proxy.address()).await;
    group.ready().await;
    assert_eq!(group.leader().await, 0);
    for _ in 0..2 {
        group.add(group.redis.address()).await;
    }
    group.ready().await;
    let notices = Notices::listen(group.redis.address()).await;
    let readers = Readers::start_with(&group, &[1, 2]);

    // The fetch ends; the publication is held on its way to Redis, which it reaches when others lead.
    let stale = format!("{{\"stale\":\"{}\"}}", "x".repeat(30_000));
    let (calls, held) = (group.upstream.count() as u64, stale.clone());
    group.upstream.answers(move |call| {
        if call == calls + 1 {
            Reply::Held(held.clone())
        } else {
            Reply::Json(format!("{{\"call\":{call}}}"))
        }
    });
    eventually("a fetch is under way", LIMIT, async || group.upstream.count() as u64 > calls).await;
    let before = proxy.counts().to_server.received;
    proxy.cut(Direction::ToServer);
    group.upstream.release();
    eventually("the publication is on its way", LIMIT, async || {
        proxy.counts().to_server.received > before + stale.len() as u64
    })
    .await;
    group.replicas[0].stop();
    let stopped = Instant::now();
    group.leader_other_than(Some(0)).await;
    notices.next_after(stopped + Duration::from_secs(6), LIMIT).await;
    let memory = redis(group.redis.address(), "MEMORY USAGE annulus:dataset:numbers:data").await;
    proxy.heal();
    eventually("the publication has reached Redis", LIMIT, async || {
        let carried = proxy.counts().to_server;
        carried.delivered == carried.received
    })
    .await;
    let refused = Instant::now();
    let (_, revision) = notices.next_after(refused, LIMIT).await;
    let data = redis(group.redis.address(), "GETRANGE annulus:dataset:numbers:data 0 20").await;
    assert!(!data.contains("stale") && !memory.is_empty(), "{data}");

    group.replicas[0].resume();
    eventually("it follows", LIMIT, async || group.revision(0).await >= revision).await;
    assert_eq!(group.health(0).await["is_leader"], false);
    assert!(group.metrics(0).await.value("annulus_leadership_changes_total{event=\"deposed\"}") >= 1.0);
    readers.end(Duration::from_secs(2)).await;
    let told = notices.rising();
    println!("{} publications, none of them by the leader that was stopped", told.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_stop_hands_over_at_once() {
    // Without that, the lease would last for ten minutes.
    let shape = Shape { ttl: "10m", check: "200ms", ..Shape::default() };
    let mut group = Group::start(shape, 2).await;
    let leader = group.leader().await;
    let before = group.revision(1 - leader).await;
    let status = group.replicas[leader].terminate(Duration::from_secs(20)).await;
    assert!(status.success(), "{status}");
    assert_eq!(group.leader().await, 1 - leader);
    group.all_above(before, LIMIT).await;
}
