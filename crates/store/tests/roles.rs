//! What a node took in another's place counts by itself: the spare floor.

use annulus_store::{Condition, Holding, Lookup, Miss, Options, PutError, Role, ScanCursor, Store, Write};

const NOW: u64 = 1_700_000_000_000;

/// All keys share one floor.
const HASH: u64 = 5;

fn store() -> Store {
    Store::new(Options { shards: Some(1), tombstone_ttl_ms: 10_000, ..Options::new(1 << 20, 7) })
}

fn put_as(store: &Store, role: Role, key: &[u8], write: &Write<'_>) -> Result<(), PutError> {
    let holding = Holding { fetched: false, role };
    store.put_as(key, HASH, write, Condition::Always, holding, NOW).map(|_| ())
}

fn set_as(store: &Store, role: Role, key: &[u8], version: u64) {
    put_as(store, role, key, &Write::value(version, b"v")).unwrap();
}

/// What an owner and what a spare say of a key that is not there.
fn floors(store: &Store) -> (u64, u64) {
    let Lookup::Miss(miss) = store.peek(b"absent", HASH, NOW) else { panic!("nobody wrote it") };
    (miss.version_as(Role::Owner), miss.version_as(Role::Spare))
}

fn spares(store: &Store) -> usize {
    let mut cursor = ScanCursor::default();
    std::iter::from_fn(|| store.scan_spare(&mut cursor, 100)).map(|batch| batch.len()).sum()
}

#[test]
fn only_what_was_taken_as_a_spare_raises_the_spare_floor() {
    let store = store();
    set_as(&store, Role::Owner, b"owned", 9);
    assert!(store.forget(b"owned", HASH, 9, NOW));
    assert_eq!(floors(&store), (9, 0));
    for (role, version) in [(Role::Spare, 4), (Role::Between, 12)] {
        put_as(&store, role, b"k", &Write { deadline_ms: Some(NOW), ..Write::tombstone(version) }).unwrap();
        assert!(store.peek(b"k", HASH, NOW).hit().is_none());
        assert_eq!(floors(&store), (version.max(9), version));
    }
}

#[test]
fn a_write_is_held_against_the_floor_that_counts_in_its_role() {
    let store = store();
    store.raise_floor(HASH as usize, 9);
    let refusal = |role| put_as(&store, role, b"k", &Write::value(5, b"v")).unwrap_err();
    assert!(matches!(refusal(Role::Owner), PutError::Refused { version: 9, .. }));
    assert!(matches!(refusal(Role::Between), PutError::Refused { version: 9, .. }));
    assert!(store.promise_as(b"k", HASH, 5, Role::Owner, NOW).is_err());
    assert!(store.promise_as(b"k", HASH, 5, Role::Spare, NOW).is_ok());
    set_as(&store, Role::Spare, b"k", 5);
    assert_eq!(store.peek(b"k", HASH, NOW).version(), 5);
}

#[test]
fn what_a_spare_took_is_an_owners_once_it_owns_it() {
    let store = store();
    set_as(&store, Role::Spare, b"k", 5);
    store.get(b"k", HASH, NOW);
    assert_eq!(spares(&store), 1, "a read changes nothing of it");
    store.own(b"k", HASH);
    assert_eq!(spares(&store), 0);
    assert!(store.forget(b"k", HASH, 5, NOW));
    assert_eq!(floors(&store), (5, 0));
}

#[test]
fn the_same_write_once_more_as_a_spare_is_held_as_one() {
    let store = store();
    set_as(&store, Role::Owner, b"k", 5);
    set_as(&store, Role::Between, b"k", 5);
    set_as(&store, Role::Owner, b"k", 5);
    assert_eq!(spares(&store), 1, "what it answered as a spare, it stands by");
    set_as(&store, Role::Owner, b"k", 6);
    assert_eq!(spares(&store), 0);
}

#[test]
fn what_a_spare_took_leaves_a_tombstone_when_its_time_is_over_so_that_the_owners_can_be_told() {
    for by_wheel in [true, false] {
        let store = store();
        let write = Write { deadline_ms: Some(NOW + 1_000), flags: 7, ..Write::value(5, b"v") };
        put_as(&store, Role::Spare, b"k", &write).unwrap();
        let later = NOW + 1_600;
        if by_wheel {
            assert_eq!(store.expire(later, 10), 1);
        }
        let Lookup::Miss(miss) = store.get(b"k", HASH, later) else { panic!("it is over") };
        assert!(matches!(miss, Miss { version: 5, spare_version: 5, tombstone: true, .. }), "{miss:?}");
        assert_eq!((floors(&store), store.stats().expired, store.stats().tombstones), ((0, 0), 1, 1));
        assert!(store.put(b"k", HASH, &Write::value(5, b"v"), Condition::Always, later).is_err());

        assert_eq!(store.expire(later + 10_500, 10), 1);
        assert_eq!((floors(&store), store.stats().tombstones_dropped), ((5, 5), 1));
    }
}

#[test]
fn what_a_spare_must_forget_leaves_a_tombstone_too() {
    let store = store();
    set_as(&store, Role::Spare, b"k", 5);
    assert!(store.forget(b"k", HASH, 5, NOW));
    let Lookup::Miss(miss) = store.get(b"k", HASH, NOW) else { panic!("it is forgotten") };
    assert_eq!((miss.version, miss.tombstone, floors(&store)), (5, true, (5, 0)));
    assert!(store.forget(b"k", HASH, 5, NOW));
    assert_eq!(floors(&store), (5, 0));
}

#[test]
fn what_is_known_to_be_the_newest_is_taken_below_a_floor_unless_its_key_was_written_here_lately() {
    let store = store();
    let newest = |version, now_ms| {
        let condition = Condition::Newest { quiet_ms: 2_000 };
        store.put(b"k", HASH, &Write::value(version, b"v"), condition, now_ms).map(|_| ())
    };
    let forget = |version, now_ms| assert!(store.forget(b"k", HASH, version, now_ms));
    assert_eq!(newest(9, NOW), Ok(()));
    assert!(matches!(newest(8, NOW), Err(PutError::Refused { version: 9, .. })), "there it counts");
    forget(9, NOW);
    assert!(matches!(newest(5, NOW + 2_000), Err(PutError::Refused { version: 9, .. })));
    assert_eq!(newest(5, NOW + 2_001), Ok(()));
    forget(5, NOW + 2_001);
    for other in 0..2_000_u64 {
        let write = Write::value(10 + other, b"");
        assert!(store.put(&other.to_le_bytes(), HASH, &write, Condition::Always, NOW + 4_100).is_ok());
    }
    assert!(newest(6, NOW + 5_000).is_err(), "nobody remembers the last two seconds");
    assert_eq!(newest(6, NOW + 6_101), Ok(()));
}

#[test]
fn a_flush_raises_both() {
    let store = store();
    store.clear(8);
    assert_eq!(floors(&store), (8, 8));
}
