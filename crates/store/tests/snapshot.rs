//! Records and snapshots: what is written is read back, and nothing else is.

use std::collections::BTreeMap;
use std::io::{self, Read};

use annulus_store::{
    Batch, Condition, Entry, FLOOR_BUCKETS, Lookup, Options, Record, ScanCursor, SnapshotError,
    SnapshotFault, SnapshotReader, SnapshotSummary, SnapshotWriter, Store,
};
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000_000;

/// A record's parts, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    key: Vec<u8>,
    version: u64,
    origin: Option<u64>,
    flags: u32,
    marks: u8,
    content_type: String,
    deadline_ms: Option<u64>,
    value: Option<Vec<u8>>,
}

impl Parts {
    fn of(record: &Record<'_>) -> Self {
        Self {
            key: record.key.to_vec(),
            version: record.version,
            origin: record.origin,
            flags: record.flags,
            marks: record.marks,
            content_type: record.content_type.to_owned(),
            deadline_ms: record.deadline_ms,
            value: record.value.map(<[u8]>::to_vec),
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            key: &self.key,
            version: self.version,
            origin: self.origin,
            flags: self.flags,
            marks: self.marks,
            content_type: &self.content_type,
            deadline_ms: self.deadline_ms,
            value: self.value.as_deref(),
        }
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let bytes = |max| proptest::collection::vec(any::<u8>(), 0..=max);
    let content_type = prop_oneof![Just(String::new()), "[a-z/é]{1,127}"];
    let key_version = (bytes(250), 1..=u64::MAX, any::<Option<u64>>());
    let rest = (any::<u32>(), content_type, any::<Option<u64>>(), proptest::option::of(bytes(400)));
    (key_version, rest).prop_map(|((key, version, origin), (flags, content_type, deadline_ms, value))| {
        Parts {
            key,
            version,
            origin,
            flags: if flags % 3 == 0 { 0 } else { flags },
            marks: flags as u8 % 4,
            content_type,
            deadline_ms,
            value,
        }
    })
}

fn encoded(parts: &[Parts]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for one in parts {
        one.record().encode(&mut bytes);
    }
    bytes
}

proptest! {
    #[test]
    fn records_come_back_as_they_were(all in proptest::collection::vec(parts(), 0..5)) {
        let bytes = encoded(&all);
        prop_assert_eq!(bytes.len(), all.iter().map(|one| one.record().encoded_len()).sum::<usize>());
        let mut rest = bytes.as_slice();
        for one in &all {
            prop_assert_eq!(&Parts::of(&Record::decode(&mut rest).unwrap()), one);
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_record_cut_anywhere_is_refused_and_the_input_stays(one in parts()) {
        let bytes = encoded(&[one]);
        for len in 0..bytes.len() {
            let mut rest = &bytes[..len];
            prop_assert!(Record::decode(&mut rest).is_err());
            prop_assert_eq!(rest.len(), len);
        }
    }

    #[test]
    fn any_bytes_decode_to_a_record_within_bounds_or_to_an_error(
        parts in 0..32_u8,
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [&[parts][..], &bytes].concat();
        if let Ok(record) = Record::decode(&mut bytes.as_slice()) {
            prop_assert!(record.key.len() <= 250 && record.content_type.len() <= 255 && record.version > 0);
        }
    }
}

/// What a snapshot says, in an order of its own.
type Content = (String, u64, Vec<Parts>, Vec<u64>);

/// Reads as recovery does: all of it is checked before any of it is used.
fn read(bytes: &[u8]) -> Result<Content, SnapshotError> {
    let SnapshotSummary { node, created_ms, entries, bytes: len, floors } = SnapshotReader::verify(bytes)?;
    assert_eq!(len, bytes.len() as u64);
    let mut reader = SnapshotReader::open(bytes)?;
    let mut all = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        if let Batch::Records(records) = batch {
            all.extend(records.iter().map(Parts::of));
        }
    }
    assert_eq!(all.len() as u64, entries);
    Ok((node, created_ms, all, floors))
}

fn written(all: &[Parts], floors: &[u64]) -> Vec<u8> {
    let mut writer = SnapshotWriter::new(Vec::new(), "cache-1:3001", NOW).unwrap();
    for one in all {
        writer.push(&one.record()).unwrap();
    }
    writer.floors(0, floors).unwrap();
    let (bytes, totals) = writer.finish().unwrap();
    assert_eq!((totals.bytes, totals.entries), (bytes.len() as u64, all.len() as u64));
    bytes
}

fn value(number: u64, len: usize) -> Parts {
    Parts {
        key: format!("key-{number}").into_bytes(),
        version: NOW + number,
        origin: number.is_multiple_of(3).then_some(NOW),
        flags: number as u32 % 2,
        marks: number as u8 % 4,
        content_type: if number.is_multiple_of(4) { "text/plain".to_owned() } else { String::new() },
        deadline_ms: number.is_multiple_of(2).then_some(NOW + number),
        value: (number % 5 != 4).then(|| vec![number as u8; len]),
    }
}

fn padded(mut floors: Vec<u64>) -> Vec<u64> {
    floors.resize(FLOOR_BUCKETS, 0);
    floors
}

/// Some entries, a tombstone, a few floors: several blocks in a file that can be looked at byte by byte.
fn small() -> (Vec<u8>, Content) {
    let all: Vec<_> = (0..6).map(|number| value(number, 20)).chain([value(7, 3000)]).collect();
    let floors = vec![NOW, 0, 3];
    (written(&all, &floors), ("cache-1:3001".to_owned(), NOW, all, padded(floors)))
}

/// Some generator; the tests need no more than that it is always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)) >> 8) as usize % end
    }
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let all: Vec<_> = (0..5000).map(|number| value(number, number as usize % 90)).collect();
    let floors: Vec<_> = (0..FLOOR_BUCKETS as u64).map(|bucket| bucket << 50).collect();
    let bytes = written(&all, &floors);
    assert_eq!(read(&bytes).unwrap(), ("cache-1:3001".to_owned(), NOW, all, floors));
}

