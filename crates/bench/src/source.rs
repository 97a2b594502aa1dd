//! What a worker asks for next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::args::Args;
use crate::keys::{KeyPicker, KeySpace};
use crate::parse::ValueSize;
use crate::protocol::Operation;

/// One thing to do. A recorded read that misses is followed by a write of `size` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) operation: Operation,
    pub(crate) size: usize,
    pub(crate) fill: bool,
}

#[derive(Debug)]
pub(crate) enum Source {
    Synthetic(Synthetic),
    /// The next line of the trace, shared by all workers.
    Replay(Arc<AtomicUsize>),
}

impl Source {
    /// What to do next; `drawn` becomes its keys, more than one only in a get.
    pub(crate) fn next(&mut self, keys: &KeySpace, drawn: &mut Vec<u32>) -> Option<Job> {
        drawn.clear();
        match (self, keys) {
            (Self::Synthetic(synthetic), _) => Some(synthetic.next(drawn)),
            (Self::Replay(cursor), KeySpace::Recorded(recording)) => {
                let (key, size) = *recording.requests.get(cursor.fetch_add(1, Ordering::Relaxed))?;
                drawn.push(key);
                Some(Job { operation: Operation::Get, size: size as usize, fill: true })
            }
            (Self::Replay(_), KeySpace::Numbered { .. }) => None,
        }
    }
}

/// Operations, keys and sizes drawn from the worker's own generator.
#[derive(Debug)]
pub(crate) struct Synthetic {
    rng: SmallRng,
    keys: KeyPicker,
    sizes: ValueSize,
    /// Keys in a get.
    multiget: usize,
    read_ratio: f64,
    delete_ratio: f64,
}

impl Synthetic {
    pub(crate) fn new(args: &Args, worker: u32) -> Self {
        Self {
            // Neighbouring seeds give unrelated streams: seeding runs them through SplitMix64.
            rng: SmallRng::seed_from_u64(
                args.seed.wrapping_mul(0x1_0000_0001).wrapping_add(u64::from(worker)),
            ),
            keys: KeyPicker::new(args),
            sizes: args.value_size.clone(),
            multiget: args.multiget as usize,
            read_ratio: args.read_ratio,
            delete_ratio: args.delete_ratio,
        }
    }

    fn next(&mut self, drawn: &mut Vec<u32>) -> Job {
        drawn.push(self.keys.pick(&mut self.rng));
        let die: f64 = self.rng.random();
        let operation = if die < self.read_ratio {
            Operation::Get
        } else if die < self.read_ratio + self.delete_ratio {
            Operation::Delete
        } else {
            Operation::Set
        };
        let size = self.size();
        while operation == Operation::Get && drawn.len() < self.multiget {
            drawn.push(self.keys.pick_another(&mut self.rng, drawn));
        }
        Job { operation, size, fill: false }
    }

    pub(crate) fn size(&mut self) -> usize {
        let (min, max) = (self.sizes.min_bytes(), self.sizes.max_bytes());
        if min == max { min } else { self.rng.random_range(min..=max) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn jobs(flags: &[&str], worker: u32) -> Vec<(Job, Vec<u32>)> {
        let args = Command::parse_from([&["bench"], flags].concat()).args;
        let keys = KeySpace::Numbered { prefix: String::new(), count: args.keys };
        let mut source = Source::Synthetic(Synthetic::new(&args, worker));
        let mut drawn = Vec::new();
        (0..10_000).filter_map(|_| Some((source.next(&keys, &mut drawn)?, drawn.clone()))).collect()
    }

    #[test]
    fn operations_come_in_their_shares() {
        let jobs = jobs(&["--read-ratio", "0.7", "--delete-ratio", "0.1", "--value-size", "5-9"], 0);
        let share = |operation| jobs.iter().filter(|(job, _)| job.operation == operation).count() / 100;
        assert!(share(Operation::Get).abs_diff(70) < 3, "{}", share(Operation::Get));
        assert!(share(Operation::Delete).abs_diff(10) < 2);
        assert!(share(Operation::Set).abs_diff(20) < 3);
        assert!((5..=9).all(|size| jobs.iter().any(|(job, _)| job.size == size)));
    }

    #[test]
    fn a_multiget_has_distinct_keys_and_a_write_has_one() {
        for keys in ["8", "9", "100000"] {
            for (job, mut drawn) in jobs(&["--multiget", "8", "--keys", keys, "--zipf-exponent", "3"], 0) {
                drawn.sort_unstable();
                drawn.dedup();
                assert_eq!(drawn.len(), if job.operation == Operation::Get { 8 } else { 1 });
            }
        }
    }

    #[test]
    fn a_seed_repeats_itself_and_workers_differ() {
        assert_eq!(jobs(&["--seed", "5"], 1), jobs(&["--seed", "5"], 1));
        assert_ne!(jobs(&["--seed", "5"], 1), jobs(&["--seed", "5"], 2));
        assert_ne!(jobs(&["--seed", "5"], 1), jobs(&["--seed", "6"], 1));
    }
}
