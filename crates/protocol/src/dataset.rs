//! A dataset as replicas hand it around: the body as the upstream sent it, and where in it each item stands.
//!
//! All of it is one run of bytes, so that one revision is one allocation and items are slices of it:
//!
//! ```text
//! body | places: per item, in order of names | names | removed names | content type | footer
//! ```
//!
//! A place is the end of the name, and the start and length of the value in the body, each 32 bits, little endian. The footer
//! has the lengths of all parts.

use bytes::{Bytes, BytesMut};

/// The largest body: places have 32 bits.
pub const MAX_BODY_BYTES: usize = 1 << 30;

const MAGIC: [u8; 4] = *b"ads1";
const PLACE_BYTES: usize = 12;
const FOOTER_BYTES: usize = 6 * 4 + MAGIC.len();

/// One revision of a dataset. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    bytes: Bytes,
    parts: Parts,
}

/// Where the parts end, and how many items there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    body: usize,
    items: usize,
    names: usize,
    removed: usize,
    content_type: usize,
    is_split: bool,
}

/// An item: its name, and where in the body its value stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// 1 byte or more.
    pub name: Box<str>,
    /// The first byte of its value.
    pub start: u32,
    /// The length of its value.
    pub length: u32,
}

/// Why bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data is no dataset of this version: {0}")]
pub struct SnapshotError(&'static str);

impl Snapshot {
    /// A body that is one entry, whole.
    ///
    /// # Panics
    /// Where the body is larger than [`MAX_BODY_BYTES`].
    pub fn whole(body: Vec<u8>, content_type: &str) -> Self {
        Self::build(body, content_type, None, &[])
    }

    /// A body of items, which need be in no order and must have distinct names and values inside the body. `removed` names
    /// those whose entries are to be deleted.
    ///
    /// # Panics
    /// Where the body is larger than [`MAX_BODY_BYTES`].
    pub fn split(body: Vec<u8>, content_type: &str, mut items: Vec<Item>, removed: &[&str]) -> Self {
        items.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        Self::build(body, content_type, Some(&items), removed)
    }

    fn build(mut bytes: Vec<u8>, content_type: &str, items: Option<&[Item]>, removed: &[&str]) -> Self {
        assert!(bytes.len() <= MAX_BODY_BYTES, "a body of {} bytes", bytes.len());
        let body = bytes.len();
        let is_split = items.is_some();
        let items = items.unwrap_or_default();
        let names: usize = items.iter().map(|item| item.name.len()).sum();
        let gone: usize = removed.iter().map(|name| name.len() + 4).sum();
        bytes.reserve_exact(items.len() * PLACE_BYTES + names + gone + content_type.len() + FOOTER_BYTES);
        let put = |number: usize, bytes: &mut Vec<u8>| bytes.extend((number as u32).to_le_bytes());
        let mut name_end = 0;
        for item in items {
            name_end += item.name.len();
            put(name_end, &mut bytes);
            put(item.start as usize, &mut bytes);
            put(item.length as usize, &mut bytes);
        }
        for item in items {
            bytes.extend(item.name.as_bytes());
        }
        for name in removed {
            put(name.len(), &mut bytes);
            bytes.extend(name.as_bytes());
        }
        bytes.extend(content_type.as_bytes());
        for part in [body, items.len(), names, gone, content_type.len(), usize::from(is_split)] {
            put(part, &mut bytes);
        }
        bytes.extend(MAGIC);
        let parts = Parts {
            body,
            items: items.len(),
            names,
            removed: gone,
            content_type: content_type.len(),
            is_split,
        };
        Self { bytes: bytes.into(), parts }
    }

    /// Reads a snapshot that anybody may have written. No byte is copied.
    ///
    /// # Errors
    /// Where anything in it points outside, or is not text where text must be.
    pub fn parse(bytes: Bytes) -> Result<Self, SnapshotError> {
        let footer = bytes.len().checked_sub(FOOTER_BYTES).ok_or(SnapshotError("it is too short"))?;
        let (numbers, magic) = bytes[footer..].split_at(FOOTER_BYTES - MAGIC.len());
        if magic != MAGIC {
            return Err(SnapshotError("it does not end as one does"));
        }
        let number = |at: usize| read_u32(numbers, at * 4);
        let parts = Parts {
            body: number(0),
            items: number(1),
            names: number(2),
            removed: number(3),
            content_type: number(4),
            is_split: number(5) == 1,
        };
        let whole = [parts.body, parts.names, parts.removed, parts.content_type];
        let length = whole.iter().sum::<usize>() + parts.items * PLACE_BYTES;
        if length != footer || parts.body > MAX_BODY_BYTES || (parts.items > 0 && !parts.is_split) {
            return Err(SnapshotError("its parts have other lengths than it says"));
        }
        let snapshot = Self { bytes, parts };
        snapshot.check()?;
        Ok(snapshot)
    }

    /// All bytes, to be handed on.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes to be written over, where nobody else holds any of them.
    ///
    /// # Errors
    /// The snapshot as it was, where somebody does.
    pub fn try_into_mut(self) -> Result<BytesMut, Self> {
        let Self { bytes, parts } = self;
        bytes.try_into_mut().map_err(|bytes| Self { bytes, parts })
    }

    /// The body as the upstream sent it.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(..self.parts.body)
    }

    /// What the body is.
    pub fn content_type(&self) -> &str {
        let end = self.bytes.len() - FOOTER_BYTES;
        std::str::from_utf8(&self.bytes[end - self.parts.content_type..end]).unwrap_or_default()
    }

    /// Whether it has items, if only none at the moment.
    pub fn is_split(&self) -> bool {
        self.parts.is_split
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.parts.items
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.parts.items == 0
    }

    /// The value of an item: a piece of the body.
    pub fn get(&self, name: &str) -> Option<Bytes> {
        let (mut low, mut high) = (0, self.parts.items);
        while low < high {
            let middle = low.midpoint(high);
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(self.value(middle)),
            }
        }
        None
    }

    /// Names and values, in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Bytes)> {
        (0..self.parts.items).map(|at| (self.name(at), self.value(at)))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.parts.items).map(|at| self.name(at))
    }

    /// The names of the items whose entries are to be deleted.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        let start = self.parts.body + self.parts.items * PLACE_BYTES + self.parts.names;
        let mut rest = &self.bytes[start..start + self.parts.removed];
        std::iter::from_fn(move || {
            let length = if rest.len() < 4 { return None } else { read_u32(rest, 0) };
            let (name, more) = rest[4..].split_at_checked(length)?;
            rest = more;
            std::str::from_utf8(name).ok()
        })
    }

    fn place(&self, at: usize) -> [usize; 3] {
        let start = self.parts.body + at * PLACE_BYTES;
        [0, 4, 8].map(|offset| read_u32(&self.bytes, start + offset))
    }

    fn name(&self, at: usize) -> &str {
        let names = self.parts.body + self.parts.items * PLACE_BYTES;
        let start = if at == 0 { 0 } else { self.place(at - 1)[0] };
        let bytes = self.bytes.get(names + start..names + self.place(at)[0]);
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }

    fn value(&self, at: usize) -> Bytes {
        let [_, start, length] = self.place(at);
        self.bytes.slice(start..start + length)
    }

    fn check(&self) -> Result<(), SnapshotError> {
        let Parts { body, items, names, removed, content_type, .. } = self.parts;
        let mut last: Option<(usize, &str)> = None;
        for at in 0..items {
            let [name_end, start, length] = self.place(at);
            let name_start = last.map_or(0, |(end, _)| end);
            if name_end <= name_start || name_end > names || start + length > body {
                return Err(SnapshotError("an item of it is outside"));
            }
            let first = body + items * PLACE_BYTES;
            let name = std::str::from_utf8(&self.bytes[first + name_start..first + name_end]);
            let name = name.map_err(|_| SnapshotError("a name in it is no text"))?;
            if last.is_some_and(|(_, before)| before >= name) {
                return Err(SnapshotError("its items are not in order"));
            }
            last = Some((name_end, name));
        }
        let named: usize = self.removed().map(|name| name.len() + 4).sum();
        let end = self.bytes.len() - FOOTER_BYTES;
        let is_text = std::str::from_utf8(&self.bytes[end - content_type..end]).is_ok();
        if named != removed || last.map_or(0, |(end, _)| end) != names || !is_text {
            return Err(SnapshotError("its names do not fill their part"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("bytes", &self.bytes.len())
            .field("items", &self.parts.items)
            .finish()
    }
}

/// The number at `at`, which is inside.
fn read_u32(bytes: &[u8], at: usize) -> usize {
    let number = bytes[at..at + 4].try_into().unwrap_or([0; 4]);
    u32::from_le_bytes(number) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(name: &str, start: u32, length: u32) -> Item {
        Item { name: name.into(), start, length }
    }

    fn rates() -> Snapshot {
        let body = br#"{"USD":1.08,"CHF":0.96,"\u00e9":3}"#.to_vec();
        let items = vec![item("USD", 7, 4), item("CHF", 18, 4), item("é", 32, 1)];
        Snapshot::split(body, "application/json", items, &["DEM", "ITL"])
    }

    fn text(value: Option<Bytes>) -> String {
        String::from_utf8(value.unwrap().to_vec()).unwrap()
    }

    #[test]
    fn items_are_found_by_name_and_are_pieces_of_the_body() {
        let rates = rates();
        let read = Snapshot::parse(rates.bytes().clone()).unwrap();
        assert_eq!(read, rates);
        assert_eq!(["CHF", "USD", "é"].map(|name| text(read.get(name))), ["0.96", "1.08", "3"]);
        assert_eq!(read.get("EUR"), None);
        assert_eq!(read.names().collect::<Vec<_>>(), ["CHF", "USD", "é"]);
        assert_eq!(read.removed().collect::<Vec<_>>(), ["DEM", "ITL"]);
        assert_eq!((read.len(), read.content_type()), (3, "application/json"));
        assert!(read.body().ends_with(b":3}"));
    }

    #[test]
    fn a_whole_body_has_no_items_and_an_empty_list_is_still_a_list() {
        let whole = Snapshot::whole(b"<html>".to_vec(), "text/html");
        let read = Snapshot::parse(whole.bytes().clone()).unwrap();
        assert_eq!(
            (&read.body()[..], read.content_type(), read.is_split()),
            (&b"<html>"[..], "text/html", false)
        );
        let empty = Snapshot::split(b"[]".to_vec(), "application/json", Vec::new(), &["a"]);
        let read = Snapshot::parse(empty.bytes().clone()).unwrap();
        assert!(read.is_split() && read.is_empty());
        assert_eq!(Snapshot::whole(Vec::new(), "").body(), "");
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_a_reader_panic(at in 0_usize..120, byte: u8, cut in 0_usize..120) {
            let mut bytes = rates().bytes().to_vec();
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.drain(..cut % length);
            if let Ok(read) = Snapshot::parse(bytes.into()) {
                let _ = (read.iter().count(), read.removed().count(), read.body(), read.content_type());
                let _ = read.get("USD");
            }
        }
    }
}
