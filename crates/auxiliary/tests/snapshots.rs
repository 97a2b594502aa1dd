//! Snapshots on a disk: the last good one is always there, and nothing but a good one is loaded.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use annulus_auxiliary::snapshots::{
    Files, Loaded, MemoryFiles, OpenSnapshot, Progress, SnapshotFailure, SnapshotJob, Snapshots, SystemFiles,
    Taken,
};
use annulus_store::{Batch, Condition, FLOOR_BUCKETS, Options, SnapshotFault, Store, Write};

const NOW: u64 = 1_700_000_000_000;

fn name(number: u64) -> String {
    format!("snapshot-{number:020}.annulus")
}

fn snapshots(files: &MemoryFiles) -> Snapshots {
    Snapshots::new(Arc::new(files.clone()), "cache-1:3001", 2)
}

fn store() -> Store {
    Store::new(Options { shards: Some(1), ..Options::new(8 << 20, 7) })
}

/// A store with `count` values of this version.
fn filled(count: u64, version: u64) -> Store {
    let store = store();
    (0..count).for_each(|number| put(&store, number, &Write::value(version, b"some value")));
    store
}

fn put(store: &Store, number: u64, write: &Write<'_>) {
    let key = format!("key-{number}");
    store.put(key.as_bytes(), number, write, Condition::Always, NOW).unwrap();
}

fn to_the_end(job: &mut SnapshotJob, store: &Store, now_ms: u64) -> Result<Taken, SnapshotFailure> {
    loop {
        if let Progress::Done(taken) = job.step(store, now_ms)? {
            return Ok(taken);
        }
    }
}

fn take(snapshots: &Snapshots, store: &Store) -> Result<Taken, SnapshotFailure> {
    to_the_end(&mut snapshots.start(NOW)?, store, NOW)
}

/// Key to version and value.
type Content = BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>;

fn content(snapshot: &OpenSnapshot) -> Content {
    let mut all = Content::new();
    let mut batches = snapshot.batches().unwrap();
    while let Some(batch) = batches.next_batch().unwrap() {
        let Batch::Records(records) = batch else { continue };
        for one in records {
            all.insert(one.key.to_vec(), (one.version, one.value.map(<[u8]>::to_vec)));
        }
    }
    assert_eq!(all.len() as u64, snapshot.entries());
    all
}

/// The one version that all values have, in a snapshot of [`filled`].
fn version(loaded: &Loaded, count: usize) -> Option<u64> {
    let content = content(loaded.snapshot.as_ref()?);
    assert_eq!(content.len(), count, "half of a snapshot");
    let versions: Vec<_> = content.values().map(|(version, _)| *version).collect();
    assert!(versions.iter().all(|version| *version == versions[0]), "a mixture of two");
    Some(versions[0])
}

fn names(files: &dyn Files) -> Vec<String> {
    let mut names = files.list().unwrap();
    names.sort();
    names
}

#[test]
fn a_snapshot_is_loaded_with_all_it_says_of_itself_as_often_as_wanted() {
    let files = MemoryFiles::default();
    let store = filled(1000, 5);
    put(&store, 3, &Write::tombstone(6));
    store.raise_floor(17, 99);
    let taken = take(&snapshots(&files), &store).unwrap();
    assert_eq!((taken.name.as_str(), taken.entries, taken.created_ms), (name(1).as_str(), 1000, NOW));

    let loaded = snapshots(&files).load_latest().unwrap();
    assert!(loaded.set_aside.is_empty());
    let snapshot = loaded.snapshot.unwrap();
    assert_eq!((snapshot.name(), snapshot.node()), (name(1).as_str(), "cache-1:3001"));
    assert_eq!((snapshot.created_ms(), snapshot.bytes()), (NOW, taken.bytes));
    assert_eq!((snapshot.floors().len(), snapshot.floors()[17]), (FLOOR_BUCKETS, 99));
    let all = content(&snapshot);
    assert_eq!(all[&b"key-3"[..]], (6, None));
    assert_eq!(all[&b"key-999"[..]], (5, Some(b"some value".to_vec())));
    assert_eq!(content(&snapshot), all);
}