#[test]
fn an_empty_snapshot_is_a_snapshot() {
    assert_eq!(read(&written(&[], &[])).unwrap().2, Vec::new());
}

#[test]
fn blocks_are_64_kib_at_most_and_a_larger_record_has_one_of_its_own() {
    let all: Vec<_> = [100, 40_000, 40_000, 3 << 20, 7].map(|len| value(len as u64 * 10 + 1, len)).into();
    let bytes = written(&all, &[]);
    let mut reader = SnapshotReader::open(bytes.as_slice()).unwrap();
    let mut lens = Vec::new();
    while let Some(Batch::Records(records)) = reader.next_batch().unwrap() {
        lens.push(records.iter().map(|record| record.value.map_or(0, <[u8]>::len)).collect::<Vec<_>>());
    }
    assert_eq!(lens, [vec![100, 40_000], vec![40_000], vec![3 << 20], vec![7]]);
}

#[test]
fn a_snapshot_cut_at_any_length_is_refused() {
    let (bytes, _) = small();
    for len in 0..bytes.len() {
        let error = read(&bytes[..len]).expect_err("it is not whole");
        assert!(matches!(error.fault, SnapshotFault::Cut), "cut at {len}: {error}");
        assert!(error.at <= len as u64);
    }
}

#[test]
fn a_snapshot_with_anything_behind_it_is_refused() {
    let (mut bytes, _) = small();
    bytes.push(0);
    assert!(matches!(read(&bytes).unwrap_err().fault, SnapshotFault::Malformed(_)));
}

