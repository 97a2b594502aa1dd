//! Memory for large data, straight from the system.

use std::ops::Deref;
use std::thread;

use bytes::Bytes;
use memmap2::MmapMut;

/// What is larger gets a mapping of its own.
const MAPPED_BYTES: usize = 256 << 10;

/// Room for bytes that are put in one after the other. An allocator keeps what is freed for a while, so that a process that swaps
/// large data for large data would hold three or four of them; a mapping is the system's again as soon as nobody holds a piece
/// of it, and takes no memory where nothing was put in.
#[derive(Debug)]
pub struct Room(Kind);

#[derive(Debug)]
enum Kind {
    Heap(Vec<u8>),
    Mapped { map: MmapMut, length: usize },
}

impl Room {
    /// Room for so many bytes. More can be put in, and are then copied now and then.
    pub fn new(bytes: usize) -> Self {
        let mapped = (bytes > MAPPED_BYTES).then(|| MmapMut::map_anon(bytes).ok()).flatten();
        Self(
            mapped
                .map_or_else(|| Kind::Heap(Vec::with_capacity(bytes)), |map| Kind::Mapped { map, length: 0 }),
        )
    }

    /// Puts bytes behind those that are there.
    pub fn put(&mut self, bytes: &[u8]) {
        if let Kind::Mapped { map, length } = &mut self.0 {
            let end = *length + bytes.len();
            if let Some(free) = map.get_mut(*length..end) {
                free.copy_from_slice(bytes);
                *length = end;
                return;
            }
            self.0 = Kind::Heap(map[..*length].to_vec());
        }
        if let Kind::Heap(heap) = &mut self.0 {
            heap.extend_from_slice(bytes);
        }
    }

    /// What was put in, for good.
    pub fn freeze(self) -> Bytes {
        match self.0 {
            Kind::Heap(heap) => heap.into(),
            // Room for much, and little came: a body that did not say how long it is.
            Kind::Mapped { map, length } if length <= MAPPED_BYTES => Bytes::copy_from_slice(&map[..length]),
            Kind::Mapped { map, length } => Bytes::from_owner(Mapping(Some(map))).slice(..length),
        }
    }
}

/// A mapping that is given back by a thread of its own: the system takes a millisecond for some megabytes, which no reader that
/// happens to be the last should spend.
struct Mapping(Option<MmapMut>);

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let map = self.0.take();
        // Where there can be no thread, the mapping is given back here.
        drop(thread::Builder::new().name("unmap".to_owned()).spawn(move || drop(map)));
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Heap(heap) => heap,
            Kind::Mapped { map, length } => &map[..*length],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_whether_it_fits_or_not() {
        for (room, pieces) in
            [(0, 3), (10, 3), (MAPPED_BYTES + 1, 1), (MAPPED_BYTES + 1, 3), (3 * MAPPED_BYTES, 3)]
        {
            let mut filled = Room::new(room);
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let bytes = vec![piece; MAPPED_BYTES];
                filled.put(&bytes);
                expected.extend(bytes);
            }
            assert!(filled[..] == expected, "room for {room}, {pieces} pieces");
            assert!(filled.freeze() == expected, "room for {room}, {pieces} pieces");
        }
        assert!(Room::new(1 << 20).freeze().is_empty());
    }
}
