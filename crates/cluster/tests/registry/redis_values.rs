//! What others put into Redis, and what must not get out of it.

use annulus_cluster::{
    Authority, AuthorityError, Keeper, KeeperSettings, RedisRegistry, RedisSettings, Registry, RegistryError,
};

use crate::server::RedisServer;
use crate::world::{LAYOUT, LONG, Redis, World, beat, form};

#[tokio::test]
async fn garbage_in_the_roster_key_is_named_and_left_alone() {
    let world = Redis::start().await;
    let keeper = world.keeper(LONG);
    let known = form(&keeper, &["a", "b"]).await;
    let huge = "{\"revision\":18446744073709551615}";
    for garbage in ["", "garbage", "{}", "[]", "\\xff", "null", huge, "{\"revision\":\"3\"}"] {
        world.0.ask::<()>(&format!("SET annulus:roster {garbage}")).await.unwrap();
        let answers = [
            keeper.beat(beat("a", 1, 0), Some(known.clone())).await.map(drop),
            keeper.roster(Some(known.clone())).await.map(drop),
            keeper.retire("a").await.map(drop),
            keeper.sweep(0).await.map(drop),
        ];
        for answer in answers {
            let Err(AuthorityError::Unreachable(text)) = answer else { panic!("{garbage}: {answer:?}") };
            assert!(text.contains("annulus:roster") && text.contains("delete that key"), "{text}");
        }
        assert_eq!(world.registry().replace(Some(3), &known).await, Ok(false));
        assert_eq!(world.registry().replace(None, &known).await, Ok(false));
    }
    world.0.ask::<()>("DEL annulus:roster").await.unwrap();
    assert_eq!(keeper.roster(Some(known.clone())).await, Ok(known));
}

#[tokio::test]
async fn a_roster_key_of_another_type_is_named() {
    let world = Redis::start().await;
    let known = form(&world.keeper(LONG), &["a"]).await;
    world.0.ask::<()>("DEL annulus:roster").await.unwrap();
    world.0.ask::<()>("LPUSH annulus:roster x").await.unwrap();
    let registry = world.registry();
    for error in [
        registry.load().await.map(drop).unwrap_err(),
        registry.replace(None, &known).await.map(drop).unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.contains("annulus:roster") && text.contains("WRONGTYPE"), "{text}");
    }
}

#[tokio::test]
async fn garbage_in_a_lease_key_is_named_and_written_over() {
    let world = Redis::start().await;
    let registry = world.registry();
    for garbage in ["SET annulus:lease:a x", "SET annulus:lease:a -1", "SET annulus:lease:a 1.5"] {
        world.0.ask::<()>(garbage).await.unwrap();
        let error = registry.holders(&["a"]).await.unwrap_err();
        assert!(matches!(&error, RegistryError::Garbled { key, .. } if key == "annulus:lease:a"), "{error}");
        registry.release("a", 1).await.unwrap();
        assert_eq!(registry.renew("a", 1, LONG).await, Ok(true));
        assert_eq!(registry.holders(&["a"]).await, Ok(vec![Some(1)]));
    }
    world.0.ask::<()>("LPUSH annulus:lease:b x").await.unwrap();
    assert_eq!(registry.holders(&["b"]).await, Ok(vec![None]));
    registry.release("b", 1).await.unwrap();
    assert_eq!(registry.renew("b", 1, LONG).await, Ok(true));
    assert_eq!(registry.holders(&["b"]).await, Ok(vec![Some(1)]));
}

#[tokio::test]
async fn clusters_with_other_prefixes_share_a_redis() {
    let world = Redis::start().await;
    let other = RedisSettings { prefix: "other".to_owned(), ..RedisSettings::new(world.0.address()) };
    let settings = KeeperSettings { lease_ttl: LONG, layout: LAYOUT };
    let other = Keeper::new(RedisRegistry::new(other).unwrap(), settings);
    form(&world.keeper(LONG), &["a", "b"]).await;
    form(&other, &["a", "c"]).await;
    let mut keys: Vec<String> = world.0.ask("KEYS *").await.unwrap();
    keys.sort();
    assert_eq!(
        keys,
        [
            "annulus:lease:a",
            "annulus:lease:b",
            "annulus:roster",
            "other:lease:a",
            "other:lease:c",
            "other:roster"
        ]
    );
    let ttl: i64 = world.0.ask("TTL annulus:lease:a").await.unwrap();
    assert!(ttl > 0, "a lease ends by itself");
}

#[tokio::test]
async fn a_password_lets_in_and_is_never_shown() {
    let server = RedisServer::start_with(&["--requirepass", "sesame"]).await;
    let registry = |url: String| RedisRegistry::new(RedisSettings::new(url)).unwrap();
    let right = registry(format!("redis://:sesame@{}", server.address()));
    assert_eq!(right.load().await, Ok(None));
    for (url, secret) in [("redis://:wr0ng@", "wr0ng"), ("redis://somebody:wr0ng@", "wr0ng"), ("", "sesame")]
    {
        let wrong = registry(format!("{url}{}", server.address()));
        let error = wrong.load().await.unwrap_err();
        let shown = format!("{error} {error:?} {wrong:?}");
        assert!(!shown.contains(secret), "{shown}");
        assert!(error.to_string().contains(&server.address()), "{error}");
    }
}
