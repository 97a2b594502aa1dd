//! What holds on every registry.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Authority, AuthorityError, Beat, BeatError, Node, Registry, Roster, Seat};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::world::{LAYOUT, LIMIT, LONG, Live, Memory, Redis, World, beat, eventually, form, names, settle};

macro_rules! on_every_registry {
    ($($check:ident),* $(,)?) => {
        mod in_memory {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(Memory::start().await).await;
            })*
        }
        mod in_redis {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(Redis::start().await).await;
            })*
        }
        #[cfg(feature = "kubernetes")]
        mod by_kubernetes {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::$check(crate::kubernetes::Kubernetes::start().await).await;
            })*
        }
    };
}

on_every_registry!(
    of_many_who_write_first_one_does,
    concurrent_writers_lose_nothing,
    nodes_that_start_together_all_become_members,
    a_lease_ends_unless_it_is_renewed,
    a_lease_is_freed_by_the_life_that_holds_it_only,
    a_lease_goes_to_the_later_life,
    a_superseded_life_is_told_so_and_gets_no_lease,
    an_address_that_is_taken_gets_no_lease,
    a_wiped_registry_gets_the_known_roster_back,
    an_older_known_roster_changes_nothing,
    asking_an_empty_registry_stores_nothing,
    a_change_wakes_those_who_wait,
    the_dead_are_taken_out_after_a_whole_ttl,
    of_all_who_miss_their_lease_nobody_is_taken_out,
    a_retired_node_leaves_once_all_have_settled,
    what_cannot_be_retired_is_told_why,
    a_beat_of_no_valid_node_is_not_stored,
);

fn nodes(count: usize) -> Roster {
    Roster::fixed((0..count).map(|i| Node::new(format!("n{i}"), format!("n{i}:1"))), LAYOUT)
}

async fn of_many_who_write_first_one_does(world: impl World) {
    let registries: Vec<_> = (0..8).map(|_| world.registry()).collect();
    assert_eq!(registries[0].replace(Some(0), &nodes(1)).await, Ok(false));
    let rosters: Vec<Roster> = (1..=8).map(nodes).collect();
    let writes = registries.iter().zip(&rosters).map(|(registry, roster)| registry.replace(None, roster));
    let written: Vec<bool> = join_all(writes).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(written.iter().filter(|written| **written).count(), 1);
    let first = written.iter().position(|written| *written).unwrap();
    assert_eq!(registries[0].load().await.unwrap().as_ref(), Some(&rosters[first]));
}

async fn concurrent_writers_lose_nothing(world: impl World) {
    const WRITERS: usize = 8;
    const WRITES: u64 = 10;
    assert_eq!(world.registry().replace(None, &nodes(WRITERS)).await, Ok(true));
    let writers = (0..WRITERS).map(|writer| {
        let registry = world.registry();
        tokio::spawn(async move {
            for life in 1..=WRITES {
                loop {
                    let roster = registry.load().await.unwrap().unwrap();
                    let next = roster.beat(&beat(&format!("n{writer}"), life, 0)).unwrap().unwrap();
                    if registry.replace(Some(roster.revision()), &next).await.unwrap() {
                        break;
                    }
                }
            }
        })
    });
    join_all(writers).await.into_iter().for_each(Result::unwrap);
    let roster = world.registry().load().await.unwrap().unwrap();
    assert_eq!(roster.revision(), 1 + WRITES * WRITERS as u64);
    assert!(roster.members().iter().all(|member| member.seat.incarnation == WRITES));
}

async fn nodes_that_start_together_all_become_members(world: impl World) {
    const NODES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let lives = NODES.map(|name| Live::start(world.keeper(LONG), name, Duration::from_millis(20)));
    for life in &lives {
        let seen =
            life.sees("all are in", |seen| names(&seen.roster) == NODES && seen.roster.is_settled()).await;
        assert_eq!(seen.errors, []);
    }
    let roster = world.keeper(LONG).roster(None).await.unwrap();
    assert!(NODES.iter().all(|name| roster.is_warm(name, 1)));
}

async fn a_lease_ends_unless_it_is_renewed(world: impl World) {
    let registry = world.registry();
    assert_eq!(registry.holders(&[]).await, Ok(vec![]));
    for name in ["ends", "renewed"] {
        assert_eq!(registry.renew(name, 7, Duration::from_millis(300)).await, Ok(true));
    }
    assert_eq!(registry.renew("renewed", 7, LONG).await, Ok(true));
    eventually("it ends", async || world.holder("ends").await.is_none()).await;
    assert_eq!(registry.holders(&["ends", "renewed", "other"]).await, Ok(vec![None, Some(7), None]));
}

