//! Any sequence of operations gives what a plain list gives.

mod reference;

use annulus_store::{Condition, Holding, Lookup, Options, PutError, Role, ScanCursor, Store, Taken, Write};
use proptest::prelude::*;
use reference::{Described, Reference, Value};

const START: u64 = 1_700_000_000_000;

/// Bytes that the sequences here never need.
const ROOMY: usize = 1 << 20;

#[derive(Clone, Debug)]
enum Op {
    Get(u8),
    Peek(u8),
    Put { key: u8, version: u64, size: Option<u16>, ttl: Option<u64>, condition: Condition, role: Role },
    Promise { key: u8, ballot: u64, role: Role },
    Own(u8),
    Expire,
    Sleep(u64),
    Clear(u64),
    RaiseFloor(u8, u64),
    DropMoved(u8, u64),
}

/// Versions near the time of the run, so that every order of two of them happens.
fn op() -> impl Strategy<Value = Op> {
    let key = || 0..24_u8;
    let version = || 1..60_u64;
    let condition = prop_oneof![
        6 => Just(Condition::Always),
        1 => Just(Condition::Newest { quiet_ms: 1_000 }),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => version().prop_map(Condition::VersionIs),
        2 => Just(Condition::Promised),
    ];
    let size =
        prop_oneof![1 => Just(None), 4 => (0..40_u16).prop_map(Some), 1 => (0..1500_u16).prop_map(Some)];
    let ttl = prop_oneof![2 => Just(None), 1 => (0..3000_u64).prop_map(Some)];
    let role = || prop_oneof![4 => Just(Role::Owner), 2 => Just(Role::Spare), 1 => Just(Role::Between)];
    let put = (key(), version(), size, ttl, condition, role());
    prop_oneof![
        8 => key().prop_map(Op::Get),
        2 => key().prop_map(Op::Peek),
        16 => put.prop_map(|(key, version, size, ttl, condition, role)| {
            Op::Put { key, version, size, ttl, condition, role }
        }),
        4 => (key(), version(), role()).prop_map(|(key, ballot, role)| Op::Promise { key, ballot, role }),
        1 => key().prop_map(Op::Own),
        2 => Just(Op::Expire),
        3 => (1..2000_u64).prop_map(Op::Sleep),
        1 => prop_oneof![9 => Just(Op::Expire), 1 => version().prop_map(Op::Clear)],
        1 => (key(), 1..20_u64).prop_map(|(key, version)| Op::RaiseFloor(key, version)),
        1 => (key(), version()).prop_map(|(key, version)| Op::DropMoved(key, version)),
    ]
}

/// Keys 0 and 12, 1 and 13, … share a floor bucket.
fn hash(key: u8) -> u64 {
    u64::from(key) << 32 | u64::from(key % 12)
}

struct Run {
    store: Store,
    reference: Reference,
    now: u64,
    evicted: u64,
    /// The shift lets later versions win often enough.
    era: u64,
}

impl Run {
    fn step(&mut self, op: &Op) {
        self.era += 1;
        let lift = self.era / 2;
        let now = self.now;
        match *op {
            Op::Get(key) => self.look(key, true),
            Op::Peek(key) => self.look(key, false),
            Op::Put { key, version, size, ttl, condition, role } => {
                let content = size.map(|size| vec![key; usize::from(size)]);
                let condition = match condition {
                    Condition::VersionIs(version) => Condition::VersionIs(version + lift),
                    other => other,
                };
                self.put(
                    key,
                    Value { version: version + lift, content, deadline: ttl.map(|ttl| now + ttl), role },
                    condition,
                );
            }
            Op::Promise { key, ballot, role } => {
                let got = self.store.promise_as(&[key], hash(key), ballot + lift, role, now);
                let got = untold(got.map(|found| describe(&found)));
                assert_eq!(got, self.reference.promise(key, hash(key), ballot + lift, role, now));
            }
            Op::Own(key) => {
                self.store.own(&[key], hash(key));
                self.reference.own(key);
            }
            Op::Expire => assert_eq!(self.store.expire(now, usize::MAX), self.reference.expire(now)),
            Op::Sleep(ms) => self.now += ms,
            Op::Clear(version) => assert_eq!(self.store.clear(version), self.reference.clear(version)),
            Op::RaiseFloor(key, version) => {
                self.store.raise_floor(usize::from(key % 12), version);
                self.reference.raise(hash(key), version);
            }
            Op::DropMoved(key, version) => {
                let got = self.store.drop_moved(&[key], hash(key), version + lift);
                assert_eq!(got, self.reference.drop_moved(key, version + lift));
            }
        }
    }

