//! Shards are not one LRU, but they hit nearly as often.

use std::num::NonZeroUsize;

use annulus_store::{Condition, Lookup, Options, Store, Write};

const NOW: u64 = 1_700_000_000_000;

/// Uniform 64-bit numbers (Steele, Lea, Flood: SplitMix, 2014), by their index.
fn splitmix(index: u64) -> u64 {
    let mut z = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Requests by Zipf's law with exponent 1 (by inverting its cumulative sums).
fn zipf(keys: u64, requests: u64) -> impl Iterator<Item = u64> {
    let mut sums = Vec::with_capacity(keys as usize);
    let mut sum = 0.0;
    for rank in 1..=keys {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    (0..requests).map(move |i| {
        let at = (splitmix(i) >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        sums.partition_point(|sum| *sum < at) as u64
    })
}

/// Hits of a read-through store of 16 shards, and of one exact LRU (the `lru` crate's) with as many items.
fn hits(options: Options, keys: u64, requests: u64) -> (f64, f64, usize) {
    let store = Store::new(options);
    let mut hits = 0;
    let mut version = 0;
    for key in zipf(keys, requests) {
        let (name, hash) = (key.to_le_bytes(), splitmix(!key));
        if let Lookup::Hit(_) = store.get(&name, hash, NOW) {
            hits += 1;
        } else {
            version += 1;
            assert_eq!(
                store.put(&name, hash, &Write::value(version, &[0; 100]), Condition::Always, NOW),
                Ok(None)
            );
        }
    }
    let items = store.stats().items;
    let mut exact = lru::LruCache::new(NonZeroUsize::new(items).unwrap());
    let mut exact_hits = 0;
    for key in zipf(keys, requests) {
        exact_hits += usize::from(exact.get(&key).is_some());
        exact.put(key, ());
    }
    (f64::from(hits) / requests as f64, exact_hits as f64 / requests as f64, items)
}

#[test]
fn sixteen_shards_hit_within_half_a_point_of_one_exact_lru() {
    let mut by_items = Options::new(1 << 30, 3);
    (by_items.shards, by_items.max_items) = (Some(16), Some(10_000));
    let mut by_bytes = Options::new(2 << 20, 3);
    by_bytes.shards = Some(16);
    for options in [by_items, by_bytes] {
        let (ours, exact, items) = hits(options, 40_000, 400_000);
        println!("{items} items: {ours:.4} against {exact:.4}");
        assert!((ours - exact).abs() < 0.005, "{items} items: {ours} against {exact}");
    }
}

#[test]
fn one_shard_hits_exactly_as_one_lru() {
    let mut options = Options::new(1 << 30, 3);
    (options.shards, options.max_items) = (Some(1), Some(10_000));
    let (ours, exact, _) = hits(options, 40_000, 400_000);
    assert!((ours - exact).abs() < f64::EPSILON, "{ours} against {exact}");
}
