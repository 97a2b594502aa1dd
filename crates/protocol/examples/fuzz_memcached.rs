//! Changes recorded exchanges at random and checks what must hold of any bytes, for a while: what the target in `fuzz/`
//! checks, for machines without a nightly compiler.
//! `cargo run --release -p annulus-protocol --example fuzz_memcached -- --seconds 600`

use std::time::{Duration, Instant};

use annulus_protocol::memcached::Limits;
use annulus_protocol::memcached::exchange::{Case, SCRIPTS};
use annulus_protocol::memcached::invariants::check_stream;

/// Longest input. It bounds what a run keeps in memory.
const MAX_INPUT_BYTES: usize = 16 << 10;
/// Inputs kept to be changed further.
const MAX_CORPUS: usize = 4096;
/// No input may take longer.
const MAX_TIME: Duration = Duration::from_millis(500);
/// One that seems to is tried so often: others use the machine too.
const TRIES: usize = 20;
/// No more may be resident, in bytes.
const MAX_RESIDENT_BYTES: u64 = 64 << 20;

/// Pieces of requests that random bytes would take long to hit upon.
const PIECES: [&[u8]; 24] = [
    b"get ",
    b"gets ",
    b"gat 0 ",
    b"set a 0 0 ",
    b"add a 0 -1 ",
    b"cas a 0 0 1 ",
    b"append a 0 0 ",
    b"incr a ",
    b"touch a ",
    b"delete a ",
    b"flush_all ",
    b"stats ",
    b"mg a ",
    b"ms a ",
    b"md a ",
    b"ma a ",
    b"me a ",
    b"mn\r\n",
    b"\r\n",
    b" noreply\r\n",
    b" b",
    b" N30",
    b" 4294967295\r\n",
    b" 18446744073709551616",
];

/// SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// Changes an input in one place.
fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(7) {
        0 => input.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied()).for_each(drop),
        1 => input.splice(at..at, random.one_of(corpus).iter().copied()).for_each(drop),
        2 => drop(input.drain(at..(at + random.below(40)).min(input.len()))),
        3 if at < input.len() => input[at] = random.next() as u8,
        4 if at < input.len() => input[at] ^= 1 << random.below(8),
        5 => {
            let piece = input[at..(at + random.below(200)).min(input.len())].to_vec();
            let times = random.below(20);
            input.splice(at..at, piece.repeat(times)).for_each(drop);
        }
        _ => input.insert(at, *random.one_of(b" \r\n\0=-0199aZ")),
    }
    input.truncate(MAX_INPUT_BYTES);
}

/// Bytes resident at most so far, as the kernel counts them.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[expect(clippy::disallowed_methods, reason = "a run is bounded by the time that really passes")]
fn now() -> Instant {
    Instant::now()
}

/// Checks an input and tells how long that took at best.
fn timed(input: &[u8], cuts: &[usize], limits: Limits) -> Result<Duration, String> {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        let before = now();
        check_stream(input, cuts, limits).map_err(|error| {
            format!("{error}\n  input {}, cuts {cuts:?}, {limits:?}", input.escape_ascii())
        })?;
        best = best.min(before.elapsed());
        if best <= MAX_TIME / 10 {
            break;
        }
    }
    Ok(best)
}

fn argument(name: &str, default: u64) -> Result<u64, String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    match (arguments.next(), arguments.next()) {
        (None, _) => Ok(default),
        (Some(_), Some(value)) => value.parse().map_err(|error| format!("{name} {value}: {error}")),
        (Some(_), None) => Err(format!("{name} wants a number")),
    }
}

fn main() -> Result<(), String> {
    let (seconds, seed) = (argument("--seconds", 60)?, argument("--seed", 1)?);
    let mut corpus: Vec<Vec<u8>> =
        SCRIPTS.iter().flat_map(|(_, script)| Case::all(script)).map(|case| case.sent()).collect();
    let (mut random, started, mut inputs, mut slowest) = (Random(seed), now(), 0_u64, Duration::ZERO);
    while started.elapsed() < Duration::from_secs(seconds) {
        let mut input = random.one_of(&corpus).clone();
        for _ in 0..=random.below(8) {
            change(&mut input, &corpus, &mut random);
        }
        let cuts = [1 + random.below(4), 1 + random.below(60), 1 + random.below(2000)];
        let limits = if random.below(4) == 0 {
            Limits { max_value_bytes: 64, max_line_bytes: 256 }
        } else {
            Limits::default()
        };
        let took = timed(&input, &cuts, limits)?;
        slowest = slowest.max(took);
        if took > MAX_TIME {
            return Err(format!("an input took {took:?}: {}", input.escape_ascii()));
        }
        if random.below(16) == 0 && input.len() < 1024 {
            let place = random.below(MAX_CORPUS);
            match corpus.get_mut(place) {
                Some(old) => *old = input,
                None => corpus.push(input),
            }
        }
        inputs += 1;
    }
    let peak = peak_resident_bytes();
    println!("{inputs} inputs in {seconds} s, the slowest took {slowest:?}; resident at most {peak:?} bytes");
    if peak.is_some_and(|bytes| bytes > MAX_RESIDENT_BYTES) {
        return Err(format!("more than {MAX_RESIDENT_BYTES} bytes were resident"));
    }
    Ok(())
}
