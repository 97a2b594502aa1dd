//! One entry as bytes: in a snapshot, and on its way to another node.
//!
//! A record is, in this order: one byte that says which optional parts are there; the key's length and the key; the
//! version (8 bytes); then, if there, the origin (8 bytes), the flags (4 bytes), the marks (1 byte), the content type's
//! length and text, the deadline, the value's length and the value. Fixed numbers are little-endian; lengths and the deadline are
//! variable-length (LEB128). A record has no checksum: what carries it has.

use std::fmt;

use crate::api::{MAX_CONTENT_TYPE_BYTES, MAX_KEY_BYTES, Write};
use crate::entry::Entry;

const HAS_VALUE: u8 = 1;
const HAS_ORIGIN: u8 = 1 << 1;
const HAS_FLAGS: u8 = 1 << 2;
const HAS_TYPE: u8 = 1 << 3;
const HAS_DEADLINE: u8 = 1 << 4;
const HAS_MARKS: u8 = 1 << 5;
const ALL_PARTS: u8 = HAS_VALUE | HAS_ORIGIN | HAS_FLAGS | HAS_TYPE | HAS_DEADLINE | HAS_MARKS;

/// An entry or a tombstone outside the store, borrowed from an [`Entry`] or from the bytes it came in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// At most [`MAX_KEY_BYTES`].
    pub key: &'a [u8],
    /// The write's version, 1 or more.
    pub version: u64,
    /// The version under which this was first written, where it is carried on under a newer one.
    pub origin: Option<u64>,
    /// The client's 32 bits.
    pub flags: u32,
    /// As [`Write::marks`].
    pub marks: u8,
    /// At most [`MAX_CONTENT_TYPE_BYTES`].
    pub content_type: &'a str,
    /// When the entry ends, in milliseconds since the Unix epoch. Between nodes, whose clocks differ, it is the
    /// milliseconds left instead.
    pub deadline_ms: Option<u64>,
    /// The value; `None` for a tombstone.
    pub value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// The entry, deadline and all.
    pub fn of(entry: &'a Entry) -> Self {
        Self {
            key: entry.key(),
            version: entry.version(),
            origin: entry.origin(),
            flags: entry.flags(),
            marks: entry.marks(),
            content_type: entry.content_type(),
            deadline_ms: entry.deadline_ms(),
            value: (!entry.is_tombstone()).then(|| entry.value()),
        }
    }

    /// The write that puts this into a store.
    pub fn write(&self) -> Write<'a> {
        Write {
            version: self.version,
            value: self.value,
            content_type: self.content_type,
            flags: self.flags,
            marks: self.marks,
            deadline_ms: self.deadline_ms,
            origin: self.origin,
        }
    }

    /// Appends the record to `out`. Parts beyond their bounds are written as they are, and [`Record::decode`] refuses
    /// them; what a store holds is within them.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.push(self.parts());
        put_bytes(out, self.key);
        out.extend_from_slice(&self.version.to_le_bytes());
        if let Some(origin) = self.origin {
            out.extend_from_slice(&origin.to_le_bytes());
        }
        if self.flags != 0 {
            out.extend_from_slice(&self.flags.to_le_bytes());
        }
        if self.marks != 0 {
            out.push(self.marks);
        }
        if !self.content_type.is_empty() {
            put_bytes(out, self.content_type.as_bytes());
        }
        if let Some(deadline_ms) = self.deadline_ms {
            put_number(out, deadline_ms);
        }
        if let Some(value) = self.value {
            put_bytes(out, value);
        }
    }

    /// Bytes that [`Record::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        let bytes_len = |bytes: &[u8]| number_len(bytes.len() as u64) + bytes.len();
        let type_len = if self.content_type.is_empty() { 0 } else { bytes_len(self.content_type.as_bytes()) };
        1 + bytes_len(self.key)
            + 8
            + self.origin.map_or(0, |_| 8)
            + if self.flags == 0 { 0 } else { 4 }
            + usize::from(self.marks != 0)
            + type_len
            + self.deadline_ms.map_or(0, number_len)
            + self.value.map_or(0, bytes_len)
    }

    /// Reads the record at the front of `input` and moves `input` past it. On an error `input` stays.
    ///
    /// # Errors
    ///
    /// Where the bytes are no record, or not a whole one.
    pub fn decode(input: &mut &'a [u8]) -> Result<Self, RecordError> {
        let mut rest = *input;
        let [parts] = array(&mut rest)?;
        if parts & !ALL_PARTS != 0 {
            return Err(RecordError::UnknownParts { parts });
        }
        let has = |part: u8| parts & part != 0;
        let record = Self {
            key: take_bytes(&mut rest, MAX_KEY_BYTES)?,
            version: u64::from_le_bytes(array(&mut rest)?),
            origin: if has(HAS_ORIGIN) { Some(u64::from_le_bytes(array(&mut rest)?)) } else { None },
            flags: if has(HAS_FLAGS) { u32::from_le_bytes(array(&mut rest)?) } else { 0 },
            marks: if has(HAS_MARKS) { u8::from_le_bytes(array(&mut rest)?) } else { 0 },
            content_type: if has(HAS_TYPE) { take_text(&mut rest)? } else { "" },
            deadline_ms: if has(HAS_DEADLINE) { Some(take_number(&mut rest)?) } else { None },
            value: if has(HAS_VALUE) { Some(take_bytes(&mut rest, usize::MAX)?) } else { None },
        };
        if record.version == 0 {
            return Err(RecordError::NoVersion);
        }
        *input = rest;
        Ok(record)
    }

    fn parts(&self) -> u8 {
        let part = |there: bool, part: u8| if there { part } else { 0 };
        part(self.value.is_some(), HAS_VALUE)
            | part(self.origin.is_some(), HAS_ORIGIN)
            | part(self.flags != 0, HAS_FLAGS)
            | part(self.marks != 0, HAS_MARKS)
            | part(!self.content_type.is_empty(), HAS_TYPE)
            | part(self.deadline_ms.is_some(), HAS_DEADLINE)
    }
}

