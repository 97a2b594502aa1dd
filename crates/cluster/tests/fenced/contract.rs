//! What holds in every home.

use std::time::Duration;

use annulus_cluster::fenced::{
    Claim, Confirmed, FencedStore, Head, Heard, Known, Publication, Published, Writer,
};
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::world::{
    LIMIT, LONG, Memory, Redis, World, cut, eventually, lead, pattern, publication, publish, read,
};

macro_rules! in_every_home {
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
    };
}

in_every_home!(
    of_many_who_ask_one_gets_the_lease,
    a_lease_ends_unless_it_is_renewed_and_then_goes_to_another,
    who_asks_again_gets_a_later_term,
    tokens_rise_over_terms_and_over_a_loss_of_everything,
    only_the_term_that_holds_the_lease_renews_it,
    a_lease_is_freed_by_its_holder_only,
    a_publication_is_whole,
    a_deposed_leader_is_refused_and_nothing_of_it_is_written,
    an_earlier_term_of_the_same_replica_is_refused,
    who_never_held_the_lease_is_refused,
    revisions_rise_above_all_that_was_known,
    a_home_that_lost_everything_continues_above_what_followers_tell,
    two_lines_that_met_at_one_revision_part_again,
    what_is_confirmed_stays_and_what_is_not_goes,
    what_was_lost_is_not_confirmed,
    what_is_marked_as_cached_is_known_to_the_next_leader,
    data_is_read_in_pieces_of_one_revision,
    large_data_is_published_as_it_is,
    a_publication_is_heard,
    datasets_do_not_touch_each_other,
);

async fn of_many_who_ask_one_gets_the_lease(world: impl World) {
    let stores: Vec<_> = (0..8).map(|_| world.store()).collect();
    let ids: Vec<String> = (0..8).map(|n| format!("replica-{n}")).collect();
    let claims = join_all(stores.iter().zip(&ids).map(|(store, id)| store.acquire(id, 0, LONG))).await;
    let claims: Vec<_> = claims.into_iter().map(Result::unwrap).collect();
    assert_eq!(claims.iter().filter(|claim| matches!(claim, Claim::Granted { .. })).count(), 1);
    let left = claims.iter().filter_map(|claim| match claim {
        Claim::Held { left } => Some(*left),
        Claim::Granted { .. } => None,
    });
    for left in left {
        assert!(left <= LONG && left + LIMIT > LONG, "{left:?}");
    }
}

async fn a_lease_ends_unless_it_is_renewed_and_then_goes_to_another(world: impl World) {
    let store = world.store();
    let short = Duration::from_millis(300);
    let Claim::Granted { token } = store.acquire("a", 0, short).await.unwrap() else { panic!("it is free") };
    assert!(matches!(store.acquire("b", 0, LONG).await.unwrap(), Claim::Held { left } if left <= short));
    assert_eq!(store.renew(Writer { id: "a", token }, short).await, Ok(true));
    let mut next = 0;
    eventually("it ends", async || match store.acquire("b", 0, LONG).await.unwrap() {
        Claim::Granted { token } => {
            next = token;
            true
        }
        Claim::Held { .. } => false,
    })
    .await;
    assert!(next > token);
    assert_eq!(store.renew(Writer { id: "a", token }, LONG).await, Ok(false));
}

async fn who_asks_again_gets_a_later_term(world: impl World) {
    let store = world.store();
    let first = lead(&store, "a").await;
    let second = lead(&store, "a").await;
    assert!(second > first);
    assert_eq!(store.renew(Writer { id: "a", token: first }, LONG).await, Ok(false));
    assert_eq!(store.renew(Writer { id: "a", token: second }, LONG).await, Ok(true));
}

async fn tokens_rise_over_terms_and_over_a_loss_of_everything(world: impl World) {
    let store = world.store();
    let mut last = 0;
    for term in 0..10 {
        if term % 3 == 2 {
            world.wipe().await;
        }
        let id = format!("replica-{term}");
        let known = if term == 5 { last + 1_000_000 } else { last };
        let Claim::Granted { token } = store.acquire(&id, known, LONG).await.unwrap() else {
            panic!("it is free")
        };
        assert!(token > known, "{token} after {known}");
        last = token;
        store.release(&id).await.unwrap();
    }
}

async fn only_the_term_that_holds_the_lease_renews_it(world: impl World) {
    let store = world.store();
    let token = lead(&store, "a").await;
    for writer in [
        Writer { id: "b", token },
        Writer { id: "a", token: token + 1 },
        Writer { id: "a", token: token - 1 },
    ] {
        assert_eq!(store.renew(writer, LONG).await, Ok(false), "{writer:?}");
    }
    world.wipe().await;
    assert_eq!(
        store.renew(Writer { id: "a", token }, LONG).await,
        Ok(false),
        "a lost lease is not made again"
    );
}

