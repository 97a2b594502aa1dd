//! Reading and writing in one step, marks, and what a node knows of an entry's use.

use std::sync::atomic::{AtomicU64, Ordering};

use annulus_store::{
    Change, Condition, Decision, Found, Lookup, Options, PutError, Record, ScanCursor, Store, ValueFrom,
    Write,
};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000_000;

/// Above this, new values are put together without the lock.
const LARGE: usize = 4096;

fn store() -> Store {
    Store::new(Options { shards: Some(1), created_ms: NOW, ..Options::new(1 << 22, 7) })
}

fn put(store: &Store, version: u64, value: &[u8]) {
    assert!(store.put(b"k", 1, &Write::value(version, value), Condition::Always, NOW).is_ok());
}

fn update<'a>(
    store: &Store,
    decide: impl FnMut(Found<'_>, &mut Vec<u8>) -> Decision<'a>,
) -> Result<Option<u64>, PutError> {
    store.update(b"k", 1, NOW, &mut Vec::new(), decide).map(|updated| updated.written)
}

fn value(store: &Store) -> Option<Vec<u8>> {
    store.peek(b"k", 1, NOW).hit().map(|entry| entry.value().to_vec())
}

/// Appends to what is there, under the next version.
fn append(found: Found<'_>, more: &[u8], scratch: &mut Vec<u8>) -> Change<'static> {
    scratch.clear();
    scratch.extend_from_slice(found.hit().map_or(b"", |entry| entry.value()));
    scratch.extend_from_slice(more);
    let write = Write::tombstone(found.version() + 1);
    Change { write, value: ValueFrom::Scratch, keeps_type: true, fetched: false }
}

#[test]
fn an_update_sees_what_is_there_and_writes_above_it() {
    let store = store();
    assert_eq!(update(&store, |found, scratch| Decision::Write(append(found, b"a", scratch))), Ok(Some(1)));
    assert_eq!(update(&store, |found, scratch| Decision::Write(append(found, b"b", scratch))), Ok(Some(2)));
    assert_eq!(value(&store), Some(b"ab".to_vec()));
    let deleted = update(&store, |found, _| Write::tombstone(found.version() + 1).into());
    assert_eq!((deleted, value(&store)), (Ok(Some(3)), None));
    assert_eq!(update(&store, |found, scratch| Decision::Write(append(found, b"c", scratch))), Ok(Some(4)));
}

#[test]
fn an_update_is_told_the_floor_where_nothing_is() {
    let store = store();
    put(&store, 5, b"v");
    store.clear(40);
    let mut known = 0;
    let kept = store.update(b"k", 1, NOW, &mut Vec::new(), |found, _| {
        known = found.version();
        Decision::Keep
    });
    assert!(matches!(kept.unwrap().before, Lookup::Miss(miss) if miss.version == 40));
    assert_eq!(known, 40);
}

#[test]
fn an_update_is_refused_as_any_other_write() {
    let store = store();
    put(&store, 5, b"v");
    let write = |version| update(&store, move |_, _| Write::value(version, b"x").into());
    assert!(matches!(write(5), Err(PutError::Refused { version: 5, .. })));
    assert!(store.promise(b"k", 1, 10, NOW).is_ok());
    assert_eq!(write(9), Err(PutError::Promised { ballot: 10 }));
    assert_eq!(write(11), Ok(Some(11)));
    let too_large = vec![0; 2 << 20];
    let large = update(&store, |found, _| Write::value(found.version() + 1, &too_large).into());
    assert!(matches!(large, Err(PutError::TooLarge { .. })));
    assert_eq!(value(&store), Some(b"x".to_vec()));
}

#[test]
fn no_update_of_many_threads_is_lost() {
    for more in [8, 2 * LARGE] {
        let store = store();
        let clock = AtomicU64::new(1);
        let more = vec![b'x'; more];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        // Versions from a clock of their own, as a server takes them: a later one may come first.
                        let done = update(&store, |found, scratch| {
                            clock.fetch_max(found.version(), Ordering::SeqCst);
                            let version = clock.fetch_add(1, Ordering::SeqCst) + 1;
                            let change = append(found, &more, scratch);
                            Decision::Write(Change { write: Write { version, ..change.write }, ..change })
                        });
                        assert!(done.is_ok());
                    }
                });
            }
        });
        assert_eq!(value(&store).map(|value| value.len()), Some(100 * more.len()));
    }
}

#[test]
fn a_large_value_is_put_together_anew_when_another_write_comes_in_between() {
    let store = store();
    put(&store, 1, b"first");
    let (mut calls, more) = (0, vec![b'x'; LARGE + 1]);
    let written = update(&store, |found, scratch| {
        calls += 1;
        // Every second call is made without the lock; it would hang here otherwise.
        if calls % 2 == 0 {
            put(&store, 10 * calls, b"other");
        }
        Decision::Write(append(found, &more, scratch))
    });
    assert_eq!((written, calls), (Ok(Some(61)), 7));
    assert_eq!(value(&store), Some([b"other", more.as_slice()].concat()));
}