impl fmt::Debug for Record<'_> {
    /// Shows lengths only: keys and values are the users' and have no place in a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("version", &self.version)
            .field("key_bytes", &self.key.len())
            .field("value_bytes", &self.value.map(<[u8]>::len))
            .field("deadline_ms", &self.deadline_ms)
            .finish_non_exhaustive()
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes end inside it.
    #[error("the record is cut short")]
    Cut,
    /// A part that this version of the format does not have.
    #[error("the record has parts unknown here ({parts:#010b})")]
    UnknownParts {
        /// The byte that says which parts there are.
        parts: u8,
    },
    /// A length or a deadline of more than 64 bits.
    #[error("a number in the record has more than 64 bits")]
    NumberTooLong,
    /// The key or the content type is longer than it may be.
    #[error("a key or content type of {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// What it says to take.
        bytes: u64,
        /// What it may take.
        limit: usize,
    },
    /// The content type is no text.
    #[error("the content type is not UTF-8")]
    NotText,
    /// No write has version 0.
    #[error("the record has version 0; versions start at 1")]
    NoVersion,
}

/// Appends a number of 1 to 10 bytes, 7 bits a byte, low bits first.
pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Reads what [`put_number`] wrote.
pub(crate) fn take_number(rest: &mut &[u8]) -> Result<u64, RecordError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = array(rest)?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(RecordError::NumberTooLong);
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(RecordError::NumberTooLong)
}

fn number_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8], limit: usize) -> Result<&'a [u8], RecordError> {
    let bytes = take_number(rest)?;
    if bytes > limit as u64 {
        return Err(RecordError::TooLong { bytes, limit });
    }
    rest.split_off(..bytes as usize).ok_or(RecordError::Cut)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, RecordError> {
    std::str::from_utf8(take_bytes(rest, MAX_CONTENT_TYPE_BYTES)?).map_err(|_| RecordError::NotText)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], RecordError> {
    let (array, tail) = rest.split_first_chunk().ok_or(RecordError::Cut)?;
    *rest = tail;
    Ok(*array)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record<'static> {
        Record {
            key: b"key",
            version: 1,
            origin: None,
            flags: 0,
            marks: 0,
            content_type: "",
            deadline_ms: None,
            value: None,
        }
    }

    fn decoded(record: &Record<'_>) -> Result<(), RecordError> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        assert_eq!(bytes.len(), record.encoded_len());
        Record::decode(&mut bytes.as_slice()).map(|_| ())
    }

    #[test]
    fn parts_beyond_their_bounds_are_refused() {
        assert_eq!(decoded(&record()), Ok(()));
        assert_eq!(decoded(&Record { key: &[7; 250], ..record() }), Ok(()));
        assert_eq!(
            decoded(&Record { key: &[7; 251], ..record() }),
            Err(RecordError::TooLong { bytes: 251, limit: 250 })
        );
        let long = "x".repeat(256);
        assert_eq!(decoded(&Record { content_type: &long[1..], ..record() }), Ok(()));
        assert_eq!(
            decoded(&Record { content_type: &long, ..record() }),
            Err(RecordError::TooLong { bytes: 256, limit: 255 })
        );
        assert_eq!(decoded(&Record { version: 0, ..record() }), Err(RecordError::NoVersion));
    }

    #[test]
    fn bytes_that_no_record_has_are_refused() {
        let decode = |bytes: &[u8]| Record::decode(&mut &*bytes).map(|_| ());
        assert_eq!(decode(&[ALL_PARTS + 1]), Err(RecordError::UnknownParts { parts: 64 }));
        assert_eq!(decode(&[HAS_TYPE, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff]), Err(RecordError::NotText));
        assert_eq!(decode(&[&[0][..], &[0xff; 11]].concat()), Err(RecordError::NumberTooLong));
        assert_eq!(decode(&[HAS_VALUE, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1]), Err(RecordError::Cut));
    }

    #[test]
    fn a_small_record_costs_eleven_bytes_beside_key_and_value() {
        assert_eq!(Record { value: Some(b"value"), ..record() }.encoded_len(), 11 + 3 + 5);
    }
}