async fn a_lease_is_freed_by_its_holder_only(world: impl World) {
    let store = world.store();
    lead(&store, "a").await;
    store.release("b").await.unwrap();
    assert!(matches!(store.acquire("b", 0, LONG).await.unwrap(), Claim::Held { .. }));
    store.release("a").await.unwrap();
    store.release("a").await.unwrap();
    lead(&store, "b").await;
}

async fn a_publication_is_whole(world: impl World) {
    let store = world.store();
    let nothing = store.head("rates", Known::default()).await.unwrap();
    assert_eq!(nothing, Head { now_ms: nothing.now_ms, ..Head::default() });
    let token = lead(&store, "a").await;
    let revision = publish(&store, Writer { id: "a", token }, "one").await;
    let head = world.store().head("rates", Known::default()).await.unwrap();
    let expected = Head {
        known: Known { revision, token },
        floor: revision,
        bytes: 3,
        checked_ms: head.updated_ms,
        note: "note".to_owned(),
        ..head.clone()
    };
    assert_eq!(head, expected);
    assert!(!head.has_lost_something());
    assert!(head.now_ms - head.updated_ms < LIMIT.as_millis() as u64);
    assert_eq!(read(&store, revision).await.unwrap().as_deref(), Some(&b"one"[..]));
}

async fn a_deposed_leader_is_refused_and_nothing_of_it_is_written(world: impl World) {
    let store = world.store();
    let old = Writer { id: "a", token: lead(&store, "a").await };
    let first = publish(&store, old, "one").await;
    store.release("a").await.unwrap();
    let new = Writer { id: "b", token: lead(&store, "b").await };
    let second = publish(&store, new, "two").await;
    let before = store.head("rates", Known::default()).await.unwrap();
    let mut heard = store.listen(&["rates".to_owned()]);
    assert_eq!(timeout(LIMIT, heard.recv()).await.unwrap(), Some(Heard::Listening));

    assert_eq!(store.publish(old, publication("stale")).await, Ok(Published::Refused));
    assert_eq!(store.confirm(old, "rates", second, LONG).await, Ok(Confirmed::Refused));
    assert_eq!(store.mark_cached(old, "rates", second).await, Ok(false));
    let after = store.head("rates", Known::default()).await.unwrap();
    assert_eq!(after, Head { now_ms: after.now_ms, ..before });
    assert_eq!(read(&store, first).await, Ok(None));
    assert_eq!(read(&store, second).await.unwrap().as_deref(), Some(&b"two"[..]));

    let third = publish(&store, new, "three").await;
    let told = timeout(LIMIT, heard.recv()).await.unwrap();
    let is_third = matches!(&told, Some(Heard::Published(notice)) if notice.revision == third);
    assert!(is_third, "nobody was told of what was refused: {told:?}");
}

async fn an_earlier_term_of_the_same_replica_is_refused(world: impl World) {
    let store = world.store();
    let old = Writer { id: "a", token: lead(&store, "a").await };
    let new = Writer { id: "a", token: lead(&store, "a").await };
    assert_eq!(store.publish(old, publication("stale")).await, Ok(Published::Refused));
    publish(&store, new, "fresh").await;
}

async fn who_never_held_the_lease_is_refused(world: impl World) {
    let store = world.store();
    let nobody = Writer { id: "a", token: 0 };
    assert_eq!(store.publish(nobody, publication("x")).await, Ok(Published::Refused));
    let token = lead(&store, "a").await;
    assert_eq!(store.publish(Writer { id: "b", token }, publication("x")).await, Ok(Published::Refused));
    world.wipe().await;
    assert_eq!(store.publish(Writer { id: "a", token }, publication("x")).await, Ok(Published::Refused));
}

async fn revisions_rise_above_all_that_was_known(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let mut last = 0;
    // Faster than the clock's milliseconds.
    for _ in 0..50 {
        let revision = publish(&store, writer, "x").await;
        assert!(revision > last, "{revision} after {last}");
        last = revision;
    }
    let above = last + 5_000_000;
    let known = store.publish(writer, Publication { above, ..publication("y") }).await.unwrap();
    assert!(matches!(known, Published::As { revision, .. } if revision == above + 1), "{known:?}");
}

async fn a_home_that_lost_everything_continues_above_what_followers_tell(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let above = publish(&store, writer, "one").await + 5_000_000;
    let Published::As { revision, .. } =
        store.publish(writer, Publication { above, ..publication("two") }).await.unwrap()
    else {
        panic!("refused")
    };
    world.wipe().await;
    let known = Known { revision, token: writer.token };
    let head = world.store().head("rates", known).await.unwrap();
    assert_eq!((head.known.revision, head.floor, head.bytes), (0, revision, 0));
    assert!(head.has_lost_something());
    let next = Writer { id: "b", token: lead(&store, "b").await };
    assert_eq!(publish(&store, next, "three").await, revision + 1);
}

