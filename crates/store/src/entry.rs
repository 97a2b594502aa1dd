//! One cached entry in one heap allocation.

use std::fmt;

use triomphe::{Arc, ThinArc};

use crate::api::{FLOOR_BUCKETS, MAX_CONTENT_TYPE_BYTES, MAX_KEY_BYTES, MAX_MARKS, PutError, Write};
use crate::size::allocated;

/// Bytes in front of the tail: the reference count, the header, the tail's length.
const HEAD_BYTES: usize = 8 + size_of::<Header>() + 8;

/// Entries with a tail up to this size are put together on the stack.
const STACK_BYTES: usize = 512;

const TOMBSTONE: u8 = 1 << 7;
const HAS_FLAGS: u8 = 1 << 6;
const HAS_ORIGIN: u8 = 1 << 5;
const TYPE_MASK: u8 = HAS_ORIGIN - 1;

/// The type's code when its text stands in the tail.
const CUSTOM_TYPE: u8 = TYPE_MASK;

/// All bits of the six bytes set: no deadline.
const NO_DEADLINE: u64 = (1 << 48) - 1;

/// Content types that cost no bytes. The codes live in memory only, so the list may change freely.
const KNOWN_TYPES: [&str; 16] = [
    "",
    "application/octet-stream",
    "application/json",
    "application/json; charset=utf-8",
    "application/msgpack",
    "application/x-protobuf",
    "application/xml",
    "image/jpeg",
    "image/png",
    "image/svg+xml",
    "image/webp",
    "text/css",
    "text/html",
    "text/html; charset=utf-8",
    "text/plain",
    "text/plain; charset=utf-8",
];

/// Sixteen bytes. The tail behind it is: floor bucket and, above its 12 bits, the marks (2), key, flags (4, if any), origin (8, if any), type length and text (if not a
/// known one), value.
struct Header {
    version: u64,
    deadline: [u8; 6],
    key_len: u8,
    meta: u8,
}

/// Where the key stands in the tail.
const KEY_AT: usize = 2;

/// Where the marks stand in the bytes of the bucket.
const MARKS_AT: u32 = FLOOR_BUCKETS.ilog2();

/// A value or a tombstone with its key: immutable and reference counted, so that a reader's clone copies 8 bytes.
///
/// A clone keeps its memory alive after the store has let go of the entry; what readers hold is not in
/// [`Stats::bytes`](crate::Stats::bytes).
#[derive(Clone)]
pub struct Entry(ThinArc<Header, u8>);

impl Entry {
    /// Puts an entry together; `deadline_ms` stands in for the write's own.
    pub(crate) fn new(key: &[u8], hash: u64, write: &Write<'_>, deadline_ms: Option<u64>) -> Self {
        let known = KNOWN_TYPES.iter().position(|known| *known == write.content_type);
        let mut meta = known.map_or(CUSTOM_TYPE, |code| code as u8);
        meta |= if write.value.is_none() { TOMBSTONE } else { 0 };
        meta |= if write.flags == 0 { 0 } else { HAS_FLAGS };
        meta |= if write.origin.is_none() { 0 } else { HAS_ORIGIN };
        let deadline = deadline_ms.map_or(NO_DEADLINE, |at| at.min(NO_DEADLINE - 1)).to_le_bytes();
        let header = Header {
            version: write.version,
            deadline: [deadline[0], deadline[1], deadline[2], deadline[3], deadline[4], deadline[5]],
            key_len: key.len() as u8,
            meta,
        };
        let marks = u16::from(write.marks & MAX_MARKS) << MARKS_AT;
        let bucket = ((hash % FLOOR_BUCKETS as u64) as u16 | marks).to_le_bytes();
        let flags = write.flags.to_le_bytes();
        let origin = write.origin.unwrap_or_default().to_le_bytes();
        let type_len = [write.content_type.len() as u8];
        let parts: [&[u8]; 7] = [
            &bucket,
            key,
            if write.flags == 0 { &[] } else { &flags },
            if write.origin.is_none() { &[] } else { &origin },
            if known.is_some() { &[] } else { &type_len },
            if known.is_some() { &[] } else { write.content_type.as_bytes() },
            write.value.unwrap_or_default(),
        ];
        let len = parts.iter().map(|part| part.len()).sum();
        if len > STACK_BYTES {
            // Zeroed first and then filled: slower than a copy, but a second buffer of this size would stay resident.
            let mut entry = ThinArc::from_header_and_iter(header, std::iter::repeat_n(0, len));
            entry.with_arc_mut(|arc| Arc::get_mut(arc).map(|tail| fill(tail.slice_mut(), &parts)));
            return Self(entry);
        }
        let mut tail = [0; STACK_BYTES];
        fill(&mut tail, &parts);
        Self(ThinArc::from_header_and_slice(header, &tail[..len]))
    }

