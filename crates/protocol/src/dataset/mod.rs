//! A dataset as replicas hand it around: the body as the upstream sent it, and where in it each item stands.
//!
//! In the home it is one run of bytes, so that items are slices of it; who makes it keeps the body where it came, and what is
//! put behind it beside that, so that nothing large is copied:
//!
//! ```text
//! body | places: per item, in order of names | names | removed names | content type | footer
//! ```
//!
//! A place is the end of the name, and the start and length of the value in the body, each 32 bits, little endian. The footer
//! has the lengths of all parts.

mod items;
mod room;

use bytes::Bytes;

pub use self::items::{Item, Items, SameName, SortedItems, TooManyNames};
pub use self::room::Room;

/// The largest body: places have 32 bits.
pub const MAX_BODY_BYTES: usize = 1 << 30;

const MAGIC: [u8; 4] = *b"ads1";
const PLACE_BYTES: usize = 12;
const FOOTER_BYTES: usize = 6 * 4 + MAGIC.len();

/// One revision of a dataset. Cheap to clone.
#[derive(Clone)]
pub struct Snapshot {
    /// The body, and what is behind it unless that is `apart`.
    bytes: Bytes,
    /// What is behind the body, where this was not read but made.
    apart: Option<Bytes>,
    parts: Parts,
}

/// The lengths of the parts, and how many items there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    body: usize,
    items: usize,
    names: usize,
    removed: usize,
    content_type: usize,
    is_split: bool,
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
    pub fn whole(body: Bytes, content_type: &str) -> Self {
        Self::build(body, content_type, None, &[])
    }

    /// A body of items whose values are inside it. `removed` names those whose entries are to be deleted.
    ///
    /// # Panics
    /// Where the body is larger than [`MAX_BODY_BYTES`].
    pub fn split(body: Bytes, content_type: &str, items: &SortedItems, removed: &[&str]) -> Self {
        Self::build(body, content_type, Some(items), removed)
    }

    fn build(body: Bytes, content_type: &str, items: Option<&SortedItems>, removed: &[&str]) -> Self {
        assert!(body.len() <= MAX_BODY_BYTES, "a body of {} bytes", body.len());
        let parts = Parts {
            body: body.len(),
            items: items.map_or(0, SortedItems::len),
            names: items.map_or(0, SortedItems::names_len),
            removed: removed.iter().map(|name| name.len() + 4).sum(),
            content_type: content_type.len(),
            is_split: items.is_some(),
        };
        let mut index = Room::new(parts.index_bytes());
        let put = |number: usize, index: &mut Room| index.put(&(number as u32).to_le_bytes());
        let mut name_end = 0;
        for item in items.into_iter().flat_map(SortedItems::iter) {
            name_end += item.name.len();
            put(name_end, &mut index);
            put(item.start as usize, &mut index);
            put(item.length as usize, &mut index);
        }
        for item in items.into_iter().flat_map(SortedItems::iter) {
            index.put(item.name.as_bytes());
        }
        for name in removed {
            put(name.len(), &mut index);
            index.put(name.as_bytes());
        }
        index.put(content_type.as_bytes());
        let Parts { body: length, items, names, removed, content_type, is_split } = parts;
        for part in [length, items, names, removed, content_type, usize::from(is_split)] {
            put(part, &mut index);
        }
        index.put(&MAGIC);
        Self { bytes: body, apart: Some(index.freeze()), parts }
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
        let length = parts.body + parts.index_bytes();
        if length != bytes.len() || parts.body > MAX_BODY_BYTES || (parts.items > 0 && !parts.is_split) {
            return Err(SnapshotError("its parts have other lengths than it says"));
        }
        let snapshot = Self { bytes, apart: None, parts };
        snapshot.check()?;
        Ok(snapshot)
    }

    /// All bytes, to be handed on: pieces that follow one another.
    pub fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.bytes).chain(&self.apart)
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.pieces().map(Bytes::len).sum()
    }

    /// The body as the upstream sent it.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(..self.parts.body)
    }

    /// What the body is.
    pub fn content_type(&self) -> &str {
        let end = self.parts.index_bytes() - FOOTER_BYTES;
        std::str::from_utf8(&self.index()[end - self.parts.content_type..end]).unwrap_or_default()
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
        let start = self.parts.items * PLACE_BYTES + self.parts.names;
        let mut rest = &self.index()[start..start + self.parts.removed];
        std::iter::from_fn(move || {
            let length = if rest.len() < 4 { return None } else { read_u32(rest, 0) };
            let (name, more) = rest[4..].split_at_checked(length)?;
            rest = more;
            std::str::from_utf8(name).ok()
        })
    }

    fn index(&self) -> &[u8] {
        self.apart.as_deref().unwrap_or(&self.bytes[self.parts.body..])
    }

    fn place(&self, at: usize) -> [usize; 3] {
        let start = at * PLACE_BYTES;
        [0, 4, 8].map(|offset| read_u32(self.index(), start + offset))
    }

    fn name(&self, at: usize) -> &str {
        let names = self.parts.items * PLACE_BYTES;
        let start = if at == 0 { 0 } else { self.place(at - 1)[0] };
        let bytes = self.index().get(names + start..names + self.place(at)[0]);
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
            let first = items * PLACE_BYTES;
            let name = std::str::from_utf8(&self.index()[first + name_start..first + name_end]);
            let name = name.map_err(|_| SnapshotError("a name in it is no text"))?;
            if last.is_some_and(|(_, before)| before >= name) {
                return Err(SnapshotError("its items are not in order"));
            }
            last = Some((name_end, name));
        }
        let named: usize = self.removed().map(|name| name.len() + 4).sum();
        let end = self.parts.index_bytes() - FOOTER_BYTES;
        let is_text = std::str::from_utf8(&self.index()[end - content_type..end]).is_ok();
        if named != removed || last.map_or(0, |(end, _)| end) != names || !is_text {
            return Err(SnapshotError("its names do not fill their part"));
        }
        Ok(())
    }
}

