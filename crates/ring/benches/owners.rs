//! What a lookup costs, and the hash before it.
//!
//! Each lookup starts from a hash that depends on the answer before it, so the figures are latencies with the cache
//! misses of a random key, not the throughput of many overlapped lookups.

use std::hint::black_box;

use annulus_ring::{DEFAULT_VIRTUAL_NODES, Member, Ring, key_hash};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// A ring of members that are zones of their own, or share three zones.
fn ring(members: usize, zoned: bool) -> Ring {
    let member = |i: usize| {
        let member = Member::new(format!("auxiliary-{i}"));
        if zoned { member.with_zone(format!("zone-{}", i % 3)) } else { member }
    };
    Ring::new((0..members).map(member), DEFAULT_VIRTUAL_NODES).expect("these members are valid")
}

/// A linear congruential step (Knuth's MMIX constants) that also takes in the answer before.
fn next_hash(hash: u64, answer: usize) -> u64 {
    hash.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407 + answer as u64)
}

fn lookups(criterion: &mut Criterion) {
    for members in [3, 10, 100] {
        let mut group = criterion.benchmark_group(format!("{members} nodes"));
        let plain = ring(members, false);
        let zoned = ring(members, true);
        group.bench_function("owner", |bencher| {
            let mut hash = 0;
            bencher.iter(|| hash = next_hash(hash, plain.owner(hash).unwrap_or(0)));
            black_box(hash);
        });
        for n in [2, 3] {
            for (zones, ring) in [("no zones", &plain), ("3 zones", &zoned)] {
                group.bench_function(BenchmarkId::new(format!("owners({n})"), zones), |bencher| {
                    let mut hash = 0;
                    bencher.iter(|| hash = next_hash(hash, ring.owners(hash, n).sum()));
                    black_box(hash);
                });
            }
        }
        group.finish();
    }
}

fn hashing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("key_hash");
    for length in [16, 100, 250] {
        let key = vec![b'k'; length];
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| key_hash(black_box(&key)));
        });
    }
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("100 nodes");
    group.sample_size(10);
    let (before, after) = (ring(100, true), ring(101, true));
    group.bench_function("new", |bencher| bencher.iter(|| ring(100, true)));
    group.bench_function("moves", |bencher| bencher.iter(|| before.moves(&after)));
    group.bench_function("moves_of_copies(2)", |bencher| bencher.iter(|| before.moves_of_copies(&after, 2)));
    group.finish();
}

criterion_group!(benches, lookups, hashing, changes);
criterion_main!(benches);
