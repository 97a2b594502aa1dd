//! The names in a snapshot folder, and which of them stay.

use std::io::{self, Read};
use std::sync::Arc;

use annulus_store::{SnapshotError, SnapshotFault};
use tracing::warn;

use super::files::Files;

/// Damaged snapshots that are kept for the operator.
const KEEP_CORRUPT: usize = 2;

/// What a name says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Whole,
    Partial,
    Corrupt,
}

impl Kind {
    pub(super) fn name(self, number: u64) -> String {
        format!("snapshot-{number:020}.annulus{}", self.suffix())
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Whole => "",
            Self::Partial => ".partial",
            Self::Corrupt => ".corrupt",
        }
    }

    /// The number and kind in a name of ours.
    fn parse(name: &str) -> Option<(u64, Self)> {
        let number = name.strip_prefix("snapshot-")?.get(..20)?.parse().ok()?;
        // Whatever else reads as a number is not a name that is given here.
        let kinds = [Self::Whole, Self::Partial, Self::Corrupt];
        kinds.into_iter().find(|kind| kind.name(number) == name).map(|kind| (number, kind))
    }
}

/// A snapshot folder.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) files: Arc<dyn Files>,
    keep: usize,
}

impl Folder {
    pub(super) fn new(files: Arc<dyn Files>, keep: usize) -> Self {
        Self { files, keep }
    }

    /// The numbers of all files of a kind, rising.
    pub(super) fn numbers(&self, kind: Kind) -> io::Result<Vec<u64>> {
        let names = self.files.list()?;
        let ours = names.iter().filter_map(|name| Kind::parse(name));
        let mut numbers: Vec<_> = ours.filter(|(_, its)| *its == kind).map(|(number, _)| number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// A number above all that were given, so that no name comes twice.
    pub(super) fn next_number(&self) -> io::Result<u64> {
        let names = self.files.list()?;
        let last = names.iter().filter_map(|name| Kind::parse(name)).map(|(number, _)| number).max();
        last.unwrap_or(0).checked_add(1).ok_or_else(|| {
            io::Error::other("the snapshot folder has a file of the last number; remove that file")
        })
    }

    pub(super) fn open(&self, name: &str) -> Result<Box<dyn Read + Send>, SnapshotError> {
        self.files.open(name).map_err(|error| SnapshotError { at: 0, fault: SnapshotFault::Read(error) })
    }

    /// Removes what an earlier run left half done.
    pub(super) fn remove_partial(&self) {
        self.keep_newest(Kind::Partial, 0);
    }

    /// Removes what is older than what is kept.
    pub(super) fn remove_old(&self) {
        self.keep_newest(Kind::Whole, self.keep);
    }

    /// Keeps a damaged snapshot where nobody takes it for a good one.
    pub(super) fn set_aside(&self, number: u64) {
        let name = Kind::Whole.name(number);
        if let Err(error) = self.files.rename(&name, &Kind::Corrupt.name(number)) {
            warn!(name, %error, "a damaged snapshot cannot be renamed and will be found again");
        }
        self.keep_newest(Kind::Corrupt, KEEP_CORRUPT);
    }

    /// A file that cannot be removed takes space and does no other harm.
    fn keep_newest(&self, kind: Kind, keep: usize) {
        let numbers = self.numbers(kind).unwrap_or_default();
        for number in &numbers[..numbers.len().saturating_sub(keep)] {
            let name = kind.name(*number);
            if let Err(error) = self.files.remove(&name) {
                warn!(name, %error, "an old snapshot cannot be removed; remove it by hand");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn a_name_gives_back_its_number_and_kind() {
        for kind in [Kind::Whole, Kind::Partial, Kind::Corrupt] {
            for number in [0, 7, u64::MAX] {
                assert_eq!(Kind::parse(&kind.name(number)), Some((number, kind)));
            }
        }
        assert_eq!(Kind::Whole.name(7), "snapshot-00000000000000000007.annulus");
    }

    #[test]
    fn names_of_others_are_not_ours() {
        for name in [
            "",
            "snapshot-",
            "snapshot-7.annulus",
            "snapshot-+0000000000000000007.annulus",
            "snapshot-99999999999999999999.annulus",
            "snapshot-00000000000000000007.annulus.old",
            "snapshot-0000000000000000000é.annulus",
            "a-snapshot-00000000000000000007.annulus",
        ] {
            assert_eq!(Kind::parse(name), None, "{name}");
        }
    }
}
