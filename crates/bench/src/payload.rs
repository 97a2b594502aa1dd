//! The bytes of values: slices of one pool made at the start, and under `--verify` a stamp in front that says who wrote
//! them.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::{BufMut, Bytes, BytesMut};

/// `an1:`, the run, the key's hash, the sequence and a checksum, the last four in hexadecimal.
pub(crate) const STAMP_BYTES: usize = 4 + 8 + 16 + 12 + 8;
const MAGIC: &[u8] = b"an1:";
/// Values start at different places of the pool, so that a mix of two of them shows.
const OFFSETS: usize = 4096;

/// Printable ASCII that JSON need not escape, the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Bytes);

impl Pool {
    /// A pool for values of up to `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let alphabet = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            // xorshift64 (Marsaglia 2003): any bytes will do, as long as no slice repeats another.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            alphabet[(state >> 58) as usize]
        };
        Self((0..max_bytes + OFFSETS).map(|_| next()).collect())
    }

    /// A value of `size` bytes that shares the pool's memory.
    pub(crate) fn value(&self, size: usize, variant: u64) -> Bytes {
        let from = offset(variant);
        self.0.slice(from..from + size)
    }

    /// A value of `size` bytes that says it is write `sequence` of `key` in `run`; unstamped where it is too short.
    pub(crate) fn stamped(&self, size: usize, stamp: Stamp<'_>) -> Bytes {
        let Some(rest) = size.checked_sub(STAMP_BYTES) else { return self.value(size, stamp.sequence) };
        let mut value = BytesMut::with_capacity(size);
        let key = hash(stamp.key.as_bytes());
        let head = format!("an1:{:08x}{key:016x}{:012x}", stamp.run, stamp.sequence);
        value.put_slice(head.as_bytes());
        value.put_slice(checksum(head.as_bytes(), size).as_bytes());
        let from = offset(stamp.sequence);
        value.put_slice(&self.0[from..from + rest]);
        value.freeze()
    }

    /// Who wrote `value`, as read from `key` in `run`.
    pub(crate) fn origin(&self, value: &[u8], run: u32, key: &str) -> Origin {
        let Some((stamp, rest)) = value.split_at_checked(STAMP_BYTES) else { return Origin::TooShort };
        if !stamp.starts_with(MAGIC) {
            return Origin::Unstamped;
        }
        let (head, sum) = stamp.split_at(STAMP_BYTES - 8);
        let field = |from: usize, to: usize| {
            let digits = std::str::from_utf8(&head[from..to]).ok();
            digits.and_then(|digits| u64::from_str_radix(digits, 16).ok())
        };
        let (Some(written_by), Some(of_key), Some(sequence)) = (field(4, 12), field(12, 28), field(28, 40))
        else {
            return Origin::Damaged;
        };
        if checksum(head, value.len()).as_bytes() != sum {
            return Origin::Damaged;
        }
        if of_key != hash(key.as_bytes()) {
            return Origin::OtherKey;
        }
        if written_by != u64::from(run) {
            return Origin::OtherRun;
        }
        let from = offset(sequence);
        let filler = self.0.get(from..from + rest.len());
        if filler == Some(rest) { Origin::Ours { sequence } } else { Origin::Damaged }
    }
}

/// What a stamped value carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp<'a> {
    pub(crate) run: u32,
    pub(crate) key: &'a str,
    pub(crate) sequence: u64,
}

/// What a value says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Ours {
        sequence: u64,
    },
    /// Intact, for this key, by an earlier run.
    OtherRun,
    /// Intact, but another key's value.
    OtherKey,
    /// Long enough for a stamp, without one.
    Unstamped,
    /// Too short to carry a stamp.
    TooShort,
    /// A stamp that does not fit what follows it.
    Damaged,
}

fn offset(variant: u64) -> usize {
    (variant.wrapping_mul(61) % OFFSETS as u64) as usize
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn checksum(head: &[u8], len: usize) -> String {
    let mut hasher = DefaultHasher::new();
    (head, len).hash(&mut hasher);
    format!("{:08x}", hasher.finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp<'_> = Stamp { run: 7, key: "k", sequence: 12 };

    #[test]
    fn a_stamped_value_tells_its_origin() {
        let pool = Pool::new(1000);
        for size in [STAMP_BYTES, 100, 1000] {
            let value = pool.stamped(size, STAMP);
            assert_eq!(value.len(), size);
            assert_eq!(pool.origin(&value, 7, "k"), Origin::Ours { sequence: 12 });
            assert_eq!(pool.origin(&value, 8, "k"), Origin::OtherRun);
            assert_eq!(pool.origin(&value, 7, "j"), Origin::OtherKey);
        }
        assert_eq!(pool.origin(&pool.stamped(20, STAMP), 7, "k"), Origin::TooShort);
        assert_eq!(pool.origin(&pool.value(100, 3), 7, "k"), Origin::Unstamped);
    }

    #[test]
    fn any_damage_shows() {
        let pool = Pool::new(200);
        let value = pool.stamped(150, STAMP);
        for at in 0..value.len() {
            let mut damaged = value.to_vec();
            damaged[at] ^= 1;
            assert!(
                !matches!(pool.origin(&damaged, 7, "k"), Origin::Ours { .. } | Origin::OtherRun),
                "byte {at}"
            );
        }
        assert_eq!(pool.origin(&value[..149], 7, "k"), Origin::Damaged, "cut off");
        let other = pool.stamped(150, Stamp { sequence: 13, ..STAMP });
        let mixed = [&value[..STAMP_BYTES], &other[STAMP_BYTES..]].concat();
        assert_eq!(pool.origin(&mixed, 7, "k"), Origin::Damaged, "head and tail of two writes");
    }

    #[test]
    fn values_need_no_escape_in_json() {
        let value = String::from_utf8(Pool::new(300).value(300, 5).to_vec()).unwrap();
        assert_eq!(serde_json::to_string(&value).unwrap().len(), 302);
    }
}