impl Parts {
    /// The bytes behind the body.
    fn index_bytes(&self) -> usize {
        self.items * PLACE_BYTES + self.names + self.removed + self.content_type + FOOTER_BYTES
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.body() == other.body() && self.index() == other.index()
    }
}

impl Eq for Snapshot {}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("bytes", &self.size())
            .field("items", &self.parts.items)
            .finish_non_exhaustive()
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

    fn sorted(items: &[(&str, u32, u32)]) -> SortedItems {
        let mut all = Items::of_body(0);
        for (name, start, length) in items {
            all.push(name, *start, *length).unwrap();
        }
        all.sorted().unwrap()
    }

    fn rates() -> Snapshot {
        let body = br#"{"USD":1.08,"CHF":0.96,"\u00e9":3}"#.to_vec().into();
        let items = sorted(&[("USD", 7, 4), ("CHF", 18, 4), ("é", 32, 1)]);
        Snapshot::split(body, "application/json", &items, &["DEM", "ITL"])
    }

    /// As a reader gets it.
    fn whole(snapshot: &Snapshot) -> Vec<u8> {
        snapshot.pieces().flatten().copied().collect()
    }

    fn text(value: Option<Bytes>) -> String {
        String::from_utf8(value.unwrap().to_vec()).unwrap()
    }

    #[test]
    fn items_are_found_by_name_and_are_pieces_of_the_body() {
        let rates = rates();
        let read = Snapshot::parse(whole(&rates).into()).unwrap();
        assert_eq!((&read, read.size()), (&rates, rates.size()));
        assert_eq!(["CHF", "USD", "é"].map(|name| text(read.get(name))), ["0.96", "1.08", "3"]);
        assert_eq!(read.get("EUR"), None);
        assert_eq!(read.names().collect::<Vec<_>>(), ["CHF", "USD", "é"]);
        assert_eq!(read.removed().collect::<Vec<_>>(), ["DEM", "ITL"]);
        assert_eq!((read.len(), read.content_type()), (3, "application/json"));
        assert!(read.body().ends_with(b":3}"));
    }

    #[test]
    fn a_whole_body_has_no_items_and_an_empty_list_is_still_a_list() {
        let page = Snapshot::whole(Bytes::from_static(b"<html>"), "text/html");
        let read = Snapshot::parse(whole(&page).into()).unwrap();
        assert_eq!(
            (&read.body()[..], read.content_type(), read.is_split()),
            (&b"<html>"[..], "text/html", false)
        );
        let empty = Snapshot::split(Bytes::from_static(b"[]"), "application/json", &sorted(&[]), &["a"]);
        let read = Snapshot::parse(whole(&empty).into()).unwrap();
        assert!(read.is_split() && read.is_empty());
        assert_eq!(Snapshot::whole(Bytes::new(), "").body(), "");
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_make_a_reader_panic(at in 0_usize..120, byte: u8, cut in 0_usize..120) {
            let mut bytes = whole(&rates());
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