    /// That the entry is over, to be remembered until `deadline_ms`.
    pub(crate) fn tombstone(&self, deadline_ms: u64) -> Self {
        let write = Write { origin: self.origin(), ..Write::tombstone(self.version()) };
        Self::new(self.key(), self.bucket() as u64, &write, Some(deadline_ms))
    }

    /// Bytes of memory that the write would take as an entry, or why it can be none.
    pub(crate) fn cost_of(key: &[u8], write: &Write<'_>) -> Result<usize, PutError> {
        for (bytes, limit) in [(key.len(), MAX_KEY_BYTES), (write.content_type.len(), MAX_CONTENT_TYPE_BYTES)]
        {
            if bytes > limit {
                return Err(PutError::TooLarge { bytes, limit });
            }
        }
        let type_bytes =
            if KNOWN_TYPES.contains(&write.content_type) { 0 } else { 1 + write.content_type.len() };
        let flag_bytes = if write.flags == 0 { 0 } else { 4 };
        let origin_bytes = if write.origin.is_none() { 0 } else { 8 };
        let value_bytes = write.value.map_or(0, <[u8]>::len);
        Ok(allocated(HEAD_BYTES + KEY_AT + key.len() + flag_bytes + origin_bytes + type_bytes + value_bytes))
    }

    /// The key, as it was written.
    pub fn key(&self) -> &[u8] {
        &self.0.slice[KEY_AT..KEY_AT + self.key_len()]
    }

    /// The value; empty for a tombstone.
    pub fn value(&self) -> &[u8] {
        let at = self.type_at();
        let type_bytes = if self.has_custom_type() { 1 + usize::from(self.0.slice[at]) } else { 0 };
        &self.0.slice[at + type_bytes..]
    }

    /// The content type, as it was written; empty if there was none.
    pub fn content_type(&self) -> &str {
        let at = self.type_at();
        if self.has_custom_type() {
            let len = usize::from(self.0.slice[at]);
            // It came in as a `str`, so the fallback is never taken; saying so needs unsafe code.
            return std::str::from_utf8(&self.0.slice[at + 1..at + 1 + len]).unwrap_or_default();
        }
        KNOWN_TYPES[usize::from(self.0.header.header.meta & TYPE_MASK)]
    }

    /// The client's 32 bits.
    pub fn flags(&self) -> u32 {
        if self.0.header.header.meta & HAS_FLAGS == 0 {
            return 0;
        }
        let at = KEY_AT + self.key_len();
        let tail = &self.0.slice;
        u32::from_le_bytes([tail[at], tail[at + 1], tail[at + 2], tail[at + 3]])
    }

    /// The version under which the entry was first written, where it was carried on under a newer one since.
    pub fn origin(&self) -> Option<u64> {
        if self.0.header.header.meta & HAS_ORIGIN == 0 {
            return None;
        }
        let at = KEY_AT + self.key_len() + self.flag_bytes();
        self.0.slice[at..at + 8].try_into().ok().map(u64::from_le_bytes)
    }

    /// The version of the write that made this entry.
    pub fn version(&self) -> u64 {
        self.0.header.header.version
    }

    /// When the entry ends, in milliseconds since the Unix epoch; for a tombstone, when it may be dropped.
    pub fn deadline_ms(&self) -> Option<u64> {
        let d = self.0.header.header.deadline;
        let at = u64::from_le_bytes([d[0], d[1], d[2], d[3], d[4], d[5], 0, 0]);
        (at != NO_DEADLINE).then_some(at)
    }

    /// Whether this says that the key was deleted.
    pub fn is_tombstone(&self) -> bool {
        self.0.header.header.meta & TOMBSTONE != 0
    }

    /// The floor bucket of the key, below [`FLOOR_BUCKETS`].
    pub fn bucket(&self) -> usize {
        usize::from(self.bucket_and_marks()) % FLOOR_BUCKETS
    }