#[test]
fn an_empty_folder_is_an_empty_start() {
    let loaded = snapshots(&MemoryFiles::default()).load_latest().unwrap();
    assert!(loaded.snapshot.is_none() && loaded.set_aside.is_empty());
}

#[test]
fn it_is_taken_in_small_steps_while_the_store_goes_on() {
    let files = MemoryFiles::default();
    let store = filled(10_000, 5);
    let mut job = snapshots(&files).start(NOW).unwrap();
    let (mut before, mut steps) = (0, 0);
    let taken = loop {
        put(&store, 20_000 + steps, &Write::value(5, b"v"));
        match job.step(&store, NOW).unwrap() {
            Progress::Running { entries, .. } => {
                assert!(entries - before <= 128);
                before = entries;
            }
            Progress::Done(taken) => break taken,
        }
        steps += 1;
    };
    assert!(taken.entries >= 10_000 && steps > 70, "{steps} steps");
    assert!(matches!(job.step(&store, NOW), Err(SnapshotFailure::Ended)));
}

#[test]
fn what_is_past_its_deadline_is_left_out_and_nothing_older_can_come_back() {
    let files = MemoryFiles::default();
    let store = store();
    for (number, deadline_ms) in [(1, NOW + 10), (2, NOW + 11)] {
        let write = Write { deadline_ms: Some(deadline_ms), ..Write::value(40 + number, b"v") };
        put(&store, number, &write);
    }
    let mut job = snapshots(&files).start(NOW).unwrap();
    assert_eq!(to_the_end(&mut job, &store, NOW + 10).unwrap().entries, 1);
    let snapshot = snapshots(&files).load_latest().unwrap().snapshot.unwrap();
    assert_eq!(content(&snapshot).into_keys().collect::<Vec<_>>(), [b"key-2"]);
    assert_eq!(snapshot.floors()[..3], [0, 41, 0]);
}

#[test]
fn what_is_forgotten_meanwhile_is_in_the_floors() {
    let files = MemoryFiles::default();
    let store = filled(1000, 5);
    let mut job = snapshots(&files).start(NOW).unwrap();
    job.step(&store, NOW).unwrap();
    store.clear(8);
    to_the_end(&mut job, &store, NOW).unwrap();
    let snapshot = snapshots(&files).load_latest().unwrap().snapshot.unwrap();
    assert!(snapshot.floors().iter().all(|floor| *floor == 8));
}

#[test]
fn two_are_kept_and_other_files_are_left_alone() {
    let files = MemoryFiles::default();
    files.set_bytes("notes.txt", b"mine".to_vec());
    files.set_bytes("snapshot-1.annulus", b"not named by us".to_vec());
    for round in 1..6 {
        take(&snapshots(&files), &filled(10, round)).unwrap();
    }
    assert_eq!(names(&files), ["notes.txt", &name(4), &name(5), "snapshot-1.annulus"]);
    assert_eq!(version(&snapshots(&files).load_latest().unwrap(), 10), Some(5));
}

#[test]
fn one_is_taken_at_a_time_and_one_given_up_leaves_nothing() {
    let files = MemoryFiles::default();
    let (snapshots, store) = (snapshots(&files), filled(1000, 5));
    let mut job = snapshots.start(NOW).unwrap();
    assert!(matches!(snapshots.start(NOW), Err(SnapshotFailure::Running)));
    job.step(&store, NOW).unwrap();
    assert_eq!(names(&files), [format!("{}.partial", name(1))]);
    drop(job);
    assert!(names(&files).is_empty());
    assert!(take(&snapshots, &store).is_ok());
}

#[test]
fn a_snapshot_cut_or_changed_anywhere_is_set_aside_for_the_one_before_it() {
    let files = MemoryFiles::default();
    take(&snapshots(&files), &filled(3, 1)).unwrap();
    take(&snapshots(&files), &filled(3, 2)).unwrap();
    let sound = files.bytes(&name(2)).unwrap();
    let check = |bytes: Vec<u8>| {
        files.set_bytes(&name(2), bytes);
        let loaded = snapshots(&files).load_latest().unwrap();
        assert_eq!(version(&loaded, 3), Some(1));
        assert_eq!(loaded.set_aside[0].0, name(2));
        assert_eq!(names(&files), [name(1), format!("{}.corrupt", name(2))]);
    };
    for len in 0..sound.len() {
        check(sound[..len].to_vec());
    }
    // Every third bit, which is more than 10,000 of them.
    assert!(sound.len() * 8 > 30_000);
    for bit in (0..sound.len() * 8).step_by(3) {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        check(bytes);
    }
    files.set_bytes(&name(2), sound);
    assert_eq!(version(&snapshots(&files).load_latest().unwrap(), 3), Some(2));
}

