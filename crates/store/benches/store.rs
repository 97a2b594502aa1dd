//! One thread's cost of the three operations that matter.

use std::hint::black_box;

use annulus_store::{Condition, Options, Store, Write};
use criterion::{Criterion, criterion_group, criterion_main};

const NOW: u64 = 1_700_000_000_000;

/// Some hash with good low bits, as the ring's has.
fn hash(i: u64) -> u64 {
    let z = (i ^ i >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn key(i: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&i.to_le_bytes());
    key
}

fn put(store: &Store, i: u64, version: u64, deadline_ms: Option<u64>) {
    let write = Write { deadline_ms, ..Write::value(version, &[7; 100]) };
    let done = store.put(&key(i), hash(i), &write, Condition::Always, NOW);
    assert!(done.is_ok(), "{done:?}");
}

fn filled(keys: u64, max_bytes: usize) -> Store {
    let store = Store::new(Options::new(max_bytes, 1));
    (0..keys).for_each(|i| put(&store, i, i + 1, None));
    store
}

/// With few keys the cost of the code shows, with many that of the memory: each operation goes to about six places.
fn operations(criterion: &mut Criterion) {
    let (mut i, mut version) = (0_u64, 1 << 40);
    for keys in [1_000, 100_000] {
        let mut next = || {
            i = i.wrapping_add(1);
            hash(i) % keys
        };
        let store = filled(keys, 1 << 30);
        criterion.bench_function(&format!("get hit, {keys} keys"), |bencher| {
            bencher.iter(|| {
                let i = next();
                black_box(store.get(&key(i), hash(i), NOW))
            });
        });
        for (name, ttl) in [("", None), (" with deadline", Some(60_000))] {
            criterion.bench_function(&format!("put overwrite{name}, {keys} keys"), |bencher| {
                bencher.iter(|| {
                    version += 1;
                    put(&store, next(), version, ttl.map(|ttl| NOW + ttl + version % 100_000));
                });
            });
        }
    }
    let full = filled(100_000, 8 << 20);
    criterion.bench_function("put evicting", |bencher| {
        bencher.iter(|| {
            version += 1;
            put(&full, version, version, None);
        });
    });
}

criterion_group!(benches, operations);
criterion_main!(benches);
