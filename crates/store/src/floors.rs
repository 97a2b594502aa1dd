//! Miss floors: the highest versions that were forgotten, by bucket.

use crate::api::Role;

/// The floors of one bucket.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Of all that was forgotten.
    all: u64,
    /// Of what had been taken as a spare.
    as_spare: u64,
}

/// The floors of the buckets that end in one shard's number.
pub(crate) struct Floors {
    buckets: Box<[Bucket]>,
    /// Off only in tests that show that floors are needed.
    are_kept: bool,
}

impl Floors {
    /// Bytes of a bucket.
    pub(crate) const BUCKET_BYTES: usize = size_of::<Bucket>();

    pub(crate) fn new(buckets: usize, are_kept: bool) -> Self {
        Self { buckets: vec![Bucket::default(); buckets].into_boxed_slice(), are_kept }
    }

    /// The floor that counts in this role.
    pub(crate) fn of(&self, bucket: usize, role: Role) -> u64 {
        let bucket = &self.buckets[self.at(bucket)];
        match role {
            Role::Owner | Role::Between => bucket.all,
            Role::Spare => bucket.as_spare,
        }
    }

    /// An entry of this version goes.
    pub(crate) fn forget(&mut self, bucket: usize, version: u64, was_spare: bool) {
        self.raise(bucket, version);
        if was_spare {
            self.raise_spare(bucket, version);
        }
    }

    /// Others have forgotten this version.
    pub(crate) fn raise(&mut self, bucket: usize, version: u64) {
        if self.are_kept {
            let floor = &mut self.buckets[self.at(bucket)].all;
            *floor = version.max(*floor);
        }
    }

    /// Other spares have forgotten this version.
    pub(crate) fn raise_spare(&mut self, bucket: usize, version: u64) {
        if self.are_kept {
            let floor = &mut self.buckets[self.at(bucket)].as_spare;
            *floor = version.max(*floor);
        }
    }

    /// Everything up to this version is to be forgotten, whoever took it.
    pub(crate) fn raise_all(&mut self, version: u64) {
        for bucket in &mut self.buckets {
            bucket.all = version.max(bucket.all);
            bucket.as_spare = version.max(bucket.as_spare);
        }
    }

    /// Shards take the bucket's low bits, so the high ones number the floors.
    fn at(&self, bucket: usize) -> usize {
        bucket / (crate::FLOOR_BUCKETS / self.buckets.len())
    }
}