#[test]
fn two_damaged_ones_are_kept_and_their_numbers_do_not_come_again() {
    let files = MemoryFiles::default();
    for number in 1..=4 {
        files.set_bytes(&name(number), b"damaged".to_vec());
    }
    let loaded = snapshots(&files).load_latest().unwrap();
    assert!(loaded.snapshot.is_none());
    let set_aside: Vec<_> = loaded.set_aside.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(set_aside, [name(4), name(3), name(2), name(1)]);
    assert_eq!(names(&files), [format!("{}.corrupt", name(3)), format!("{}.corrupt", name(4))]);
    assert_eq!(take(&snapshots(&files), &filled(1, 1)).unwrap().name, name(5));
}

#[test]
fn a_full_disk_says_so_and_leaves_the_last_good_one() {
    let files = MemoryFiles::default();
    take(&snapshots(&files), &filled(500, 1)).unwrap();
    let size = files.bytes(&name(1)).unwrap().len();
    for room in (0..size).step_by(97) {
        files.set_capacity(Some(size + room));
        let failure = take(&snapshots(&files), &filled(500, 2)).unwrap_err();
        assert!(matches!(failure, SnapshotFailure::DiskFull(_)), "{failure}");
        assert!(failure.to_string().contains("free some space"));
        assert_eq!(names(&files), [name(1)]);
        assert_eq!(version(&snapshots(&files).load_latest().unwrap(), 500), Some(1));
    }
    files.set_capacity(Some(3 * size));
    assert!(take(&snapshots(&files), &filled(500, 2)).is_ok());
}

#[test]
fn a_read_only_folder_says_so_and_can_still_be_loaded() {
    let files = MemoryFiles::default();
    take(&snapshots(&files), &filled(5, 1)).unwrap();
    files.set_bytes(&name(2), b"damaged".to_vec());
    files.set_read_only(true);
    let failure = take(&snapshots(&files), &filled(5, 2)).unwrap_err();
    assert!(matches!(failure, SnapshotFailure::NotWritable(_)), "{failure}");
    let loaded = snapshots(&files).load_latest().unwrap();
    assert_eq!((version(&loaded, 5), loaded.set_aside.len()), (Some(1), 1));
}

#[test]
fn a_disk_that_becomes_read_only_half_way_leaves_the_last_good_one() {
    let files = MemoryFiles::default();
    take(&snapshots(&files), &filled(5, 1)).unwrap();
    let (snapshots, store) = (snapshots(&files), filled(5000, 2));
    let mut job = snapshots.start(NOW).unwrap();
    job.step(&store, NOW).unwrap();
    files.set_read_only(true);
    let failure = to_the_end(&mut job, &store, NOW).unwrap_err();
    assert!(matches!(failure, SnapshotFailure::NotWritable(_)), "{failure}");
    assert_eq!(version(&snapshots.load_latest().unwrap(), 5), Some(1));
    drop(job);
    files.set_read_only(false);
    take(&snapshots, &filled(5, 3)).unwrap();
    assert_eq!(names(&files), [name(1), name(2)], "what was left half done is gone");
}

/// Values in each of the stores of [`crash`].
const COUNT: u64 = 40;

