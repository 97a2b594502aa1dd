//! What a server holds under a key, as this module sees it.

use std::ops::{BitAnd, BitOr};

/// Marks of an item: one byte that a server keeps with it, like the flags, and gives back as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(pub u8);

impl Marks {
    /// None.
    pub const NONE: Self = Self(0);
    /// The item was invalidated and may be shown until it is replaced (answered as `X`).
    pub const STALE: Self = Self(1);
    /// One client has been told to replace the item (answered as `W`), the others hear that (`Z`).
    pub const WON: Self = Self(1 << 1);
    /// The item was written under a base64 key, so answers show its key in base64.
    pub const BINARY_KEY: Self = Self(1 << 2);
    /// The item's unique is not the version of its last write: a client chose it (`E`), or it stayed through a `touch`.
    pub const OWN_CAS: Self = Self(1 << 3);

    /// These for an item whose unique is `cas`, or, without one, the version of the write that makes it.
    pub fn with_cas(self, cas: Option<u64>) -> Self {
        if cas.is_some() { self | Self::OWN_CAS } else { self.without(Self::OWN_CAS) }
    }

    /// The unique of an item of this version, beside which `origin` is kept.
    pub fn cas(self, version: u64, origin: Option<u64>) -> u64 {
        origin.filter(|_| self.has(Self::OWN_CAS)).unwrap_or(version)
    }

    /// Whether all of `marks` are set.
    pub fn has(self, marks: Self) -> bool {
        self.0 & marks.0 == marks.0
    }

    /// These without `marks`.
    pub fn without(self, marks: Self) -> Self {
        Self(self.0 & !marks.0)
    }
}

impl BitOr for Marks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Marks {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// A live item. An expired one is none: the server passes `None` for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Item<'v> {
    /// The bytes.
    pub value: &'v [u8],
    /// The client's flags.
    pub flags: u32,
    /// The CAS unique: the entry's version.
    pub cas: u64,
    /// Milliseconds left to live; `None` for an item that does not expire.
    pub ttl_ms: Option<u64>,
    /// As they were last written.
    pub marks: Marks,
    /// Whether it has been read since it was written. A server that does not know says `false`.
    pub fetched: bool,
    /// Seconds since it was last read or written. A server that does not know says 0.
    pub idle_s: u32,
    /// Bytes of memory that it takes, for `me`. A server that does not know says 0.
    pub memory_bytes: usize,
}
