//! The store's promises, one test each.

use annulus_store::{
    Condition, Lookup, Miss, MissReason, Options, Previous, PutError, ScanCursor, Store, Taken, Write,
};

const NOW: u64 = 1_700_000_000_000;

fn store(change: impl FnOnce(&mut Options)) -> Store {
    let mut options = Options::new(1 << 20, 7);
    options.shards = Some(1);
    change(&mut options);
    Store::new(options)
}

fn items(max: usize) -> Store {
    store(|options| options.max_items = Some(max))
}

/// Any spread will do; the real one is the ring's.
fn hash(key: &[u8]) -> u64 {
    key.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn put(store: &Store, key: &[u8], write: &Write<'_>, condition: Condition) -> Result<(), PutError> {
    untold(store.put(key, hash(key), write, condition, NOW).map(|_| ()))
}

fn set(store: &Store, key: &[u8], version: u64) -> Result<(), PutError> {
    put(store, key, &Write::value(version, b"v"), Condition::Always)
}

fn with_deadline(version: u64, deadline_ms: u64) -> Write<'static> {
    Write { deadline_ms: Some(deadline_ms), ..Write::value(version, b"v") }
}

/// The version known of a key that is not there, why it is not, and whether a tombstone says so.
fn missed(store: &Store, key: &[u8], now_ms: u64) -> (u64, MissReason, bool) {
    let miss = miss(store, key, now_ms);
    (miss.version, miss.reason, miss.tombstone)
}

fn miss(store: &Store, key: &[u8], now_ms: u64) -> Miss {
    match store.get(key, hash(key), now_ms) {
        Lookup::Hit(entry) => panic!("a miss was expected, not {entry:?}"),
        Lookup::Miss(miss) => miss,
    }
}

/// Refused because of this version, whether the write was taken before or not.
fn refused<T>(version: u64) -> Result<T, PutError> {
    Err(PutError::Refused { version, taken: Taken::Once })
}

/// The same of an answer.
fn untold<T>(answer: Result<T, PutError>) -> Result<T, PutError> {
    answer.map_err(|error| match error {
        PutError::Refused { version, .. } => PutError::Refused { version, taken: Taken::Once },
        other => other,
    })
}

#[test]
fn the_newest_version_wins_and_a_repeated_write_is_welcome() {
    let store = items(10);
    assert_eq!(set(&store, b"k", 5), Ok(()));
    assert_eq!(set(&store, b"k", 5), Ok(()));
    assert_eq!(put(&store, b"k", &Write::value(5, b"v"), Condition::Absent), Ok(()));
    assert_eq!(put(&store, b"k", &Write::value(5, b"other"), Condition::Always), refused(5));
    assert_eq!(set(&store, b"k", 4), refused(5));
    assert_eq!(set(&store, b"k", 6), Ok(()));
    assert_eq!(store.stats().refused, 2);
}

#[test]
fn a_write_says_what_it_replaced() {
    let store = items(10);
    let write = |write: Write<'_>| store.put(b"k", hash(b"k"), &write, Condition::Always, NOW);
    assert_eq!(write(Write::value(1, b"v")), Ok(None));
    assert_eq!(write(Write::tombstone(2)), Ok(Some(Previous { version: 1, tombstone: false })));
    assert_eq!(write(Write::value(3, b"v")), Ok(Some(Previous { version: 2, tombstone: true })));
}

#[test]
fn a_refusal_says_whether_the_write_was_taken_before() {
    let store = items(10);
    let set = |key: &[u8], version| {
        let write = Write::value(version, b"v");
        store.put(key, hash(key), &write, Condition::Always, NOW).map(|_| ())
    };
    let not_within = |ms| Err(PutError::Refused { version: 9, taken: Taken::NotWithin { ms } });
    assert_eq!((set(b"k", 5), set(b"k", 9)), (Ok(()), Ok(())));
    assert_eq!(set(b"k", 5), Err(PutError::Refused { version: 9, taken: Taken::Once }));
    assert_eq!(set(b"k", 6), not_within(NOW));
    let same_version = Write::value(9, b"another");
    let answer = store.put(b"k", hash(b"k"), &same_version, Condition::Always, NOW);
    assert_eq!(answer.map(|_| ()), not_within(0));
    for version in 10..2_000 {
        assert_eq!(set(b"other", version), Ok(()));
    }
    assert_eq!(set(b"k", 5), not_within(0));
}

