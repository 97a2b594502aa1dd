//! A Redis that dies, comes back empty, is slow or fails over, and messages that are lost.

use std::time::Duration;

use annulus_testkit::{Direction, FaultProxy, RedisServer, eventually};
use tokio::time::Instant;

use crate::support::{DeafProxy, Group, LIMIT, NAME, Notices, Readers, Reply, Shape, redis};

/// Reads come from memory: nothing of Redis shows in them. A busy machine may delay one by this much.
const SLOWEST_READ: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_secs(2);

fn shape() -> Shape {
    Shape { ttl: "4s", check: "1s", interval: "2s", ..Shape::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_away_for_half_a_minute_and_comes_back_empty_is_noticed_by_no_reader() {
    let mut group = Group::start(shape(), 3).await;
    let notices = Notices::listen(group.redis.address()).await;
    notices.next_after(Instant::now(), LIMIT).await;
    let before = group.all_above(0, LIMIT).await;
    let readers = Readers::start(&group);
    group.redis.kill();
    let killed = Instant::now();
    eventually("leadership ends by time", LIMIT, async || {
        let mut leaders = 0;
        for at in 0..3 {
            let health = group.health(at).await;
            leaders += usize::from(health["is_leader"] == true || health["redis_connected"] == true);
        }
        leaders == 0
    })
    .await;
    eventually("half a minute is over", LIMIT, async || killed.elapsed() >= Duration::from_secs(30)).await;
    let newest = group.all_above(before - 1, LIMIT).await;
    group.redis.restart().await.unwrap();
    let fresh = group.each_above(newest, LIMIT).await;
    println!("away for 30 s and empty: all fresh {fresh:?} after it was back");
    assert!(fresh <= 2 * INTERVAL, "{fresh:?}");
    notices.next_after(Instant::now(), LIMIT).await;
    readers.end(SLOWEST_READ).await;
    notices.rising();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_loses_everything_at_once_gets_it_back() {
    let group = Group::start(shape(), 3).await;
    let notices = Notices::listen(group.redis.address()).await;
    notices.next_after(Instant::now(), LIMIT).await;
    let newest = group.all_above(0, LIMIT).await;
    let readers = Readers::start(&group);
    let start = Instant::now();
    assert_eq!(redis(group.redis.address(), "FLUSHALL").await, "+OK\r\n");
    let (at, revision) = notices.next_after(start, LIMIT).await;
    let fresh = group.each_above(newest, LIMIT).await;
    println!("emptied: published again after {:?}, all fresh after {fresh:?}", at - start);
    assert!(revision > newest && start.elapsed() <= LIMIT);
    assert!(fresh <= 2 * INTERVAL, "{fresh:?}");
    readers.end(SLOWEST_READ).await;
    notices.rising();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_takes_two_seconds_for_everything_is_noticed_by_no_reader() {
    let mut group = Group::new(shape()).await;
    let proxy = FaultProxy::start(group.redis.address()).await.unwrap();
    for _ in 0..3 {
        group.add(proxy.address()).await;
    }
    group.ready().await;
    let notices = Notices::listen(group.redis.address()).await;
    notices.next_after(Instant::now(), LIMIT).await;
    let readers = Readers::start(&group);
    proxy.delay(Direction::ToClient, Duration::from_secs(2));
    let slow = Instant::now();
    eventually("it was slow for a while", LIMIT, async || slow.elapsed() >= Duration::from_secs(12)).await;
    let during = notices.rising().len();
    let newest = group.all_revisions_max().await;
    proxy.heal();
    let fresh = group.each_above(newest, LIMIT).await;
    println!("two seconds slow: {during} publications by then; all fresh {fresh:?} after it was quick again");
    assert!(fresh <= 2 * INTERVAL, "{fresh:?}");
    readers.end(SLOWEST_READ).await;
    notices.rising();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fail_over_to_a_copy_that_lacks_the_last_lease_lets_no_revision_fall() {
    let mut group = Group::new(shape()).await;
    let copy = RedisServer::start().await.unwrap();
    let primary = group.redis.address();
    let follow = format!("REPLICAOF {} {}", primary.ip(), primary.port());
    assert_eq!(redis(copy.address(), &follow).await, "+OK\r\n");
    let proxy = FaultProxy::start(primary).await.unwrap();
    for _ in 0..3 {
        group.add(proxy.address()).await;
    }
    group.ready().await;
    let notices = Notices::listen(primary).await;
    let first = group.leader().await;
    let (_, published) = notices.next_after(Instant::now(), LIMIT).await;
    let mut old = 0;
    eventually("the copy has it", LIMIT, async || {
        let answer = redis(copy.address(), &format!("HGET annulus:dataset:{NAME} revision")).await;
        old = answer.lines().nth(1).and_then(|line| line.parse().ok()).unwrap_or(0);
        old >= published
    })
    .await;
    // From now on it is behind: it has the first leader's lease, and not the next one's.
    assert_eq!(redis(copy.address(), "REPLICAOF NO ONE").await, "+OK\r\n");
    group.replicas[first].kill();
    let second = group.leader().await;
    notices.next_after(Instant::now(), LIMIT).await;
    group.replicas[first].restart().await.unwrap();
    let readers = Readers::start(&group);
    let newest = group.all_above(old, LIMIT).await;

    notices.move_to(copy.address());
    proxy.retarget(copy.address());
    proxy.reset();
    group.redis.kill();
    let fresh = group.each_above(newest, LIMIT).await;
    println!("failed over from {newest} back to {old}: all fresh after {fresh:?}; {second} led");
    assert!(fresh <= 2 * INTERVAL, "{fresh:?}");
    notices.next_after(Instant::now(), LIMIT).await;
    readers.end(SLOWEST_READ).await;
    notices.rising();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_single_notification_all_replicas_are_up_to_date_within_half_a_minute() {
    let mut group = Group::new(Shape { interval: "3s", ..Shape::default() }).await;
    group.upstream.answer(Reply::Json("{\"first\":true}".to_owned()));
    let proxy = DeafProxy::start(group.redis.address()).await;
    for _ in 0..3 {
        group.add(proxy.address()).await;
    }
    group.ready().await;
    let first = group.all_above(0, LIMIT).await;
    let notices = Notices::listen(group.redis.address()).await;
    let lost = proxy.lost();
    group.upstream.answer(Reply::Json("{\"second\":true}".to_owned()));
    let (_, revision) = notices.next_after(Instant::now(), LIMIT).await;
    let took = group.each_above(first, Duration::from_secs(31)).await;
    println!("{} notifications lost: all up to date after {took:?}", proxy.lost() - lost);
    assert!(took <= Duration::from_secs(30), "{took:?}");
    assert_eq!(group.all_above(first, LIMIT).await, revision);
    assert_eq!(proxy.lost() - lost, 3, "one for each replica");
}
