//! Reads a snapshot, block by block.

use std::io::{self, Read};

use super::{
    BLOCK_BYTES, CHECKSUM_BYTES, FORMAT, HEAD_BYTES, Kind, MAGIC, MAX_BLOCK_BYTES, SnapshotError,
    SnapshotFault, checksum,
};
use crate::api::FLOOR_BUCKETS;
use crate::record::{Record, RecordError, take_number};

/// Reads a snapshot from its start, one block in memory at a time.
///
/// Each block is checked before it is handed out, but only the end shows that the file is whole: use nothing of a
/// file that [`SnapshotReader::verify`] has not been through. After an error it is of no use.
pub struct SnapshotReader<R> {
    source: R,
    /// The payload at hand.
    block: Vec<u8>,
    checksum: u32,
    at: u64,
    node: String,
    created_ms: u64,
    entries: u64,
    blocks: u64,
    ended: bool,
}

/// What one block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Batch<'a> {
    /// Entries and tombstones. Some may have passed their deadline since.
    Records(Vec<Record<'a>>),
    /// The miss floors of some buckets in a row, within [`FLOOR_BUCKETS`].
    Floors {
        /// The first one's bucket.
        first: usize,
        /// The floors.
        floors: Vec<u64>,
    },
}

/// What a whole and sound snapshot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// The node it was taken of.
    pub node: String,
    /// When that was, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Entries and tombstones.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The floor of each bucket. Raise them after all entries are put: a floor keeps out what is not there yet.
    pub floors: Vec<u64>,
}

impl<R: Read> SnapshotReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// Where this is no snapshot, not one of this format, or a damaged one.
    pub fn open(mut source: R) -> Result<Self, SnapshotError> {
        let mut preamble = [0; MAGIC.len() + 4];
        read_exact(&mut source, &mut preamble).map_err(|fault| fault.at(0))?;
        let (magic, format) = preamble.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(SnapshotFault::NotASnapshot.at(0));
        }
        if format != FORMAT.to_le_bytes() {
            let format = format.iter().rfold(0, |format, byte| format << 8 | u32::from(*byte));
            return Err(SnapshotFault::Format { format }.at(MAGIC.len() as u64));
        }
        let mut reader = Self {
            source,
            block: Vec::new(),
            checksum: checksum(0, &preamble),
            at: preamble.len() as u64,
            node: String::new(),
            created_ms: 0,
            entries: 0,
            blocks: 0,
            ended: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// Reads the file to its end, with every check that there is.
    ///
    /// # Errors
    ///
    /// Where it is not whole and sound.
    pub fn verify(source: R) -> Result<SnapshotSummary, SnapshotError> {
        let mut reader = Self::open(source)?;
        let mut all = vec![0; FLOOR_BUCKETS];
        while let Some(batch) = reader.next_batch()? {
            if let Batch::Floors { first, floors } = batch {
                for (known, floor) in all[first..].iter_mut().zip(floors) {
                    *known = floor.max(*known);
                }
            }
        }
        Ok(SnapshotSummary {
            node: reader.node,
            created_ms: reader.created_ms,
            entries: reader.entries,
            bytes: reader.at,
            floors: all,
        })
    }

    /// The node it was taken of.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// When it was taken, in milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> u64 {
        self.created_ms
    }

    /// The next block's content; `None` at the end of a file that is whole.
    ///
    /// # Errors
    ///
    /// Where the block is damaged, or the file ends before its end.
    pub fn next_batch(&mut self) -> Result<Option<Batch<'_>>, SnapshotError> {
        if self.ended {
            return Ok(None);
        }
        let start = self.at;
        match self.read_block()? {
            Kind::Header => Err(SnapshotFault::Malformed("there is a second header").at(start)),
            Kind::Entries => {
                let records = records(&self.block, start + HEAD_BYTES as u64)?;
                self.entries += records.len() as u64;
                Ok(Some(Batch::Records(records)))
            }
            Kind::Floors => {
                let (first, floors) = floors(&self.block).map_err(|fault| fault.at(start))?;
                Ok(Some(Batch::Floors { first, floors }))
            }
            Kind::End => self.read_end().map(|()| None).map_err(|fault| fault.at(start)),
        }
    }

    fn read_header(&mut self) -> Result<(), SnapshotError> {
        let start = self.at;
        let malformed = || SnapshotFault::Malformed("it has no header").at(start);
        if self.read_block()? != Kind::Header {
            return Err(malformed());
        }
        let (created_ms, node) = self.block.split_first_chunk().ok_or_else(malformed)?;
        self.created_ms = u64::from_le_bytes(*created_ms);
        std::str::from_utf8(node).map_err(|_| malformed())?.clone_into(&mut self.node);
        Ok(())
    }

    fn read_end(&mut self) -> Result<(), SnapshotFault> {
        // This block is counted by now.
        let (entries, blocks) = (self.entries.to_le_bytes(), (self.blocks - 1).to_le_bytes());
        if self.block != [entries, blocks].concat() {
            return Err(SnapshotFault::Malformed("it holds other entries than its end says"));
        }
        let mut more = Vec::new();
        match (&mut self.source).take(1).read_to_end(&mut more) {
            Ok(0) => self.ended = true,
            Ok(_) => return Err(SnapshotFault::Malformed("there is something after its end")),
            Err(error) => return Err(SnapshotFault::Read(error)),
        }
        Ok(())
    }

    /// Fills `block` with a payload that is as it was written.
    fn read_block(&mut self) -> Result<Kind, SnapshotError> {
        let start = self.at;
        let mut head = [0; HEAD_BYTES];
        read_exact(&mut self.source, &mut head).map_err(|fault| fault.at(start))?;
        let (said, of_head) = head.split_at(HEAD_BYTES - CHECKSUM_BYTES);
        let checksum_of_head = checksum(self.checksum, said);
        if of_head != checksum_of_head.to_le_bytes() {
            return Err(SnapshotFault::Checksum.at(start));
        }
        let len = u32::from_le_bytes([said[0], said[1], said[2], said[3]]) as usize;
        if len > MAX_BLOCK_BYTES {
            return Err(SnapshotFault::Malformed("a block is larger than any may be").at(start));
        }
        let kind = Kind::of(said[4])
            .ok_or_else(|| SnapshotFault::Malformed("a block is of an unknown kind").at(start))?;
        self.read_payload(len, checksum_of_head).map_err(|fault| fault.at(start))?;
        self.at += (HEAD_BYTES + len + CHECKSUM_BYTES) as u64;
        self.blocks += 1;
        Ok(kind)
    }

    fn read_payload(&mut self, len: usize, checksum_of_head: u32) -> Result<(), SnapshotFault> {
        let wanted = len + CHECKSUM_BYTES;
        self.block.clear();
        // A large record's memory goes back; and a length takes no more of it than the file has bytes, within twice.
        self.block.shrink_to(BLOCK_BYTES + CHECKSUM_BYTES);
        self.block.reserve(wanted.min(BLOCK_BYTES + CHECKSUM_BYTES));
        let got = (&mut self.source)
            .take(wanted as u64)
            .read_to_end(&mut self.block)
            .map_err(SnapshotFault::Read)?;
        if got < wanted {
            return Err(SnapshotFault::Cut);
        }
        self.checksum = checksum(checksum_of_head, &self.block[..len]);
        if self.block[len..] != self.checksum.to_le_bytes() {
            return Err(SnapshotFault::Checksum);
        }
        self.block.truncate(len);
        Ok(())
    }
}