async fn a_lease_is_freed_by_the_life_that_holds_it_only(world: impl World) {
    let registry = world.registry();
    registry.renew("a", 7, LONG).await.unwrap();
    registry.renew("b", 7, LONG).await.unwrap();
    for (name, life) in [("a", 6), ("a", 8), ("other", 7)] {
        registry.release(name, life).await.unwrap();
    }
    assert_eq!(registry.holders(&["a", "b"]).await, Ok(vec![Some(7), Some(7)]));
    registry.release("a", 7).await.unwrap();
    assert_eq!(registry.holders(&["a", "b"]).await, Ok(vec![None, Some(7)]));
}

async fn a_lease_goes_to_the_later_life(world: impl World) {
    let registry = world.registry();
    let lives = [0, 9, 10, (1 << 53) + 1, (1 << 53) + 2, u64::MAX - 1, u64::MAX];
    for life in lives {
        assert_eq!(registry.renew("a", life, LONG).await, Ok(true), "{life}");
        for earlier in lives.into_iter().filter(|earlier| *earlier < life) {
            assert_eq!(registry.renew("a", earlier, LONG).await, Ok(false), "{earlier} after {life}");
        }
        assert_eq!(world.holder("a").await, Some(life));
    }
}

async fn a_superseded_life_is_told_so_and_gets_no_lease(world: impl World) {
    let keeper = world.keeper(LONG);
    let roster = form(&keeper, &["a", "b"]).await;
    let again = keeper.beat(beat("a", 2, 0), Some(roster)).await.unwrap();
    assert!(again.has("a", 2) && !again.is_warm("a", 2));
    keeper.release("a", 2).await.unwrap();
    let superseded =
        BeatError::Superseded { name: "a".to_owned(), address: "a:1".to_owned(), incarnation: 2 };
    let answer = keeper.beat(beat("a", 1, 0), Some(again)).await;
    assert_eq!(answer, Err(AuthorityError::Beat(superseded)));
    assert_eq!(world.holder("a").await, None);
}

async fn an_address_that_is_taken_gets_no_lease(world: impl World) {
    let keeper = world.keeper(LONG);
    let roster = form(&keeper, &["a"]).await;
    let seat = Seat { node: Node::new("z", "a:1"), incarnation: 1 };
    let other = Beat { seat, settled: 0, leaving: false };
    let answer = keeper.beat(other, Some(roster)).await;
    assert!(matches!(answer, Err(AuthorityError::Beat(BeatError::AddressTaken { .. }))), "{answer:?}");
    assert_eq!(world.holder("z").await, None);
}

async fn a_wiped_registry_gets_the_known_roster_back(world: impl World) {
    let keeper = world.keeper(LONG);
    let known = form(&keeper, &["a", "b", "c"]).await;
    world.wipe().await;
    assert!(!world.has_roster().await);
    let back = keeper.beat(beat("b", 1, 0), Some(Arc::clone(&known))).await.unwrap();
    assert_eq!((back.revision(), &back), (known.revision(), &known));
    assert_eq!(world.registry().load().await.unwrap().as_ref(), Some(&*known));
    assert_eq!(world.holder("b").await, Some(1));

    // One of a lower revision is an old dump, or was formed by those who know nothing.
    world.wipe().await;
    let other = world.keeper(LONG).beat(beat("z", 1, 0), None).await.unwrap();
    assert!(other.revision() < known.revision());
    let back = keeper.roster(Some(Arc::clone(&known))).await.unwrap();
    assert_eq!(back, known);
    assert_eq!(world.registry().load().await.unwrap().as_ref(), Some(&*known));
}

async fn an_older_known_roster_changes_nothing(world: impl World) {
    let keeper = world.keeper(LONG);
    let old = form(&keeper, &["a", "b"]).await;
    let joining = keeper.beat(beat("c", 1, 0), Some(Arc::clone(&old))).await.unwrap();
    let new = settle(&keeper, joining).await;
    assert_eq!(keeper.roster(Some(Arc::clone(&old))).await.as_ref(), Ok(&new));
    assert_eq!(keeper.beat(beat("a", 1, 0), Some(old)).await.as_ref(), Ok(&new));
    let same = keeper.roster(Some(Arc::clone(&new))).await.unwrap();
    assert!(Arc::ptr_eq(&same, &new), "nothing is laid out again where nothing has changed");
}

