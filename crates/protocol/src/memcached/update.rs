//! What a request asks of one item.

use super::expiry::Exptime;
use super::item::Marks;
use super::outcome::Outcome;
use super::request::Store;

/// A read of one key, and what is to become of the item.
#[derive(Debug, Clone, Copy)]
pub enum Update<'a> {
    /// Stores a value, under a condition or none.
    Store(Store<'a>),
    /// `append`, `prepend`: joins a value to the item's.
    Join(Join<'a>),
    /// `incr`, `decr`, `ma`.
    Delta(Delta),
    /// `touch`, `gat`: sets the time to live; `shows` tells whether the item is shown.
    Touch {
        /// The new expiry.
        exptime: Exptime,
        /// Whether the item is shown.
        shows: bool,
    },
    /// `mg`.
    Get {
        /// Makes an empty item on a miss (`N`).
        vivify: Option<Vivify>,
        /// Lets one client replace an item with less than this left to live (`R`).
        recache: Option<Exptime>,
        /// The new expiry (`T`).
        touch: Option<Exptime>,
        /// Whether `T` stands before `R`, which then sees the new expiry.
        touches_first: bool,
        /// Whether the item counts as used: not with `u`.
        bump: bool,
        /// The CAS unique that an item that is made shall have.
        new_cas: Option<u64>,
    },
    /// `delete`, `md`.
    Delete(Invalidate),
    /// Only shows the item, which counts as used.
    Show,
    /// Only shows the item, and does not count as a use of it.
    Peek,
}

/// An item made where there was none.
#[derive(Debug, Clone, Copy)]
pub struct Vivify {
    /// When it expires.
    pub exptime: Exptime,
    /// Its marks.
    pub marks: Marks,
}

/// The side of the item's value to which a value is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Prepend.
    Before,
    /// Append.
    After,
}

/// An append or prepend.
#[derive(Debug, Clone, Copy)]
pub struct Join<'a> {
    /// Where.
    pub side: Side,
    /// What.
    pub value: &'a [u8],
    /// The CAS unique that the item must have.
    pub cas: Option<u64>,
    /// The client flags and the rest of the item that is made on a miss.
    pub vivify: Option<(u32, Vivify)>,
    /// The CAS unique that the item shall have.
    pub new_cas: Option<u64>,
}

/// Which way to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Modulo 2^64.
    Up,
    /// Down to 0 and no further.
    Down,
}

/// A change of a number.
#[derive(Debug, Clone, Copy)]
pub struct Delta {
    /// Which way.
    pub direction: Direction,
    /// By how much.
    pub by: u64,
    /// The CAS unique that the item must have.
    pub cas: Option<u64>,
    /// The first number and the rest of the item that is made on a miss.
    pub vivify: Option<(u64, Vivify)>,
    /// The new expiry.
    pub touch: Option<Exptime>,
    /// The CAS unique that the item shall have.
    pub new_cas: Option<u64>,
}

/// A delete, or what `md` does in place of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Invalidate {
    /// The CAS unique that the item must have.
    pub cas: Option<u64>,
    /// Marks the item stale and keeps it (`I`).
    pub stale: bool,
    /// Empties the item and keeps it (`x`), with these client flags.
    pub remove_value: Option<u32>,
    /// The new expiry of an item that is kept (`T`).
    pub touch: Option<Exptime>,
    /// The CAS unique that an item that is kept shall have.
    pub new_cas: Option<u64>,
}

impl Update<'_> {
    /// Removes the item, whatever it is.
    pub const DELETE: Self =
        Self::Delete(Invalidate { cas: None, stale: false, remove_value: None, touch: None, new_cas: None });

    /// What to answer where the store finds the new value too large.
    pub fn too_large(&self) -> Outcome<'static> {
        match self {
            // As memcached says where it finds no room for the joined value.
            Self::Join(_) => Outcome::NotStored,
            _ => Outcome::TooLarge,
        }
    }
}