    fn look(&mut self, key: u8, touch: bool) {
        let got = if touch {
            self.store.get(&[key], hash(key), self.now)
        } else {
            self.store.peek(&[key], hash(key), self.now)
        };
        assert_eq!(describe(&got), self.reference.look(key, hash(key), self.now, touch));
    }

    /// How many entries a put evicts is the store's business; which ones is not.
    fn put(&mut self, key: u8, value: Value, condition: Condition) {
        let write = Write {
            value: value.content.as_deref(),
            deadline_ms: value.deadline,
            ..Write::tombstone(value.version)
        };
        let holding = Holding { role: value.role, ..Holding::default() };
        let got = self.store.put_as(&[key], hash(key), &write, condition, holding, self.now);
        let stats = self.store.stats();
        let evicted = stats.evicted_for_bytes + stats.evicted_for_items - self.evicted;
        self.evicted += evicted;
        // Far from the byte bound, not one goes but for the item bound.
        if stats.max_bytes == ROOMY {
            assert_eq!((stats.evicted_for_bytes, evicted <= 1), (0, true));
        }
        if let Err(PutError::TooLarge { .. }) = got {
            assert!(value.content.is_some_and(|content| content.len() > 400));
            return;
        }
        assert_eq!(
            untold(got),
            self.reference.put(key, hash(key), value, condition, self.now, evicted as usize)
        );
    }

    fn check(&self) {
        let stats = self.store.stats();
        assert!(stats.bytes <= stats.peak_bytes && stats.peak_bytes <= stats.max_bytes, "{stats:?}");
        assert_eq!(stats.items + stats.tombstones, self.reference.len());
        assert_eq!(self.store.floors(0..12), self.reference.floors());
        let (mut cursor, mut live) = (ScanCursor::default(), Vec::new());
        while let Some(batch) = self.store.scan(&mut cursor, 7, self.now) {
            live.extend(batch.iter().map(|entry| (entry.key()[0], entry.version(), entry.value().len())));
        }
        live.sort_unstable();
        assert_eq!(live, self.reference.live(self.now));
        let (mut cursor, mut spares) = (ScanCursor::default(), 0);
        while let Some(batch) = self.store.scan_spare(&mut cursor, 7) {
            spares += batch.len();
        }
        assert_eq!(spares, self.reference.spares());
    }
}

fn describe(lookup: &Lookup) -> Described {
    let result = match lookup {
        Lookup::Hit(entry) => Ok(entry.value().to_vec()),
        Lookup::Miss(miss) => Err(miss.tombstone),
    };
    (lookup.version_as(Role::Owner), lookup.version_as(Role::Spare), result)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_a_plain_list_does(
        ops in proptest::collection::vec(op(), 1..250),
        max_items in prop_oneof![Just(None), (1..12_usize).prop_map(Some)],
        max_bytes in prop_oneof![Just(2_400), Just(3_000), Just(5_000), Just(ROOMY)],
    ) {
        let mut options = Options::new(max_bytes, 99);
        (options.shards, options.max_items) = (Some(1), max_items);
        (options.tombstone_ttl_ms, options.promise_ttl_ms) = (4_000, 1_500);
        let reference = Reference::new(max_items, options.tombstone_ttl_ms, options.promise_ttl_ms);
        let mut run = Run { store: Store::new(options), reference, now: START, evicted: 0, era: 0 };
        for op in &ops {
            run.step(op);
            run.check();
        }
    }
}

/// The reference does not remember what it took.
fn untold<T>(result: Result<T, PutError>) -> Result<T, PutError> {
    result.map_err(|error| match error {
        PutError::Refused { version, .. } => PutError::Refused { version, taken: Taken::Once },
        other => other,
    })
}
