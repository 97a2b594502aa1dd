//! What becomes of an item.

use super::item::Marks;
use super::outcome::Outcome;
use super::render::{digits, put_number};

/// What becomes of an item, and what is to be answered once it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict<'v> {
    /// What to do.
    pub change: Change<'v>,
    /// What to say. After a write it still wants the new version: [`Outcome::written`].
    pub outcome: Outcome<'v>,
    /// Whether an item that stays counts as read: it becomes the most recently used, has been fetched, and was last
    /// used now.
    pub used: bool,
}

/// What becomes of an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<'v> {
    /// It stays as it is.
    Keep,
    /// It is written under a new version.
    Write(NewItem<'v>),
    /// Its time to live or its marks change, and nothing else: in memcached the CAS unique stays. A server that can not
    /// keep the version writes the value under a new one.
    Refresh {
        /// Milliseconds left to live; `None` for no expiry.
        ttl_ms: Option<u64>,
        /// The marks.
        marks: Marks,
    },
    /// It is removed; where there is none, nothing happens.
    Delete,
}

/// An item as it is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewItem<'v> {
    /// The bytes.
    pub value: NewValue<'v>,
    /// The client's flags.
    pub flags: u32,
    /// Milliseconds left to live, 1 or more; `None` for no expiry.
    pub ttl_ms: Option<u64>,
    /// The marks.
    pub marks: Marks,
    /// The version that the client asks for (flag `E`); else the server makes one.
    pub cas: Option<u64>,
    /// Whether it has been fetched already: memcached changes some items in place.
    pub fetched: bool,
}

impl<'v> NewItem<'v> {
    /// Without flags and expiry, never fetched, under a version of the server's.
    pub(super) fn new(value: &'v [u8], marks: Marks) -> Self {
        let value = NewValue::Bytes(value);
        Self { value, flags: 0, ttl_ms: None, marks, cas: None, fetched: false }
    }
}

/// The bytes of an item as it is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewValue<'v> {
    /// As they are in the store.
    Same,
    /// One piece.
    Bytes(&'v [u8]),
    /// Two pieces, one after the other.
    Joined(&'v [u8], &'v [u8]),
    /// A number, filled up with spaces to a width of so many bytes.
    Number {
        /// In decimal.
        number: u64,
        /// At least the number's own.
        width: usize,
    },
}

impl NewValue<'_> {
    /// Its length in bytes; of [`NewValue::Same`], which the server knows, 0.
    pub fn len(&self) -> usize {
        match self {
            Self::Same => 0,
            Self::Bytes(bytes) => bytes.len(),
            Self::Joined(first, second) => first.len() + second.len(),
            Self::Number { number, width } => digits(*number).max(*width),
        }
    }

    /// Whether it is of no length.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the bytes; `current` are those of [`NewValue::Same`].
    pub fn append_to(&self, current: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Same => out.extend_from_slice(current),
            Self::Bytes(bytes) => out.extend_from_slice(bytes),
            Self::Joined(first, second) => {
                out.extend_from_slice(first);
                out.extend_from_slice(second);
            }
            Self::Number { number, .. } => {
                let start = out.len();
                put_number(*number, out);
                out.resize(start + self.len(), b' ');
            }
        }
    }

    /// The bytes in one piece: those of the store or of the request where they are one, else put together in
    /// `scratch`, which is emptied first.
    pub fn in_one_piece<'s>(&'s self, current: &'s [u8], scratch: &'s mut Vec<u8>) -> &'s [u8] {
        match self {
            Self::Same => current,
            Self::Bytes(bytes) => bytes,
            _ => {
                scratch.clear();
                self.append_to(current, scratch);
                scratch
            }
        }
    }
}
