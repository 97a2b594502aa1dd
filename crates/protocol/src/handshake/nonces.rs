//! Where nonces come from.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Nonce, Purpose, Secret};

/// Makes nonces that nobody can foretell who does not know the secret: tags of a seed, the time and a counter. A
/// simulation with the same seed and time makes the same ones.
#[derive(Debug)]
pub struct Nonces {
    secret: Secret,
    seed: u64,
    made: AtomicU64,
}

impl Nonces {
    /// `seed` is random, one for each process.
    pub fn new(secret: Secret, seed: u64) -> Self {
        Self { secret, seed, made: AtomicU64::new(0) }
    }

    /// The next one. `now_us` keeps two processes apart that happen to have one seed.
    pub fn next(&self, now_us: u64) -> Nonce {
        let made = self.made.fetch_add(1, Ordering::Relaxed);
        let parts = [self.seed, now_us, made].map(u64::to_be_bytes);
        self.secret.sign(Purpose::Nonce, &[&parts[0], &parts[1], &parts[2]]).into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_nonce_comes_twice() {
        let nonces = |text: &str, seed| Nonces::new(Secret::new(text).unwrap(), seed);
        let all = [nonces("one secret of the test", 1), nonces("one secret of the test", 2)];
        let mut seen: HashSet<_> = all.iter().flat_map(|one| (0..100).map(|us| one.next(us / 10))).collect();
        assert_eq!(seen.len(), 200);
        assert!(seen.insert(nonces("another secret of the test", 1).next(0)), "it takes the secret");
        assert!(!seen.insert(nonces("one secret of the test", 1).next(0)));
    }
}