#[test]
fn an_entry_knows_on_this_node_whether_and_when_it_was_read() {
    let store = store();
    put(&store, 1, b"v");
    let seen = |now_ms, counts| {
        store.read(b"k", 1, now_ms, |found| ((found.last_use().fetched(), found.last_use().idle_s()), counts))
    };
    assert_eq!(seen(NOW + 3_000, false), (false, 3));
    assert_eq!(seen(NOW + 5_000, true), (false, 5));
    assert_eq!(seen(NOW + 7_000, true), (true, 2));
    assert_eq!(seen(NOW + 8_000, false), (true, 1));
    put(&store, 2, b"v");
    assert_eq!(seen(NOW, false), (false, 0));
    for (fetched, version) in [(true, 3), (false, 4)] {
        let change =
            Change { write: Write::tombstone(version), value: ValueFrom::Entry, keeps_type: true, fetched };
        assert!(update(&store, |_, _| Decision::Write(change)).is_ok());
        assert_eq!(seen(NOW, false), (fetched, 0));
    }
    assert_eq!(update(&store, |_, _| Decision::Keep), Ok(None));
    assert_eq!(seen(NOW, false), (false, 0));
    assert_eq!(update(&store, |_, _| Decision::Read), Ok(None));
    assert_eq!(seen(NOW, false), (true, 0));
    assert_eq!(store.read(b"none", 2, NOW, |found| (found.last_use().idle_s(), true)), 0);
}

#[test]
fn an_update_may_keep_the_value_and_its_type_and_change_the_rest() {
    let store = store();
    let write = Write { content_type: "a/b", flags: 7, ..Write::value(1, b"value") };
    assert!(store.put(b"k", 1, &write, Condition::Always, NOW).is_ok());
    let write = Write { flags: 8, deadline_ms: Some(NOW + 9), origin: Some(1), ..Write::tombstone(2) };
    let change = Change { write, value: ValueFrom::Entry, keeps_type: true, fetched: true };
    assert_eq!(update(&store, |_, _| Decision::Write(change)), Ok(Some(2)));
    let entry = store.peek(b"k", 1, NOW).hit().unwrap();
    assert_eq!((entry.value(), entry.content_type(), entry.flags()), (&b"value"[..], "a/b", 8));
    assert_eq!((entry.version(), entry.origin(), entry.deadline_ms()), (2, Some(1), Some(NOW + 9)));
}

#[test]
fn a_read_without_a_copy_counts_as_use_if_it_is_to() {
    let store = Store::new(Options { shards: Some(1), max_items: Some(2), ..Options::new(1 << 20, 7) });
    let set = |key: &[u8]| {
        assert!(store.put(key, 1, &Write::value(1, key), Condition::Always, NOW).is_ok());
    };
    let read = |key: &[u8], counts| {
        store.read(key, 1, NOW, |found| (found.hit().map(|entry| entry.value().to_vec()), counts))
    };
    set(b"a");
    set(b"b");
    assert_eq!(read(b"a", true), Some(b"a".to_vec()));
    assert_eq!(read(b"b", false), Some(b"b".to_vec()));
    let third = Write::value(2, b"c");
    assert!(store.put(b"c", 2, &third, Condition::Always, NOW).is_ok());
    assert_eq!((read(b"a", false), read(b"b", false)), (Some(b"a".to_vec()), None));
}

#[test]
fn marks_come_with_an_entry_wherever_it_goes_and_take_no_memory() {
    let (store, other) = (store(), store());
    put(&store, 1, b"value");
    let plain = store.stats().bytes;
    let write = Write { marks: 3, ..Write::value(2, b"value") };
    assert!(store.put(b"k", 1, &write, Condition::Always, NOW).is_ok());
    assert_eq!(store.stats().bytes, plain);
    let batch = store.scan(&mut ScanCursor::default(), 9, NOW).unwrap();
    let mut bytes = Vec::new();
    Record::of(&batch[0]).encode(&mut bytes);
    let record = Record::decode(&mut bytes.as_slice()).unwrap();
    assert!(other.put(record.key, 1, &record.write(), Condition::Always, NOW).is_ok());
    let marks = other.peek(b"k", 1, NOW).hit().map(|entry| entry.marks());
    assert_eq!(marks, Some(3));
}

proptest! {
    /// An update is a look and a write of which nothing comes in between.
    #[test]
    fn an_update_is_a_get_and_a_put_in_one(steps in proptest::collection::vec((0..5_u64, 0..3_u8, 0..3_000_usize), 1..60)) {
        let (one, two) = (store(), store());
        for (step, (ahead, kind, len)) in steps.into_iter().enumerate() {
            let now_ms = NOW + 700 * step as u64;
            let fill = vec![step as u8; 2 * len];
            let make = |known: u64| Write {
                value: (kind != 0).then_some(fill.as_slice()),
                deadline_ms: (kind == 1).then_some(now_ms + 1_000),
                ..Write::tombstone((known + ahead).max(1))
            };
            let updated = one.update(b"k", 1, now_ms, &mut Vec::new(), |found, scratch| {
                scratch.clone_from(&fill);
                let value = if kind == 2 { ValueFrom::Scratch } else { ValueFrom::Write };
                Decision::Write(Change { write: make(found.version()), value, keeps_type: false, fetched: false })
            });
            let write = make(two.peek(b"k", 1, now_ms).version());
            let put = two.put(b"k", 1, &write, Condition::Always, now_ms);
            prop_assert_eq!(updated.map(|updated| updated.written), put.map(|_| Some(write.version)));
            let values = [&one, &two].map(|store| store.peek(b"k", 1, now_ms));
            let [first, second] = values.map(|found| (found.version(), found.hit().map(|entry| entry.value().to_vec())));
            prop_assert_eq!(first, second);
        }
    }
}