#[test]
fn a_write_that_was_carried_on_under_a_newer_version_was_taken_too() {
    let store = items(10);
    let carried = Write { origin: Some(5), ..Write::value(8, b"v") };
    assert_eq!(put(&store, b"k", &carried, Condition::Always), Ok(()));
    assert_eq!(set(&store, b"k", 9), Ok(()));
    assert_eq!(set(&store, b"k", 5), Err(PutError::Refused { version: 9, taken: Taken::Once }));
}

#[test]
fn nothing_older_slips_back_in_after_eviction() {
    let store = items(1);
    assert_eq!(set(&store, b"old", 5), Ok(()));
    assert_eq!(set(&store, b"new", 1), Ok(()));
    assert_eq!(missed(&store, b"old", NOW), (5, MissReason::Evicted, false));
    assert_eq!(set(&store, b"old", 5), refused(5));
    assert_eq!(set(&store, b"old", 6), Ok(()));
}

#[test]
fn tombstones_may_go_early_and_still_hold() {
    let store = items(1);
    assert_eq!(set(&store, b"k", 3), Ok(()));
    assert_eq!(put(&store, b"k", &Write::tombstone(9), Condition::Present), Ok(()));
    assert_eq!(missed(&store, b"k", NOW), (9, MissReason::Deleted, true));
    assert_eq!(set(&store, b"other", 1), Ok(()));
    assert_eq!(missed(&store, b"k", NOW), (9, MissReason::Deleted, false));
    assert_eq!(set(&store, b"k", 8), refused(9));
}

#[test]
fn tombstones_go_at_their_age_and_still_hold() {
    let store = items(10);
    assert_eq!(put(&store, b"k", &Write::tombstone(9), Condition::Always), Ok(()));
    assert_eq!((store.stats().items, store.stats().tombstones), (0, 1));
    assert_eq!(store.expire(NOW + 599_999, 100), 0);
    assert_eq!(store.expire(NOW + 600_256, 100), 1);
    assert_eq!((store.stats().tombstones, store.stats().tombstones_dropped), (0, 1));
    assert_eq!(set(&store, b"k", 9), refused(9));
}

#[test]
fn expired_entries_leave_memory_without_being_read() {
    let store = items(10_000);
    for i in 0..10_000_u64 {
        assert_eq!(put(&store, &i.to_le_bytes(), &with_deadline(1, NOW + i), Condition::Always), Ok(()));
    }
    let full = store.stats().bytes;
    while store.expire(NOW + 5_000, 100) > 0 {}
    let left = store.stats().items;
    assert!((5_000..5_256).contains(&left), "{left}");
    while store.expire(NOW + 20_000, 100) > 0 {}
    let stats = store.stats();
    assert_eq!((stats.items, stats.expired), (0, 10_000));
    assert!(stats.bytes < full / 2);
}

#[test]
fn nothing_is_served_at_its_deadline_or_after() {
    let store = items(10);
    for key in [b"get", b"put", b"cas"] {
        assert_eq!(put(&store, key, &with_deadline(4, NOW + 1), Condition::Always), Ok(()));
    }
    assert!(matches!(store.get(b"get", hash(b"get"), NOW), Lookup::Hit(_)));
    assert_eq!(store.scan(&mut ScanCursor::default(), 99, NOW + 1).map(|batch| batch.len()), Some(0));
    assert_eq!(missed(&store, b"get", NOW + 1), (4, MissReason::Expired, false));
    assert_eq!(
        untold(store.put(b"put", hash(b"put"), &Write::value(4, b""), Condition::Always, NOW + 1)),
        refused(4)
    );
    let cas = store.put(b"cas", hash(b"cas"), &Write::value(5, b""), Condition::VersionIs(4), NOW + 1);
    assert_eq!(cas, Err(PutError::ConditionFailed { version: 4, exists: false }));
}

#[test]
fn a_million_overwrites_with_deadlines_leave_nothing_behind() {
    let store = items(10);
    assert_eq!(put(&store, b"k", &with_deadline(1, NOW + 1), Condition::Always), Ok(()));
    let once = store.stats().bytes;
    for version in 2..1_000_000 {
        let write = with_deadline(version, NOW + version * 7919 % 1_000_000_000);
        assert_eq!(put(&store, b"k", &write, Condition::Always), Ok(()));
    }
    assert_eq!((store.stats().bytes, store.stats().peak_bytes), (once, once));
}

