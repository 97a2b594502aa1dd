//! Writes a snapshot, block by block.

use std::io::{self, Write};

use super::{BLOCK_BYTES, CHECKSUM_BYTES, FORMAT, HEAD_BYTES, Kind, MAGIC, MAX_BLOCK_BYTES, checksum};
use crate::api::FLOOR_BUCKETS;
use crate::record::{Record, put_number};

/// Writes a snapshot to a sink, one block at a time; a block is all it holds. After an error it is of no use.
///
/// The order is free, but a floor must be read from the store after the entries of its bucket: what is forgotten
/// meanwhile is then in one of the two.
pub struct SnapshotWriter<W> {
    sink: W,
    /// Room for the head, then the payload.
    block: Vec<u8>,
    checksum: u32,
    totals: SnapshotTotals,
}

/// What a snapshot holds and takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTotals {
    /// Entries and tombstones.
    pub entries: u64,
    /// Blocks written.
    pub blocks: u64,
    /// Bytes written.
    pub bytes: u64,
}

impl<W: Write> SnapshotWriter<W> {
    /// Starts the snapshot of the node named `node`, as of `created_ms`.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub fn new(mut sink: W, node: &str, created_ms: u64) -> io::Result<Self> {
        let preamble = [&MAGIC[..], &FORMAT.to_le_bytes()].concat();
        sink.write_all(&preamble)?;
        let totals = SnapshotTotals { bytes: preamble.len() as u64, ..SnapshotTotals::default() };
        let block = vec![0; HEAD_BYTES];
        let mut writer = Self { sink, block, checksum: checksum(0, &preamble), totals };
        writer.block.extend_from_slice(&created_ms.to_le_bytes());
        writer.block.extend_from_slice(node.as_bytes());
        writer.write_block(Kind::Header)?;
        Ok(writer)
    }

    /// Adds an entry or a tombstone.
    ///
    /// # Errors
    ///
    /// The sink's; `InvalidInput` for a record beyond 1 GiB.
    pub fn push(&mut self, record: &Record<'_>) -> io::Result<()> {
        if self.block.len() + record.encoded_len() > HEAD_BYTES + BLOCK_BYTES {
            self.write_entries()?;
        }
        record.encode(&mut self.block);
        self.totals.entries += 1;
        if self.block.len() >= HEAD_BYTES + BLOCK_BYTES {
            self.write_entries()?;
        }
        Ok(())
    }

    /// Adds the floors of the buckets from `first` on, as [`Store::floors`](crate::Store::floors) gives them.
    ///
    /// # Errors
    ///
    /// The sink's; `InvalidInput` for buckets that there are not.
    pub fn floors(&mut self, first: usize, floors: &[u64]) -> io::Result<()> {
        if first.saturating_add(floors.len()) > FLOOR_BUCKETS {
            let text = format!("floors past bucket {FLOOR_BUCKETS}, the last");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        self.write_entries()?;
        put_number(&mut self.block, first as u64);
        for floor in floors {
            put_number(&mut self.block, *floor);
        }
        self.write_block(Kind::Floors)
    }

    /// What is written so far; entries count as soon as they are pushed.
    pub fn totals(&self) -> SnapshotTotals {
        self.totals
    }

    /// Writes the end, without which the file is no snapshot, and gives the sink back.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub fn finish(mut self) -> io::Result<(W, SnapshotTotals)> {
        self.write_entries()?;
        self.block.extend_from_slice(&self.totals.entries.to_le_bytes());
        self.block.extend_from_slice(&self.totals.blocks.to_le_bytes());
        self.write_block(Kind::End)?;
        self.sink.flush()?;
        Ok((self.sink, self.totals))
    }

    fn write_entries(&mut self) -> io::Result<()> {
        if self.block.len() > HEAD_BYTES { self.write_block(Kind::Entries) } else { Ok(()) }
    }

    fn write_block(&mut self, kind: Kind) -> io::Result<()> {
        let len = self.block.len() - HEAD_BYTES;
        if len > MAX_BLOCK_BYTES {
            let text = format!("a record of {len} bytes, the limit is {MAX_BLOCK_BYTES}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (head, payload) = self.block.split_at_mut(HEAD_BYTES);
        head[..4].copy_from_slice(&(len as u32).to_le_bytes());
        head[4] = kind as u8;
        let of_head = checksum(self.checksum, &head[..HEAD_BYTES - CHECKSUM_BYTES]);
        head[HEAD_BYTES - CHECKSUM_BYTES..].copy_from_slice(&of_head.to_le_bytes());
        self.checksum = checksum(of_head, payload);
        self.block.extend_from_slice(&self.checksum.to_le_bytes());
        self.sink.write_all(&self.block)?;
        self.totals.blocks += 1;
        self.totals.bytes += self.block.len() as u64;
        self.block.truncate(HEAD_BYTES);
        // A large record's memory goes back at once.
        self.block.shrink_to(HEAD_BYTES + BLOCK_BYTES + CHECKSUM_BYTES);
        Ok(())
    }
}