async fn asking_an_empty_registry_stores_nothing(world: impl World) {
    let keeper = world.keeper(LONG);
    let roster = keeper.roster(None).await.unwrap();
    assert_eq!(*roster, Roster::new(LAYOUT));
    assert_eq!(keeper.roster(Some(Arc::clone(&roster))).await, Ok(roster));
    assert_eq!(keeper.sweep(0).await, Ok(vec![]));
    assert!(!world.has_roster().await);
}

async fn a_change_wakes_those_who_wait(world: impl World) {
    let (node, other) = (world.keeper(LONG), world.keeper(LONG));
    let mut life = 0;
    let mut change = async || {
        life += 1;
        other.beat(beat("a", life, 0), None).await.unwrap();
    };
    // What is told before the node listens is lost.
    let mut listens = node.changed();
    eventually("it listens", async || {
        change().await;
        timeout(Duration::from_millis(50), &mut listens).await.is_ok()
    })
    .await;
    for _ in 0..5 {
        let (one, another) = (node.changed(), node.changed());
        change().await;
        timeout(LIMIT, async { tokio::join!(one, another) }).await.expect("both wake");
    }
}

async fn the_dead_are_taken_out_after_a_whole_ttl(world: impl World) {
    let keeper = world.keeper(LONG);
    let roster = form(&keeper, &["a", "b", "c"]).await;
    keeper.release("b", 1).await.unwrap();
    let first_ms = 5_000;
    let ttl_ms = LONG.as_millis() as u64;
    for now_ms in (first_ms..=first_ms + 1_000 + ttl_ms - 1_000).step_by(1_000) {
        assert_eq!(keeper.sweep(now_ms).await, Ok(vec![]), "{now_ms}");
    }
    assert_eq!(keeper.sweep(first_ms + 1_000 + ttl_ms).await, Ok(vec!["b".to_owned()]));
    let without = keeper.roster(Some(roster)).await.unwrap();
    assert_eq!((names(&without), without.base().len()), (vec!["a", "c"], 3));
    assert_eq!(keeper.sweep(first_ms + 2_000 + ttl_ms).await, Ok(vec![]));
}

async fn of_all_who_miss_their_lease_nobody_is_taken_out(world: impl World) {
    let keeper = world.keeper(LONG);
    let roster = form(&keeper, &["a", "b"]).await;
    for name in ["a", "b"] {
        keeper.release(name, 1).await.unwrap();
    }
    let ttl_ms = LONG.as_millis() as u64;
    for now_ms in (0..2 * ttl_ms).step_by(2_000) {
        assert_eq!(keeper.sweep(now_ms).await, Ok(vec![]), "{now_ms}");
    }
    keeper.beat(beat("a", 1, 0), None).await.unwrap();
    assert_eq!(keeper.sweep(2 * ttl_ms).await, Ok(vec![]), "the first to come back is no reason either");
    assert_eq!(keeper.roster(None).await, Ok(roster));
}

async fn a_retired_node_leaves_once_all_have_settled(world: impl World) {
    let keeper = world.keeper(LONG);
    form(&keeper, &["a", "b", "c"]).await;
    let leaving = keeper.retire("b").await.unwrap();
    assert_eq!((names(&leaving), leaving.has("b", 1)), (vec!["a", "c"], true));
    assert_eq!(keeper.retire("b").await, Ok(Arc::clone(&leaving)), "it may be named again");
    let gone = settle(&keeper, leaving).await;
    assert!(!gone.has("b", 1));
}

async fn what_cannot_be_retired_is_told_why(world: impl World) {
    let keeper = world.keeper(LONG);
    assert_eq!(keeper.retire("a").await, Err(AuthorityError::NotFound));
    let roster = form(&keeper, &["a"]).await;
    assert_eq!(keeper.retire("a").await, Err(AuthorityError::Last));
    assert_eq!(keeper.retire("z").await, Err(AuthorityError::NotFound));
    keeper.beat(beat("b", 1, 0), Some(roster)).await.unwrap();
    assert_eq!(keeper.retire("a").await, Err(AuthorityError::Unsettled));
}

async fn a_beat_of_no_valid_node_is_not_stored(world: impl World) {
    let answer = world.keeper(LONG).beat(beat("a b", 1, 0), None).await;
    assert!(matches!(answer, Err(AuthorityError::Node(_))), "{answer:?}");
    assert!(!world.has_roster().await);
}
