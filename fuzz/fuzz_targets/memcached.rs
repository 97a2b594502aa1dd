//! Any bytes, as a stream of memcached requests, cut by its own first bytes.
//! `cargo +nightly fuzz run memcached -- -max_total_time=600 -rss_limit_mb=256` in this repository's root; the same without a nightly
//! compiler: `cargo run --release -p annulus-protocol --example fuzz_memcached -- --seconds 600`.

#![no_main]

use annulus_protocol::memcached::Limits;
use annulus_protocol::memcached::invariants::check_stream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (cuts, stream) = input.split_at(input.len().min(3));
    let cuts: Vec<usize> = cuts.iter().map(|byte| usize::from(*byte) + 1).collect();
    for limits in [Limits::default(), Limits { max_value_bytes: 64, max_line_bytes: 256 }] {
        if let Err(error) = check_stream(stream, if cuts.is_empty() { &[1] } else { &cuts }, limits) {
            panic!("{error}");
        }
    }
});