    /// The marks, as they were written: at most [`MAX_MARKS`].
    pub fn marks(&self) -> u8 {
        (self.bucket_and_marks() >> MARKS_AT) as u8
    }

    /// Bytes of memory that the entry takes, without its share of the index.
    pub fn memory_bytes(&self) -> usize {
        allocated(HEAD_BYTES + self.0.slice.len())
    }

    /// Whether both came from the same write. Deadlines are left out: each node counts what is left to live by its own
    /// clock, so copies differ by the time that they travelled.
    pub(crate) fn is_same_write(&self, other: &Self) -> bool {
        let (mine, theirs) = (&self.0.header.header, &other.0.header.header);
        mine.version == theirs.version && mine.meta == theirs.meta && self.0.slice == other.0.slice
    }

    pub(crate) fn is_over(&self, now_ms: u64) -> bool {
        self.deadline_ms().is_some_and(|deadline| now_ms >= deadline)
    }

    fn bucket_and_marks(&self) -> u16 {
        u16::from_le_bytes([self.0.slice[0], self.0.slice[1]])
    }

    fn key_len(&self) -> usize {
        usize::from(self.0.header.header.key_len)
    }

    fn has_custom_type(&self) -> bool {
        self.0.header.header.meta & TYPE_MASK == CUSTOM_TYPE
    }

    fn type_at(&self) -> usize {
        let origin = if self.0.header.header.meta & HAS_ORIGIN == 0 { 0 } else { 8 };
        KEY_AT + self.key_len() + self.flag_bytes() + origin
    }

    fn flag_bytes(&self) -> usize {
        if self.0.header.header.meta & HAS_FLAGS == 0 { 0 } else { 4 }
    }
}

/// Writes the parts one after the other.
fn fill(tail: &mut [u8], parts: &[&[u8]]) {
    let mut at = 0;
    for part in parts {
        tail[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
}

impl fmt::Debug for Entry {
    /// Shows lengths only: keys and values are the users' and have no place in a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("version", &self.version())
            .field("key_bytes", &self.key_len())
            .field("value_bytes", &self.value().len())
            .field("deadline_ms", &self.deadline_ms())
            .field("tombstone", &self.is_tombstone())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, HEAD_BYTES, Header, MAX_MARKS};
    use crate::Write;

    #[test]
    fn an_entry_gives_back_every_part_it_was_made_of() {
        let long = vec![7; 3000];
        for (key, value, content_type, flags, origin, marks) in [
            (&b"k"[..], &b""[..], "", 0, None, 0),
            (&[0xff; 250], &b"v"[..], "text/plain", 1, Some(3), 1),
            (b"", &long, "x/y; z=1", u32::MAX, Some(u64::MAX), MAX_MARKS),
            (b"key", b"value", "x/y", 0, Some(4), 0),
        ] {
            let value_write = Write::value(9, value);
            let write = Write { content_type, flags, deadline_ms: Some(5), origin, marks, ..value_write };
            let entry = Entry::new(key, 0x1fff, &write, write.deadline_ms);
            assert_eq!((entry.key(), entry.value()), (key, value));
            assert_eq!((entry.content_type(), entry.flags(), entry.version()), (content_type, flags, 9));
            assert_eq!((entry.deadline_ms(), entry.is_tombstone(), entry.bucket()), (Some(5), false, 0xfff));
            assert_eq!((entry.origin(), entry.marks()), (origin, marks));
            let unmarked = Entry::new(key, 0x1fff, &Write { marks: 0, ..write }, write.deadline_ms);
            assert_eq!((entry.is_same_write(&unmarked), entry.is_same_write(&entry)), (marks == 0, true));
            assert_eq!(Ok(entry.memory_bytes()), Entry::cost_of(key, &write));
        }
    }

    #[test]
    fn a_deadline_past_the_year_ten_thousand_is_kept_as_the_last_one_there_is() {
        let write = Write::tombstone(1);
        assert_eq!(Entry::new(b"k", 0, &write, Some(u64::MAX)).deadline_ms(), Some((1 << 48) - 2));
        assert_eq!(Entry::new(b"k", 0, &write, None).deadline_ms(), None);
    }

    #[test]
    fn the_head_takes_thirty_two_bytes_and_a_handle_eight() {
        assert_eq!((HEAD_BYTES, size_of::<Header>(), size_of::<Option<Entry>>()), (32, 16, 8));
    }
}
