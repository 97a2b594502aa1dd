//! The items of a body while it is looked through: a name each, and where in the body the value stands.

use super::Room;

/// The bytes of an item and of what stands around it, where items are small.
const SMALL_ITEM_BYTES: usize = 64;

/// Items in the order in which they were found. Their names lie one behind the other, so that a hundred thousand of them are two
/// allocations.
#[derive(Debug)]
pub struct Items {
    names: Room,
    found: Vec<Found>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    name_start: u32,
    name_end: u32,
    start: u32,
    length: u32,
}

/// Items in order of their names, no two of which are the same.
#[derive(Debug)]
pub struct SortedItems(Items);

/// An item: its name, and where in the body its value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// What it is called.
    pub name: &'a str,
    /// The first byte of its value.
    pub start: u32,
    /// The length of its value.
    pub length: u32,
}

/// The names of all items together are over 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the names of the items are over 4 GiB together")]
pub struct TooManyNames;

/// Two items have this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two items are called {0:?}")]
pub struct SameName(pub String);

impl Items {
    /// For the items of a body of so many bytes. The room for them is what they can hardly exceed; what is not filled of it takes
    /// no memory, and growing would take twice as much for a moment.
    pub fn of_body(bytes: usize) -> Self {
        Self { names: Room::new(bytes), found: Vec::with_capacity(bytes / SMALL_ITEM_BYTES) }
    }

    /// Adds an item: its name of 1 byte or more, the first byte of its value in the body, and the value's length.
    ///
    /// # Errors
    /// Where there is no room for its name.
    pub fn push(&mut self, name: &str, start: u32, length: u32) -> Result<(), TooManyNames> {
        let end = |length: usize| u32::try_from(length).map_err(|_| TooManyNames);
        let name_start = end(self.names.len())?;
        let name_end = end(self.names.len() + name.len())?;
        self.names.put(name.as_bytes());
        self.found.push(Found { name_start, name_end, start, length });
        Ok(())
    }

    /// The same items in order of their names.
    ///
    /// # Errors
    /// Where two have the same one.
    pub fn sorted(mut self) -> Result<SortedItems, SameName> {
        let names = &self.names;
        self.found.sort_unstable_by(|left, right| left.name(names).cmp(right.name(names)));
        let same = self.found.windows(2).find(|pair| pair[0].name(names) == pair[1].name(names));
        match same {
            Some(pair) => Err(SameName(pair[0].text(names).to_owned())),
            None => Ok(SortedItems(self)),
        }
    }
}

impl SortedItems {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.found.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.found.is_empty()
    }

    /// Whether one has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.found.binary_search_by(|found| found.name(&self.0.names).cmp(name.as_bytes())).is_ok()
    }

    /// The bytes of all names together.
    pub fn names_len(&self) -> usize {
        self.0.names.len()
    }

    /// All, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        let names = &self.0.names;
        self.0.found.iter().map(|found| Item {
            name: found.text(names),
            start: found.start,
            length: found.length,
        })
    }
}

impl Found {
    /// Bytes are in the order of the text that they are.
    fn name<'a>(&self, names: &'a [u8]) -> &'a [u8] {
        &names[self.name_start as usize..self.name_end as usize]
    }

    fn text<'a>(&self, names: &'a [u8]) -> &'a str {
        std::str::from_utf8(self.name(names)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(names: &[&str]) -> Items {
        let mut items = Items::of_body(names.len());
        for (at, name) in names.iter().enumerate() {
            items.push(name, at as u32, 1).unwrap();
        }
        items
    }

    #[test]
    fn they_are_sorted_by_name_with_their_values() {
        let sorted = items(&["b", "é", "ab", "a"]).sorted().unwrap();
        let read: Vec<_> = sorted.iter().map(|item| (item.name, item.start)).collect();
        assert_eq!(read, [("a", 3), ("ab", 2), ("b", 0), ("é", 1)]);
        assert!(sorted.contains("ab") && !sorted.contains("aba"));
        assert_eq!((sorted.len(), sorted.names_len()), (4, 6));
    }

    #[test]
    fn a_name_that_comes_twice_is_named() {
        assert_eq!(items(&["b", "a", "c", "a"]).sorted().unwrap_err(), SameName("a".to_owned()));
        assert!(items(&[]).sorted().unwrap().is_empty());
    }
}
