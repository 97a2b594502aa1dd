//! What a store says to take is what it takes.

use annulus_store::{Condition, Options, Store, Write};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: u64 = 1_700_000_000_000;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this test runs on Linux");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("the second field is a number") * 4096
}

/// Some hash with good low bits, as the ring's has.
fn hash(i: u64) -> u64 {
    let z = (i ^ i >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Sizes just below and just above the allocator's classes: an allocation rounded up more than is accounted would show.
#[test]
fn resident_memory_is_what_is_accounted_within_a_tenth() {
    let mut stores = Vec::new();
    for value_bytes in [10, 29, 31, 79, 100, 140, 200, 1_000] {
        let (before, entries) = (resident_bytes(), 40_000_000 / (100 + value_bytes as u64));
        let store = Store::new(Options { shards: Some(64), ..Options::new(1 << 30, 1) });
        for i in 0..entries {
            let deadline_ms = Some(NOW + i);
            let write = Write { deadline_ms, ..Write::value(i + 1, &[7; 1_000][..value_bytes]) };
            let put = store.put(format!("{i:016}").as_bytes(), hash(i), &write, Condition::Always, NOW);
            assert!(put.is_ok());
        }
        let stats = store.stats();
        let (grown, accounted) = (resident_bytes() - before, stats.bytes + stats.fixed_bytes);
        // What the allocator keeps of what was freed while the tables grew.
        let kept = 4 << 20;
        assert!(grown < accounted * 11 / 10 + kept, "{grown} for {accounted}, values of {value_bytes}");
        assert!(grown + kept > accounted, "{grown} for {accounted}, values of {value_bytes}");
        // Memory given back would be counted for the next one.
        stores.push(store);
    }
}
