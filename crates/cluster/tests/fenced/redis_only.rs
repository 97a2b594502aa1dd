//! What Redis alone does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_cluster::fenced::{FencedStore, Heard, Known, Publication, Published, RedisStore, Writer};
use annulus_cluster::{RedisSettings, StoreError};
use tokio::time::timeout;

use crate::server::RedisServer;
use crate::world::{LIMIT, LONG, Redis, World, cut, eventually, lead, pattern, publication, publish, read};

#[tokio::test]
async fn the_lease_is_a_key_with_a_ttl_that_holds_the_id_of_the_leader() {
    let world = Redis::start().await;
    let store = world.store();
    let token = lead(&store, "host-17-1700000000").await;
    let ask = async |command: &str| world.0.ask::<String>(command).await.unwrap();
    assert_eq!(ask("GET annulus:leader").await, "host-17-1700000000");
    assert_eq!(ask("GET annulus:leader:token").await, token.to_string());
    let left: u64 = world.0.ask("PTTL annulus:leader").await.unwrap();
    assert!(left > 0 && left <= LONG.as_millis() as u64);
    let revision = publish(&store, Writer { id: "host-17-1700000000", token }, "data").await;
    assert_eq!(ask("GET annulus:dataset:rates:data").await, "data");
    assert_eq!(ask("HGET annulus:dataset:rates revision").await, revision.to_string());
    let left: u64 = world.0.ask("PTTL annulus:dataset:rates:data").await.unwrap();
    assert!(left > 0 && left <= LONG.as_millis() as u64);
}

#[tokio::test]
async fn a_subscriber_of_any_kind_hears_the_documented_message_on_the_documented_channel() {
    let world = Redis::start().await;
    let client = redis::Client::open(format!("redis://{}", world.0.address())).unwrap();
    let mut subscriber = client.get_async_pubsub().await.unwrap();
    subscriber.subscribe("annulus:rates_data_changed").await.unwrap();
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let published = store.publish(writer, publication("x")).await.unwrap();
    let Published::As { revision, at_ms } = published else { panic!("refused") };
    let mut messages = subscriber.into_on_message();
    let message = timeout(LIMIT, futures_util::StreamExt::next(&mut messages)).await.unwrap().unwrap();
    let text: String = message.get_payload().unwrap();
    assert_eq!(text, format!("rates_updated:{revision}:{}", at_ms / 1000));
}

#[tokio::test]
async fn a_full_redis_takes_nothing_of_a_publication() {
    let world = Redis(RedisServer::start_with(&["--maxmemory-policy", "noeviction"]).await);
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let first = publish(&store, writer, "one").await;
    world.0.ask::<()>("CONFIG SET maxmemory 1").await.unwrap();
    let error = store.publish(writer, publication("two")).await.unwrap_err().to_string();
    assert!(error.contains("annulus:dataset:rates"), "{error}");
    let head = store.head("rates", Known::default()).await.unwrap();
    assert_eq!(head.known.revision, first);
    assert_eq!(read(&store, first).await.unwrap().as_deref(), Some(&b"one"[..]));
    world.0.ask::<()>("CONFIG SET maxmemory 0").await.unwrap();
    assert!(publish(&store, writer, "two").await > first);
}

/// The keys of what is aside.
async fn aside(world: &Redis) -> Vec<String> {
    world.0.ask("KEYS *:next:*").await.unwrap()
}

