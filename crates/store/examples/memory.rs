//! What a million entries really take: `cargo run --release -p annulus-store --example memory -- [ttl] [ENTRIES]
//! [VALUE_BYTES]`.
//!
//! Resident memory is read from /proc/self/statm, so this runs on Linux only. The allocator is mimalloc, as in the
//! `annulus` binary.

use std::error::Error;

use annulus_store::{Condition, Options, Store, Write};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: u64 = 1_700_000_000_000;

fn resident_bytes() -> Result<usize, Box<dyn Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("statm has no second field")?;
    Ok(pages.parse::<usize>()? * 4096)
}

/// Some hash with good low bits, as the ring's has.
fn hash(i: u64) -> u64 {
    let z = (i ^ i >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let ttl = arguments.first().is_some_and(|first| first == "ttl");
    if ttl {
        arguments.remove(0);
    }
    let number = |at: usize, default: u64| arguments.get(at).map_or(Ok(default), |text| text.parse());
    let (entries, value_bytes) = (number(0, 1_000_000)?, number(1, 100)?);
    let value = vec![b'v'; usize::try_from(value_bytes)?];
    let store = Store::new(Options::new(8 << 30, 1));
    let before = resident_bytes()?;
    for i in 0..entries {
        let deadline_ms = ttl.then(|| NOW + 1_000 + hash(!i) % 3_600_000);
        let content_type = "application/octet-stream";
        let write = Write { content_type, deadline_ms, ..Write::value(i + 1, &value) };
        store.put(format!("{i:016}").as_bytes(), hash(i), &write, Condition::Always, NOW)?;
    }
    let (resident, stats) = (resident_bytes()? - before, store.stats());
    let each = |bytes: usize| bytes as f64 / entries as f64;
    println!(
        "{entries} entries of 16 + {value_bytes} bytes, deadlines: {ttl}, shards: {}",
        store.shard_count()
    );
    println!("resident  {:7.1} bytes each", each(resident));
    println!("accounted {:7.1} bytes each, and {} KiB in all", each(stats.bytes), stats.fixed_bytes / 1024);
    Ok(())
}