#[test]
fn a_store_stays_under_its_bound_inside_every_put() {
    let mut seed = 1_u64;
    for max_bytes in [6_000, 20_000, 300_000] {
        let store = store(|options| options.max_bytes = max_bytes);
        for version in 1..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let size = if seed >> 60 == 0 { max_bytes / 2 } else { (seed >> 55) as usize };
            let key = (seed >> 40 & 0x3fff).to_le_bytes();
            let value = vec![0; size];
            assert_eq!(put(&store, &key, &Write::value(version, &value), Condition::Always), Ok(()));
            let stats = store.stats();
            assert!(stats.bytes <= stats.peak_bytes && stats.peak_bytes <= max_bytes);
            assert!(stats.items > 0);
        }
        assert!(store.stats().evicted_for_bytes > 1000);
    }
}

#[test]
fn a_full_store_makes_good_use_of_its_bytes() {
    let store = store(|_| {});
    for i in 0..100_000_u64 {
        assert_eq!(put(&store, &i.to_le_bytes(), &Write::value(i + 1, &[0; 100]), Condition::Always), Ok(()));
    }
    let stats = store.stats();
    assert!(stats.bytes > stats.max_bytes * 90 / 100, "{stats:?}");
}

#[test]
fn what_can_never_fit_is_refused_and_changes_nothing() {
    let store = store(|options| (options.max_bytes, options.max_entry_bytes) = (10_000, 20_000));
    assert_eq!(set(&store, b"k", 1), Ok(()));
    let too_large = |error| matches!(error, Err(PutError::TooLarge { .. }));
    assert!(too_large(put(&store, b"k", &Write::value(2, &[0; 9_000]), Condition::Always)));
    assert!(too_large(put(&store, &[0; 251], &Write::value(2, b""), Condition::Always)));
    let content_type = "x".repeat(256);
    let write = Write { content_type: &content_type, ..Write::value(2, b"") };
    assert!(too_large(put(&store, b"k", &write, Condition::Always)));
    assert!(matches!(store.get(b"k", hash(b"k"), NOW), Lookup::Hit(entry) if entry.version() == 1));
    assert_eq!(put(&store, b"k", &Write::value(2, &[0; 7_000]), Condition::Always), Ok(()));
}

#[test]
fn conditions_hold_in_the_same_step_as_the_write() {
    let store = items(10);
    let write = Write::value(3, b"x");
    let failed = |version, exists| Err(PutError::ConditionFailed { version, exists });
    assert_eq!(put(&store, b"k", &write, Condition::Present), failed(0, false));
    assert_eq!(put(&store, b"k", &write, Condition::VersionIs(0)), failed(0, false));
    assert_eq!(put(&store, b"k", &write, Condition::Absent), Ok(()));
    assert_eq!(put(&store, b"k", &Write::value(4, b"y"), Condition::Absent), failed(3, true));
    assert_eq!(put(&store, b"k", &Write::value(4, b"y"), Condition::VersionIs(3)), Ok(()));
    assert_eq!(put(&store, b"k", &Write::tombstone(5), Condition::VersionIs(4)), Ok(()));
    assert_eq!(put(&store, b"k", &Write::value(6, b"z"), Condition::Present), failed(5, false));
    assert_eq!(put(&store, b"k", &Write::value(5, b"z"), Condition::Absent), refused(5));
    assert_eq!(put(&store, b"k", &Write::value(6, b"z"), Condition::Absent), Ok(()));
}

#[test]
fn a_promise_keeps_lower_writes_out_and_lets_its_own_in_once() {
    let store = items(10);
    let promise =
        |ballot, now| untold(store.promise(b"k", hash(b"k"), ballot, now).map(|found| found.version()));
    assert_eq!(set(&store, b"k", 5), Ok(()));
    assert_eq!(promise(5, NOW), refused(5));
    assert_eq!(promise(10, NOW), Ok(5));
    assert_eq!(promise(9, NOW), Err(PutError::Promised { ballot: 10 }));
    assert_eq!(set(&store, b"k", 9), Err(PutError::Promised { ballot: 10 }));
    assert_eq!(promise(12, NOW), Ok(5));
    assert_eq!(
        put(&store, b"k", &Write::value(10, b"a"), Condition::Promised),
        Err(PutError::Promised { ballot: 12 })
    );
    assert_eq!(put(&store, b"k", &Write::value(12, b"b"), Condition::Promised), Ok(()));
    let failed = Err(PutError::ConditionFailed { version: 12, exists: true });
    assert_eq!(put(&store, b"k", &Write::value(13, b"c"), Condition::Promised), failed);
    assert_eq!(store.stats().promises, 0);
}