/// Takes a snapshot of each of three stores, of versions 1, 2 and 3, until the machine stops after so many operations and crashes. Gives back
/// the last one that was reported as taken and the one that is loaded afterwards.
fn crash(stores: &[Store], atomic: bool, stop_after: u64, seed: u64) -> (Option<u64>, Option<u64>) {
    let files = MemoryFiles::default();
    let snapshots = || snapshots(&files).with_atomic(atomic);
    files.stop_after(Some(stop_after));
    let running = snapshots();
    let acked =
        (1..).zip(stores).map_while(|(version, store)| take(&running, store).ok().map(|_| version)).last();
    files.crash(seed);
    let loaded = snapshots().load_latest().unwrap();
    let after = version(&loaded, COUNT as usize);
    assert!(loaded.set_aside.is_empty() || !atomic, "a damaged file bears the name of a whole one");
    // And the node goes on from there.
    take(&snapshots(), &stores[0]).unwrap();
    assert_eq!(version(&snapshots().load_latest().unwrap(), COUNT as usize), Some(1));
    assert!(names(&files).iter().all(|name| !name.ends_with(".partial")));
    (acked, after)
}

/// More than three snapshots take.
const OPERATIONS: u64 = 40;
const SEEDS: u64 = 50;

#[test]
fn after_a_crash_at_any_step_the_last_snapshot_reported_is_there_or_a_newer_one() {
    let stores = [1, 2, 3].map(|version| filled(COUNT, version));
    let mut outcomes = BTreeMap::new();
    for stop_after in 0..OPERATIONS {
        for seed in 0..SEEDS {
            let (acked, loaded) = crash(&stores, true, stop_after, seed);
            assert!(loaded >= acked, "stop after {stop_after}, seed {seed}: {acked:?} became {loaded:?}");
            *outcomes.entry((acked, loaded)).or_insert(0) += 1;
        }
    }
    assert!(outcomes.contains_key(&(Some(3), Some(3))), "three snapshots take more operations: {outcomes:?}");
    assert!(
        outcomes.contains_key(&(Some(1), Some(2))),
        "some are whole before they are reported: {outcomes:?}"
    );
}

#[test]
fn without_the_atomic_way_some_crash_loses_a_snapshot_that_was_reported() {
    let stores = [1, 2, 3].map(|version| filled(COUNT, version));
    let runs = (0..OPERATIONS).flat_map(|stop_after| (0..SEEDS).map(move |seed| (stop_after, seed)));
    let lost = runs.filter(|(stop_after, seed)| {
        let (acked, loaded) = crash(&stores, false, *stop_after, *seed);
        loaded < acked
    });
    assert!(lost.count() > 0);
}

#[test]
fn a_real_folder_holds_files_that_only_this_user_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/demand");
    let files = SystemFiles::new(&path).unwrap();
    let snapshots = Snapshots::new(Arc::new(files.clone()), "a", 2);
    for version in 1..=3 {
        take(&snapshots, &filled(3000, version)).unwrap();
    }
    assert_eq!(names(&files), [name(2), name(3)]);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join(name(3)))), (0o700, 0o600));
    assert_eq!(version(&snapshots.load_latest().unwrap(), 3000), Some(3));
    let mut job = snapshots.start(NOW).unwrap();
    job.step(&filled(10, 4), NOW).unwrap();
    assert_eq!(mode(&path.join(format!("{}.partial", name(4)))), 0o600);
}

#[test]
fn a_real_file_that_is_damaged_is_set_aside_and_one_that_cannot_be_read_stays() {
    let folder = tempfile::tempdir().unwrap();
    let files = SystemFiles::new(folder.path()).unwrap();
    let snapshots = Snapshots::new(Arc::new(files.clone()), "a", 2);
    take(&snapshots, &filled(3, 1)).unwrap();
    std::fs::write(folder.path().join(name(2)), b"ANNULUS\0 and then something else").unwrap();
    std::fs::create_dir(folder.path().join(name(3))).unwrap();
    let loaded = snapshots.load_latest().unwrap();
    assert_eq!(version(&loaded, 3), Some(1));
    assert!(matches!(loaded.set_aside[0].1.fault, SnapshotFault::Read(_)));
    assert!(matches!(loaded.set_aside[1].1.fault, SnapshotFault::Format { .. }));
    assert_eq!(names(&files), [name(1), format!("{}.corrupt", name(2)), name(3)]);
}

#[test]
fn a_folder_that_cannot_be_made_says_which_it_is() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = SystemFiles::new(file.path().join("below")).unwrap_err();
    assert!(error.to_string().contains(file.path().to_str().unwrap()), "{error}");
}