fn large() -> Publication<'static> {
    Publication { data: cut(&pattern(8 << 20)), ..publication("") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_data_of_which_redis_lost_a_part_on_the_way_is_not_published() {
    let world = Redis::start().await;
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let ends = AtomicBool::new(false);
    // As an eviction does.
    let losing = async {
        while !ends.load(Ordering::Relaxed) {
            for key in aside(&world).await {
                world.0.ask::<()>(&format!("DEL {key}")).await.unwrap();
            }
        }
    };
    let publishing = async {
        let (mut whole, mut error) = (0, None);
        eventually("some is lost in time", async || {
            match store.publish(writer, large()).await {
                Ok(Published::As { revision, .. }) => whole = revision,
                Ok(Published::Refused) => panic!("refused"),
                Err(why) => error = Some(why.to_string()),
            }
            error.is_some()
        })
        .await;
        ends.store(true, Ordering::Relaxed);
        (whole, error.unwrap())
    };
    let ((whole, error), ()) = tokio::join!(publishing, losing);
    assert!(error.contains("Redis has not kept"), "{error}");
    assert_eq!(store.head("rates", Known::default()).await.unwrap().known.revision, whole);
    assert!(matches!(store.publish(writer, large()).await, Ok(Published::As { .. })));
    assert_eq!(aside(&world).await, [""; 0], "nothing stays aside");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_deposed_while_it_puts_large_data_aside_is_refused_and_leaves_nothing_for_long() {
    let world = Redis::start().await;
    let (old, new) = (world.store(), world.store());
    let mut whole = 0;
    eventually("it is deposed in time", async || {
        let writer = Writer { id: "a", token: lead(&old, "a").await };
        let is_over = AtomicBool::new(false);
        let deposing = async {
            let is_aside = async || is_over.load(Ordering::Relaxed) || !aside(&world).await.is_empty();
            eventually("some of it is aside", is_aside).await;
            new.release("a").await.unwrap();
        };
        // Where all of it is published first, nothing is ever aside again.
        let publishing = async {
            let published = old.publish(writer, large()).await.unwrap();
            is_over.store(true, Ordering::Relaxed);
            published
        };
        let (published, ()) = tokio::join!(publishing, deposing);
        match published {
            Published::As { revision, .. } => whole = revision,
            Published::Refused => return true,
        }
        false
    })
    .await;
    lead(&new, "b").await;
    assert_eq!(new.head("rates", Known::default()).await.unwrap().known.revision, whole);
    for key in aside(&world).await {
        let left: i64 = world.0.ask(&format!("PTTL {key}")).await.unwrap();
        assert!(left > 0, "{key} would stay: {left}");
    }
}

#[tokio::test]
async fn a_key_of_another_type_stops_a_publication_before_it_writes() {
    let world = Redis::start().await;
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    world.0.ask::<()>("SET annulus:dataset:rates x").await.unwrap();
    assert!(matches!(store.publish(writer, publication("one")).await, Err(StoreError::Unreachable(_))));
    assert!(!world.0.ask::<bool>("EXISTS annulus:dataset:rates:data").await.unwrap());
}

#[tokio::test]
async fn garbage_is_named() {
    let world = Redis::start().await;
    world.0.ask::<()>("HSET annulus:dataset:rates revision many").await.unwrap();
    let error = world.store().head("rates", Known::default()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Garbled { key, .. } if key == "annulus:dataset:rates"), "{error}");
}

#[tokio::test]
async fn user_password_database_and_prefix_are_used() {
    let server = RedisServer::start_with(&["--requirepass", "topsecret"]).await;
    let settings = |password: &str| RedisSettings {
        user: Some("default".to_owned()),
        password: Some(password.to_owned()),
        database: Some(3),
        prefix: "other".to_owned(),
        ..RedisSettings::new(server.address())
    };
    let store = RedisStore::new(&settings("topsecret"), 1).unwrap();
    let token = lead(&store, "a").await;
    publish(&store, Writer { id: "a", token }, "x").await;
    let client = redis::Client::open(format!("redis://:topsecret@{}/3", server.address())).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let holder: String = redis::cmd("GET").arg("other:leader").query_async(&mut connection).await.unwrap();
    assert_eq!(holder, "a");
    let error = RedisStore::new(&settings("wrong"), 1).unwrap().acquire("a", 0, LONG).await.unwrap_err();
    assert!(!error.to_string().contains("wrong") && !format!("{error:?}").contains("topsecret"), "{error}");
}

#[tokio::test]
async fn a_listener_says_when_it_hears_nothing_and_when_it_hears_again() {
    let mut world = Redis::start().await;
    let mut heard = world.store().listen(&["rates".to_owned()]);
    let mut next = async || timeout(LIMIT, heard.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, Heard::Listening);
    world.0.kill();
    assert_eq!(next().await, Heard::Lost);
    world.0.restart().await;
    assert_eq!(next().await, Heard::Listening);
}

#[tokio::test]
async fn it_knows_whether_redis_answers() {
    let mut world = Redis::start().await;
    let store = world.store();
    assert!(!store.is_connected(), "nothing was asked yet");
    lead(&store, "a").await;
    assert!(store.is_connected());
    world.0.kill();
    assert!(store.acquire("a", 0, LONG).await.is_err());
    assert!(!store.is_connected());
    world.0.restart().await;
    eventually("it is back", async || store.acquire("a", 0, LONG).await.is_ok()).await;
    assert!(store.is_connected());
}

#[tokio::test]
async fn a_command_takes_no_longer_than_its_two_limits() {
    let world = Redis::start().await;
    let limit = Duration::from_millis(100);
    let settings =
        RedisSettings { read_timeout: limit, write_timeout: limit, ..RedisSettings::new(world.0.address()) };
    let store = RedisStore::new(&settings, 1).unwrap();
    lead(&store, "a").await;
    world.0.ask::<()>("CLIENT PAUSE 3000 ALL").await.unwrap();
    let error = store.acquire("a", 0, LONG).await.unwrap_err().to_string();
    assert!(error.contains("took longer than 200ms"), "{error}");
}