#[test]
fn every_single_bit_that_flips_is_noticed() {
    let (sound, content) = small();
    assert_eq!(read(&sound).unwrap(), content);
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn ten_thousand_bits_flipped_at_random_in_a_larger_one_are_noticed() {
    let all: Vec<_> = (0..3000).map(|number| value(number, 40)).collect();
    let floors: Vec<_> = (0..FLOOR_BUCKETS as u64).map(|bucket| NOW + bucket).collect();
    let mut bytes = written(&all, &floors);
    let mut random = Random(1);
    for _ in 0..10_000 {
        let bit = random.below(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(SnapshotReader::verify(bytes.as_slice()).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(read(&bytes).is_ok());
}

#[test]
fn a_run_of_bytes_overwritten_moved_or_left_out_is_noticed() {
    let (sound, content) = small();
    let mut random = Random(2);
    for _ in 0..10_000 {
        let mut bytes = sound.clone();
        let (from, to) = (random.below(bytes.len()), random.below(bytes.len()));
        let (from, to) = (from.min(to), from.max(to) + 1);
        match random.below(3) {
            0 => bytes[from..to].fill(random.below(256) as u8),
            1 => bytes[from..to].rotate_left(1),
            _ => drop(bytes.drain(from..to)),
        }
        assert!(read(&bytes).is_err() || bytes == sound);
    }
    assert_eq!(read(&sound).unwrap(), content);
}

#[test]
fn a_block_of_another_snapshot_does_not_fit_in() {
    let one = written(&[value(1, 1000)], &[]);
    let other = written(&[value(2, 1000)], &[]);
    let head = 12 + 13 + 8 + "cache-1:3001".len();
    assert_eq!(one[..head], other[..head], "both have the same header");
    let tail = one.len() - 200;
    let mixed = [&one[..tail], &other[tail..]].concat();
    assert!(read(&mixed).is_err());
}

#[test]
fn any_bytes_behind_a_sound_start_are_an_error() {
    let (sound, _) = small();
    let mut random = Random(3);
    for _ in 0..2000 {
        let mut bytes = sound[..random.below(100)].to_vec();
        bytes.extend((0..random.below(300)).map(|_| random.below(256) as u8));
        assert!(read(&bytes).is_err());
    }
}

#[test]
fn a_file_of_another_kind_or_format_says_so() {
    let (mut bytes, _) = small();
    bytes[8] = 2;
    let error = read(&bytes).unwrap_err();
    assert!(matches!(error.fault, SnapshotFault::Format { format: 2 }), "{error}");
    assert!(matches!(read(b"{\"a\":\"json file\"}").unwrap_err().fault, SnapshotFault::NotASnapshot));
}

#[test]
fn an_error_says_where_it_is_and_what_to_do() {
    let (mut bytes, _) = small();
    let head = 12 + 13 + 8 + "cache-1:3001".len();
    bytes[head + 20] ^= 4;
    let text = "at byte 45: the snapshot is damaged, a checksum does not match; use an older one";
    assert_eq!(read(&bytes).unwrap_err().to_string(), text);
}

#[test]
fn a_disk_that_fails_is_not_taken_for_a_damaged_file() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let (bytes, _) = small();
    for len in [0, 20, 60, bytes.len()] {
        let error = SnapshotReader::verify(bytes[..len].chain(Failing)).unwrap_err();
        assert!(matches!(error.fault, SnapshotFault::Read(_)), "{error}");
    }
}

#[test]
fn floors_of_buckets_that_there_are_not_are_not_written() {
    let mut writer = SnapshotWriter::new(Vec::new(), "a", NOW).unwrap();
    assert!(writer.floors(FLOOR_BUCKETS, &[]).is_ok());
    assert!(writer.floors(FLOOR_BUCKETS - 1, &[1]).is_ok());
    assert!(writer.floors(FLOOR_BUCKETS - 1, &[1, 2]).is_err());
    let (bytes, _) = writer.finish().unwrap();
    let mut floors = vec![0; FLOOR_BUCKETS];
    floors[FLOOR_BUCKETS - 1] = 1;
    assert_eq!(SnapshotReader::verify(bytes.as_slice()).unwrap().floors, floors);
}

#[test]
fn a_store_is_the_same_after_a_snapshot_and_back() {
    let store = Store::new(Options { shards: Some(4), ..Options::new(8 << 20, 7) });
    let all: Vec<_> = (0..3000).map(|number| value(number, 30)).collect();
    let hash = |key: &[u8]| key.iter().fold(7_u64, |hash, byte| hash.wrapping_mul(31) + u64::from(*byte));
    for one in &all {
        let record = one.record();
        store.put(record.key, hash(record.key), &record.write(), Condition::Always, NOW - 1).unwrap();
    }
    let content = |store: &Store| {
        let (mut cursor, mut all) = (ScanCursor::default(), BTreeMap::new());
        while let Some(entries) = store.scan(&mut cursor, 64, NOW - 1) {
            all.extend(entries.iter().map(|entry| (entry.key().to_vec(), Parts::of(&Record::of(entry)))));
        }
        all
    };
    let mut writer = SnapshotWriter::new(Vec::new(), "a", NOW).unwrap();
    let mut cursor = ScanCursor::default();
    while let Some(entries) = store.scan(&mut cursor, 64, NOW - 1) {
        entries.iter().map(|entry: &Entry| Record::of(entry)).try_for_each(|one| writer.push(&one)).unwrap();
    }
    let (bytes, _) = writer.finish().unwrap();
    let copy = Store::new(Options { shards: Some(1), ..Options::new(8 << 20, 8) });
    let mut reader = SnapshotReader::open(bytes.as_slice()).unwrap();
    while let Some(batch) = reader.next_batch().unwrap() {
        let Batch::Records(records) = batch else { continue };
        for one in records {
            copy.put(one.key, hash(one.key), &one.write(), Condition::Always, NOW - 1).unwrap();
        }
    }
    assert_eq!(content(&copy).len(), 3000);
    assert_eq!(content(&copy), content(&store));
    let read = copy.get(b"key-3", hash(b"key-3"), NOW - 1);
    assert!(matches!(read, Lookup::Hit(entry) if entry.value() == [3; 30]));
}
