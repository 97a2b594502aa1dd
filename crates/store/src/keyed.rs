//! The hash of the index: keyed in secret, so that nobody can choose keys that collide, and cheap.
//!
//! Two keys collide with a probability of 2^-63, whatever they are, over the choice of the secret: pairs of words go
//! through NH (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC: fast and secure message authentication", 1999), and its
//! 128 bits through a strongly universal multilinear hash (Dietzfelbinger, "Universal hashing and k-wise independent random
//! variables via integer arithmetic without primes", 1996).

use crate::api::MAX_KEY_BYTES;

/// Bytes that one step takes.
const STEP: usize = 16;

/// Steps of the longest key.
const STEPS: usize = MAX_KEY_BYTES.div_ceil(STEP);

/// Hashes keys of up to [`MAX_KEY_BYTES`]; what is longer is cut.
pub(crate) struct Hasher {
    pairs: [[u64; 2]; STEPS],
    low: u128,
    high: u128,
    len: u128,
}

impl Hasher {
    /// With the secret that a seed stands for.
    pub(crate) fn new(seed: u64) -> Self {
        let mut stream = Stream(seed);
        let pairs = std::array::from_fn(|_| [stream.next(), stream.next()]);
        let mut wide = || u128::from(stream.next()) << 64 | u128::from(stream.next());
        Self { pairs, low: wide(), high: wide(), len: wide() }
    }

    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        let (steps, rest) = key.as_chunks::<STEP>();
        let mut sum = 0_u128;
        for (step, pair) in steps.iter().zip(&self.pairs) {
            sum = sum.wrapping_add(product(step, pair));
        }
        if let Some(pair) = self.pairs.get(steps.len()).filter(|_| !rest.is_empty()) {
            let mut step = [0; STEP];
            step[..rest.len()].copy_from_slice(rest);
            sum = sum.wrapping_add(product(&step, pair));
        }
        let (low, high) = (u128::from(sum as u64), sum >> 64);
        let sum = self.low.wrapping_mul(low).wrapping_add(self.high.wrapping_mul(high));
        spread((sum.wrapping_add(self.len.wrapping_mul(key.len() as u128 + 1)) >> 64) as u64)
    }
}

fn product(step: &[u8; STEP], pair: &[u64; 2]) -> u128 {
    let words = u128::from_le_bytes(*step);
    let (first, second) = (words as u64, (words >> 64) as u64);
    u128::from(first.wrapping_add(pair[0])) * u128::from(second.wrapping_add(pair[1]))
}

/// A permutation that leaves no arithmetic between the hashes of keys that were counted up.
fn spread(hash: u64) -> u64 {
    let hash = (hash ^ hash >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ hash >> 29
}

/// A stream of secrets from a seed: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Hasher;

    #[test]
    fn keys_that_differ_in_anything_differ_and_another_seed_gives_other_hashes() {
        let (one, other) = (Hasher::new(1), Hasher::new(2));
        let long = [b'k'; 250];
        let mut keys: Vec<Vec<u8>> = (0..=250).map(|len| long[..len].to_vec()).collect();
        keys.extend((0..=250).map(|len| vec![0; len]));
        for at in 0..250 {
            let mut key = long;
            key[at] ^= 1;
            keys.push(key.to_vec());
        }
        let keys: HashSet<Vec<u8>> = keys.into_iter().collect();
        let hashes: HashSet<u64> = keys.iter().flat_map(|key| [one.hash(key), other.hash(key)]).collect();
        assert_eq!(hashes.len(), 2 * keys.len());
    }

    /// Counted-up keys are what caches are full of.
    #[test]
    fn hashes_of_counted_up_keys_are_spread_evenly() {
        for seed in 0..4 {
            let hasher = Hasher::new(seed);
            for shift in [0, 40, 52] {
                let mut counts = [0_u32; 4096];
                for i in 0..409_600 {
                    counts[(hasher.hash(format!("key-{i}").as_bytes()) >> shift) as usize % 4096] += 1;
                }
                // Six standard deviations.
                assert!(counts.iter().all(|count| (40..=160).contains(count)), "{:?}", counts.iter().max());
            }
        }
    }

    #[test]
    fn a_key_over_the_limit_is_no_panic() {
        assert_ne!(Hasher::new(1).hash(&[1; 300]), Hasher::new(1).hash(&[1; 301]));
    }
}
