//! The snapshot of a store: its entries and tombstones, then its miss floors, as one file.
//!
//! | part | bytes |
//! | --- | --- |
//! | preamble | `ANNULUS\0`, format version (4) |
//! | block, many times | length of the payload (4), kind (1), checksum of these two (4), payload, checksum (4) |
//!
//! | kind of block | payload |
//! | --- | --- |
//! | 1 header, the first | when it was taken, in milliseconds (8), then the node's name |
//! | 2 entries | [`Record`](crate::Record)s one after the other: 64 KiB of them at most, or a single larger one |
//! | 3 floors | number of the first bucket, then the floor of each, all variable-length |
//! | 4 end, the last | how many entries there are (8), and how many blocks before this one (8) |
//!
//! Numbers are little-endian. The checksums are CRC-32 (IEEE), each going on from the one before it, so no block can
//! be changed, left out, moved, doubled or taken from another file unseen. The head of a block has one of its own so
//! that a damaged length asks for no memory.

mod reader;
mod writer;

use std::io;

pub use reader::{Batch, SnapshotReader, SnapshotSummary};
pub use writer::{SnapshotTotals, SnapshotWriter};

use crate::record::RecordError;

const MAGIC: &[u8; 8] = b"ANNULUS\0";

/// Raised with each change that an older program cannot read.
const FORMAT: u32 = 1;

/// Length and kind of a block, and their checksum.
const HEAD_BYTES: usize = 4 + 1 + CHECKSUM_BYTES;

const CHECKSUM_BYTES: usize = 4;

/// What a block of many records may hold.
const BLOCK_BYTES: usize = 64 << 10;

/// What any block may hold: the largest value that can be configured, 1 GiB, and what comes with it.
const MAX_BLOCK_BYTES: usize = (1 << 30) + BLOCK_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Header = 1,
    Entries = 2,
    Floors = 3,
    End = 4,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Header, Self::Entries, Self::Floors, Self::End].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The checksum of `bytes`, going on from `before`.
fn checksum(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

/// What is wrong with a snapshot, and where.
#[derive(Debug, thiserror::Error)]
#[error("at byte {at}: {fault}")]
pub struct SnapshotError {
    /// Where the block or record in question starts, in bytes from the start of the file.
    pub at: u64,
    /// What is wrong there.
    pub fault: SnapshotFault,
}

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFault {
    /// It does not start as a snapshot does.
    #[error("this is not a snapshot; check that the file is one of the node's own")]
    NotASnapshot,
    /// Of a format that this program does not know.
    #[error(
        "the snapshot has format {format} and only {FORMAT} is read here; load it with the program that wrote it"
    )]
    Format {
        /// What it says of itself.
        format: u32,
    },
    /// It ends early.
    #[error("the snapshot is cut short; use an older one")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("the snapshot is damaged, a checksum does not match; use an older one")]
    Checksum,
    /// The checksums match and yet the block is none that this program writes.
    #[error("the snapshot is malformed, {0}; use an older one")]
    Malformed(&'static str),
    /// The same of a record.
    #[error("the snapshot is malformed, {0}; use an older one")]
    Record(#[from] RecordError),
    /// It could not be read, which says nothing of its content.
    #[error("the snapshot cannot be read: {0}; check the disk and the file's permissions")]
    Read(io::Error),
}

impl SnapshotFault {
    fn at(self, at: u64) -> SnapshotError {
        SnapshotError { at, fault: self }
    }
}
