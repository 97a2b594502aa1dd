//! How an answer is to look.

use super::meta::MetaFlags;
use super::update::Direction;

/// Flags of a meta command at most.
pub(super) const MAX_FLAGS: usize = 18;
/// The longest opaque, its `O` included.
pub(super) const MAX_OPAQUE_BYTES: usize = 32;

/// How the answer to a request is to look: its kind, what it is to show and in which order, whether it is to be given
/// at all. Small, and borrows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    pub(super) form: Form,
    pub(super) tally: Tally,
    /// `noreply`, or flag `q`.
    pub(super) quiet: bool,
    /// The meta command's key came in base64.
    pub(super) binary: bool,
    /// Length of the value of a store, for flag `s`.
    pub(super) value_bytes: u32,
    /// The value is not shown of an item with this CAS unique, since the client has it (`mg` with `C`).
    pub(super) unless_cas: Option<u64>,
    pub(super) letters: Inline<MAX_FLAGS>,
    pub(super) opaque: Inline<MAX_OPAQUE_BYTES>,
}

/// The kinds of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `VALUE` lines and `END`.
    Get {
        cas: bool,
    },
    /// `STORED`.
    Store,
    /// `DELETED`.
    Delete,
    /// A number.
    Delta,
    /// `TOUCHED`.
    Touch,
    /// `OK`.
    Done,
    MetaGet {
        value: bool,
    },
    MetaSet,
    MetaDelete,
    MetaDelta {
        value: bool,
    },
    MetaDebug,
    /// `MN`.
    MetaNoop,
    /// Whatever the server says: `stats`, `version`.
    Other,
}

/// As what a request is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tally {
    Get,
    Touch,
    Store,
    Swap,
    Delete,
    Up,
    Down,
    Flush,
    Debug,
    Nothing,
}

impl Tally {
    pub(super) fn of_delta(direction: Direction) -> Self {
        match direction {
            Direction::Up => Self::Up,
            Direction::Down => Self::Down,
        }
    }
}

/// A few bytes in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inline<const N: usize> {
    bytes: [u8; N],
    len: u8,
}

impl<const N: usize> Inline<N> {
    pub(super) const EMPTY: Self = Self { bytes: [0; N], len: 0 };

    /// Appends one byte, if there is room.
    pub(super) fn push_byte(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(usize::from(self.len)) {
            *place = byte;
            self.len += 1;
        }
    }

    /// Appends as much as there is room for.
    pub(super) fn push(&mut self, more: &[u8]) {
        let at = usize::from(self.len);
        let take = more.len().min(N - at);
        self.bytes[at..at + take].copy_from_slice(&more[..take]);
        self.len += take as u8;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Wants {
    pub(super) fn text(form: Form, tally: Tally, quiet: bool) -> Self {
        let (letters, opaque) = (Inline::EMPTY, Inline::EMPTY);
        Self { form, tally, quiet, binary: false, value_bytes: 0, unless_cas: None, letters, opaque }
    }

    pub(super) fn meta(form: Form, tally: Tally, flags: &MetaFlags) -> Self {
        let (quiet, binary) = (flags.has(b'q'), flags.has(b'b'));
        let (letters, opaque) = (flags.letters, flags.opaque);
        Self { form, tally, quiet, binary, value_bytes: 0, unless_cas: None, letters, opaque }
    }

    /// Whether the answer shows how an item was used before.
    pub fn shows_use(&self) -> bool {
        self.form == Form::MetaDebug
            || self.letters.as_slice().iter().any(|letter| matches!(letter, b'h' | b'l'))
    }

    /// Whether each hit shows the item's value.
    pub fn shows_value(&self) -> bool {
        matches!(self.form, Form::Get { .. } | Form::MetaGet { value: true })
    }

    /// Whether nothing is answered when all goes as usual (`noreply`, flag `q`).
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }
}
