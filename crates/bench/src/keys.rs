//! Which key comes next, and what it is called.

use rand::Rng;
use rand_distr::{Distribution as _, Zipf};

use crate::args::{Args, Distribution};
use crate::trace::Recording;

/// Draws for one further key of a get.
const TRIES: u32 = 16;

/// All keys of a run, by index.
#[derive(Debug)]
pub(crate) enum KeySpace {
    /// `PREFIX` and 12 digits.
    Numbered { prefix: String, count: u32 },
    /// The keys of a trace.
    Recorded(Recording),
}

impl KeySpace {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Numbered { count, .. } => *count as usize,
            Self::Recorded(recording) => recording.keys.len(),
        }
    }

    /// Puts the name of key `index` into `name`, replacing what it held.
    pub(crate) fn name_into(&self, index: u32, name: &mut String) {
        name.clear();
        match self {
            Self::Numbered { prefix, .. } => {
                name.push_str(prefix);
                let mut digits = [b'0'; 12];
                let mut rest = index;
                for digit in digits.iter_mut().rev() {
                    *digit += (rest % 10) as u8;
                    rest /= 10;
                }
                name.extend(digits.map(char::from));
            }
            Self::Recorded(recording) => name.push_str(&recording.keys[index as usize]),
        }
    }
}

/// Draws key indices; index 0 is the most popular under zipf.
#[derive(Clone, Debug)]
pub(crate) enum KeyPicker {
    Uniform(u32),
    Zipf { zipf: Zipf<f64>, count: u32 },
}

impl KeyPicker {
    pub(crate) fn new(args: &Args) -> Self {
        let zipf = Zipf::new(f64::from(args.keys), args.zipf_exponent);
        match (args.distribution, zipf) {
            (Distribution::Zipf, Ok(zipf)) => Self::Zipf { zipf, count: args.keys },
            // Without keys or with a negative exponent there is no zipf; the parser lets neither through.
            _ => Self::Uniform(args.keys),
        }
    }

    pub(crate) fn pick(&self, rng: &mut impl Rng) -> u32 {
        match self {
            Self::Uniform(count) => rng.random_range(0..*count),
            // The distribution counts ranks from 1, in floating point.
            Self::Zipf { zipf, count } => (zipf.sample(rng) as u32).clamp(1, *count) - 1,
        }
    }

    /// A key that is none of `taken`, of which there must be fewer than keys. After some tries it is the next free one,
    /// so that a few popular keys do not take all the time.
    pub(crate) fn pick_another(&self, rng: &mut impl Rng, taken: &[u32]) -> u32 {
        let (Self::Uniform(count) | Self::Zipf { count, .. }) = self;
        let mut key = self.pick(rng);
        for tries in 1.. {
            if !taken.contains(&key) {
                break;
            }
            key = if tries < TRIES { self.pick(rng) } else { (key + 1) % count };
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn shares(picker: &KeyPicker, count: usize) -> Vec<f64> {
        let mut rng = SmallRng::seed_from_u64(7);
        let mut draws = vec![0.0; count];
        for _ in 0..200_000 {
            draws[picker.pick(&mut rng) as usize] += 1.0 / 200_000.0;
        }
        draws
    }

    #[test]
    fn zipf_follows_its_law() {
        let shares = shares(&KeyPicker::Zipf { zipf: Zipf::new(1000.0, 0.99).unwrap(), count: 1000 }, 1000);
        let harmonic: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        for rank in [1, 2, 10] {
            let expected = f64::from(rank).powf(-0.99) / harmonic;
            let share = shares[rank as usize - 1];
            assert!((share / expected - 1.0).abs() < 0.1, "rank {rank}: {share} instead of {expected}");
        }
    }

    #[test]
    fn uniform_reaches_every_key_alike() {
        for share in shares(&KeyPicker::Uniform(10), 10) {
            assert!((share - 0.1).abs() < 0.01, "{share}");
        }
    }

    #[test]
    fn default_names_have_sixteen_bytes() {
        let keys = KeySpace::Numbered { prefix: "key-".to_owned(), count: 5 };
        let mut name = "old".to_owned();
        keys.name_into(3, &mut name);
        assert_eq!(name, "key-000000000003");
        keys.name_into(u32::MAX, &mut name);
        assert_eq!(name, "key-004294967295");
    }
}