fn records(payload: &[u8], start: u64) -> Result<Vec<Record<'_>>, SnapshotError> {
    let mut records = Vec::new();
    let mut rest = payload;
    while !rest.is_empty() {
        let at = start + (payload.len() - rest.len()) as u64;
        records.push(Record::decode(&mut rest).map_err(|error| SnapshotFault::from(error).at(at))?);
        // Or many tiny records would take several times the memory of their block.
        if payload.len() > BLOCK_BYTES && !rest.is_empty() {
            return Err(SnapshotFault::Malformed("a large block has more than one record").at(at));
        }
    }
    Ok(records)
}

fn floors(mut payload: &[u8]) -> Result<(usize, Vec<u64>), SnapshotFault> {
    let malformed = |_: RecordError| SnapshotFault::Malformed("a floor is no number");
    let first = take_number(&mut payload).map_err(malformed)?;
    let mut floors = Vec::new();
    while !payload.is_empty() {
        if first.saturating_add(floors.len() as u64) >= FLOOR_BUCKETS as u64 {
            return Err(SnapshotFault::Malformed("it has more floors than there are"));
        }
        floors.push(take_number(&mut payload).map_err(malformed)?);
    }
    // Without floors the first bucket is of no matter, and must yet be one.
    Ok(((first as usize).min(FLOOR_BUCKETS), floors))
}

fn read_exact(source: &mut impl Read, bytes: &mut [u8]) -> Result<(), SnapshotFault> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotFault::Cut,
        _ => SnapshotFault::Read(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::SnapshotWriter;

    /// A file whose checksums match, and whose next block says to be so long and is not there.
    fn claiming(len: u32) -> Vec<u8> {
        let (mut bytes, _) =
            SnapshotWriter::new(Vec::new(), "a", 1).and_then(SnapshotWriter::finish).unwrap();
        bytes.truncate(bytes.len() - (HEAD_BYTES + 16 + CHECKSUM_BYTES));
        let before = SnapshotReader::open(bytes.as_slice()).unwrap().checksum;
        let said = [&len.to_le_bytes()[..], &[Kind::Entries as u8]].concat();
        bytes.extend_from_slice(&said);
        bytes.extend_from_slice(&checksum(before, &said).to_le_bytes());
        bytes.extend_from_slice(&[7; 100]);
        bytes
    }

    #[test]
    fn a_length_alone_takes_no_memory() {
        let bytes = claiming(MAX_BLOCK_BYTES as u32);
        let mut reader = SnapshotReader::open(bytes.as_slice()).unwrap();
        assert!(matches!(reader.next_batch().unwrap_err().fault, SnapshotFault::Cut));
        assert!(reader.block.capacity() <= 2 * BLOCK_BYTES, "{}", reader.block.capacity());
    }

    #[test]
    fn a_block_beyond_the_bound_is_refused_by_its_length() {
        let error = SnapshotReader::verify(claiming(MAX_BLOCK_BYTES as u32 + 1).as_slice()).unwrap_err();
        assert!(matches!(error.fault, SnapshotFault::Malformed(_)), "{error}");
    }
}