async fn two_lines_that_met_at_one_revision_part_again(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let revision = publish(&store, writer, "one").await;
    let same = store.head("rates", Known { revision, token: writer.token }).await.unwrap();
    assert!(!same.has_lost_something());
    let other = store.head("rates", Known { revision, token: writer.token + 1 }).await.unwrap();
    assert_eq!(other.floor, revision + 1);
    assert_eq!(store.confirm(writer, "rates", revision, LONG).await, Ok(Confirmed::Lost));
    assert!(publish(&store, writer, "one").await > revision + 1);
}

async fn what_is_confirmed_stays_and_what_is_not_goes(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let short = Duration::from_millis(200);
    let published = store.publish(writer, Publication { ttl: short, ..publication("one") }).await.unwrap();
    let Published::As { revision, .. } = published else { panic!("refused") };
    assert_eq!(store.confirm(writer, "rates", revision, LONG).await, Ok(Confirmed::Done));
    let first = store.head("rates", Known::default()).await.unwrap();
    eventually("its first TTL is over", async || {
        let head = store.head("rates", Known::default()).await.unwrap();
        head.now_ms > first.updated_ms + 2 * short.as_millis() as u64
    })
    .await;
    assert!(read(&store, revision).await.unwrap().is_some());
    assert_eq!(store.confirm(writer, "rates", revision, short).await, Ok(Confirmed::Done));
    eventually("its data goes", async || read(&store, revision).await == Ok(None)).await;
    let head = store.head("rates", Known::default()).await.unwrap();
    assert_eq!((head.known.revision, head.bytes), (revision, 0), "its number stays");
    assert!(head.checked_ms > head.updated_ms);
    assert!(publish(&store, writer, "two").await > revision);
}

async fn what_was_lost_is_not_confirmed(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    assert_eq!(store.confirm(writer, "rates", 7, LONG).await, Ok(Confirmed::Lost));
    let revision = publish(&store, writer, "one").await;
    assert_eq!(store.confirm(writer, "rates", revision - 1, LONG).await, Ok(Confirmed::Lost));
    store.head("rates", Known { revision: revision + 9, token: 1 }).await.unwrap();
    assert_eq!(store.confirm(writer, "rates", revision, LONG).await, Ok(Confirmed::Lost));
}

async fn what_is_marked_as_cached_is_known_to_the_next_leader(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let revision = publish(&store, writer, "one").await;
    assert_eq!(store.mark_cached(writer, "rates", revision).await, Ok(true));
    publish(&store, writer, "two").await;
    assert_eq!(world.store().head("rates", Known::default()).await.unwrap().cached, revision);
}

async fn data_is_read_in_pieces_of_one_revision(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let first = publish(&store, writer, "0123456789").await;
    let mut pieces = Vec::new();
    for from in [0, 4, 8, 10] {
        pieces.push(store.read("rates", first, from, 4).await.unwrap().unwrap());
    }
    assert_eq!(pieces, ["0123", "4567", "89", ""]);
    publish(&store, writer, "abcdefghij").await;
    assert_eq!(store.read("rates", first, 4, 4).await, Ok(None), "never a piece of another");
}

async fn large_data_is_published_as_it_is(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    for length in [131_071, 131_072, 131_073, 262_144, 900_001] {
        let data = pattern(length);
        let publication = Publication { data: cut(&data), ..publication("") };
        let Published::As { revision, .. } = store.publish(writer, publication).await.unwrap() else {
            panic!("refused")
        };
        let head = store.head("rates", Known::default()).await.unwrap();
        assert_eq!((head.known.revision, head.bytes), (revision, length as u64));
        assert!(read(&store, revision).await.unwrap().unwrap() == data, "{length} bytes");
    }
}

async fn a_publication_is_heard(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let mut heard = world.store().listen(&["rates".to_owned(), "other".to_owned()]);
    assert_eq!(timeout(LIMIT, heard.recv()).await.unwrap(), Some(Heard::Listening));
    let published = store.publish(writer, publication("one")).await.unwrap();
    let Published::As { revision, at_ms } = published else { panic!("refused") };
    let Some(Heard::Published(notice)) = timeout(LIMIT, heard.recv()).await.unwrap() else {
        panic!("nothing is heard")
    };
    let told = (notice.dataset.as_str(), notice.revision, notice.at_seconds);
    assert_eq!(told, ("rates", revision, at_ms / 1000));
}

async fn datasets_do_not_touch_each_other(world: impl World) {
    let store = world.store();
    let writer = Writer { id: "a", token: lead(&store, "a").await };
    let rates = publish(&store, writer, "one").await;
    let other = Publication { dataset: "other", ..publication("two") };
    let Published::As { revision, .. } = store.publish(writer, other).await.unwrap() else {
        panic!("refused")
    };
    assert_eq!(read(&store, rates).await.unwrap().as_deref(), Some(&b"one"[..]));
    let read = store.read("other", revision, 0, 10).await.unwrap();
    assert_eq!(read.as_deref(), Some(&b"two"[..]));
}
