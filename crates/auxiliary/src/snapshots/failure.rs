//! Why no snapshot was taken.

use std::io::{self, ErrorKind};

/// Why no snapshot was taken. What was half done is removed, and the last good one stays.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFailure {
    /// There is no room.
    #[error("the disk of the snapshot folder is full: {0}; free some space or choose another folder")]
    DiskFull(#[source] io::Error),
    /// The folder takes no files.
    #[error(
        "the snapshot folder cannot be written to: {0}; make it writable for this user or choose another"
    )]
    NotWritable(#[source] io::Error),
    /// One at a time.
    #[error("a snapshot is being taken; wait until it is done")]
    Running,
    /// This job has ended, well or not.
    #[error("this snapshot has ended; start another")]
    Ended,
    /// Anything else.
    #[error("the snapshot cannot be written: {0}; check the disk and the folder")]
    Other(#[source] io::Error),
}

impl From<io::Error> for SnapshotFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull(error),
            ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => Self::NotWritable(error),
            _ => Self::Other(error),
        }
    }
}