#[test]
fn a_plain_write_above_a_promise_ends_it_and_so_does_time() {
    let store = items(10);
    let failed = |version, exists| Err(PutError::ConditionFailed { version, exists });
    let own = Write::value(10, b"own");
    assert!(store.promise(b"k", hash(b"k"), 10, NOW).is_ok());
    assert_eq!(set(&store, b"k", 11), Ok(()));
    assert_eq!(put(&store, b"k", &own, Condition::Promised), failed(11, true));

    assert!(store.promise(b"late", hash(b"late"), 10, NOW).is_ok());
    let late = |condition, now| store.put(b"late", hash(b"late"), &own, condition, now).map(|_| ());
    assert_eq!(late(Condition::Promised, NOW + 1_000), failed(0, false));
    assert_eq!(late(Condition::Promised, NOW + 5_000), failed(0, false));
    let lower = store.put(b"late", hash(b"late"), &Write::value(2, b"low"), Condition::Always, NOW + 5_000);
    assert_eq!(lower, Ok(None));
}

#[test]
fn promises_are_bounded_and_ended_ones_make_room() {
    let store = items(10);
    for key in 0..1024_u64 {
        assert!(store.promise(&key.to_le_bytes(), key, 1, NOW).is_ok());
    }
    assert!(matches!(store.promise(b"one more", 1, 1, NOW + 4_999), Err(PutError::Busy)));
    assert!(store.promise(b"one more", 1, 1, NOW + 5_000).is_ok());
    assert_eq!(store.stats().promises, 1);
    store.expire(NOW + 10_000, 1);
    assert_eq!(store.stats().promises, 0);
}

#[test]
fn a_flush_raises_every_floor_and_ends_promises() {
    let store = items(10);
    assert_eq!(set(&store, b"newer", 50), Ok(()));
    assert!(store.promise(b"p", hash(b"p"), 60, NOW).is_ok());
    assert_eq!(store.clear(40), 1);
    assert!(store.floors(0..4096).iter().all(|floor| *floor >= 40));
    assert_eq!(miss(&store, b"newer", NOW).version, 50);
    assert_eq!(miss(&store, b"never", NOW).version, 40);
    let own = put(&store, b"p", &Write::value(60, b""), Condition::Promised);
    assert_eq!(own, Err(PutError::ConditionFailed { version: 40, exists: false }));
    assert_eq!((store.stats().items, store.stats().bytes), (0, 0));
}

#[test]
fn what_moved_away_may_come_back_as_it_was() {
    let store = items(10);
    assert_eq!(set(&store, b"k", 5), Ok(()));
    assert!(!store.drop_moved(b"k", hash(b"k"), 4));
    assert!(store.drop_moved(b"k", hash(b"k"), 5));
    assert_eq!(missed(&store, b"k", NOW), (0, MissReason::Moved, false));
    assert_eq!(set(&store, b"k", 5), Ok(()));
}

#[test]
fn a_scan_hands_out_each_entry_once_in_bounded_batches() {
    let store = store(|options| (options.shards, options.max_bytes) = (Some(8), 1 << 24));
    for i in 0..5_000_u64 {
        assert_eq!(set(&store, &i.to_le_bytes(), i + 1), Ok(()));
    }
    let (mut cursor, mut seen) = (ScanCursor::default(), Vec::new());
    while let Some(batch) = store.scan(&mut cursor, 100, NOW) {
        assert!(batch.len() <= 100);
        seen.extend(batch.iter().map(annulus_store::Entry::version));
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=5_000));
}

#[test]
fn the_item_bound_is_exact_over_all_shards() {
    let store = store(|options| (options.shards, options.max_items) = (Some(8), Some(1_003)));
    for i in 0..20_000_u64 {
        assert_eq!(set(&store, &i.to_le_bytes(), i + 1), Ok(()));
    }
    assert_eq!((store.shard_count(), store.stats().items), (8, 1_003));
}

#[test]
fn floors_travel_and_only_rise() {
    let store = items(10);
    let bucket = hash(b"k") as usize % 4096;
    store.raise_floor(bucket, 7);
    store.raise_floor(bucket, 6);
    assert_eq!(store.floors(bucket..bucket + 1), [7]);
    assert_eq!(store.floors(4_090..9_999).len(), 6);
    assert_eq!(set(&store, b"k", 7), refused(7));
}
