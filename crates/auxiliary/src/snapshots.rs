//! Snapshots of a node's store in a folder of its own: taken a batch at a time, loaded only when whole and sound.
//!
//! The folder holds `snapshot-<number>.annulus`, the newest number being the newest snapshot; `….partial`, one that is
//! being written; and `….corrupt`, one that was found damaged and is kept for the operator. All other names are left
//! alone. One node uses the folder at a time.

mod failure;
mod files;
mod folder;
mod job;
mod memory;

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annulus_store::{SnapshotError, SnapshotFault, SnapshotReader, SnapshotSummary};

pub use failure::SnapshotFailure;
pub use files::{AppendFile, Files, SystemFiles};
pub use job::{Progress, SnapshotJob, Taken};
pub use memory::MemoryFiles;

use folder::{Folder, Kind};

/// The snapshots of one node.
pub struct Snapshots {
    folder: Folder,
    node: String,
    atomic: bool,
    running: Arc<AtomicBool>,
}

impl Snapshots {
    /// The snapshots of the node named `node`, of which the newest `keep` stay, one at least.
    pub fn new(files: Arc<dyn Files>, node: impl Into<String>, keep: usize) -> Self {
        let folder = Folder::new(files, keep.max(1));
        Self { folder, node: node.into(), atomic: true, running: Arc::default() }
    }

    /// Whether a snapshot gets its name only once it is whole and on the disk: yes, unless this says no. Off only to
    /// show that the simulation notices.
    #[must_use]
    pub fn with_atomic(self, atomic: bool) -> Self {
        Self { atomic, ..self }
    }

    /// Starts a snapshot. What an earlier one left half done is removed first.
    ///
    /// # Errors
    ///
    /// [`SnapshotFailure::Running`] while another one is being taken, and where its file cannot be created.
    pub fn start(&self, now_ms: u64) -> Result<SnapshotJob, SnapshotFailure> {
        let running = Running::take(&self.running).ok_or(SnapshotFailure::Running)?;
        Ok(SnapshotJob::start(self.folder.clone(), running, &self.node, self.atomic, now_ms)?)
    }

    /// Finds the newest snapshot that is whole and sound, by reading all of it. A damaged one is renamed to
    /// `….corrupt`, and the one before it is tried; the newest two of those are kept. One that cannot be read stays.
    /// With none left, `snapshot` is `None`: an empty start.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be listed.
    pub fn load_latest(&self) -> io::Result<Loaded> {
        let mut loaded = Loaded { snapshot: None, set_aside: Vec::new() };
        for number in self.folder.numbers(Kind::Whole)?.into_iter().rev() {
            let name = Kind::Whole.name(number);
            match self.folder.open(&name).and_then(SnapshotReader::verify) {
                Ok(summary) => {
                    let folder = self.folder.clone();
                    loaded.snapshot = Some(OpenSnapshot { folder, name, summary });
                    break;
                }
                Err(error) => {
                    if !matches!(error.fault, SnapshotFault::Read(_)) {
                        self.folder.set_aside(number);
                    }
                    loaded.set_aside.push((name, error));
                }
            }
        }
        Ok(loaded)
    }
}

/// What a node starts from.
pub struct Loaded {
    /// The newest snapshot that is whole and sound.
    pub snapshot: Option<OpenSnapshot>,
    /// Newer ones that are not, by the names they had, newest first.
    pub set_aside: Vec<(String, SnapshotError)>,
}

/// A snapshot that is whole and sound.
pub struct OpenSnapshot {
    folder: Folder,
    name: String,
    summary: SnapshotSummary,
}

/// The content of a snapshot, block by block.
pub type Batches = SnapshotReader<Box<dyn Read + Send>>;

impl OpenSnapshot {
    /// Its file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node it was taken of.
    pub fn node(&self) -> &str {
        &self.summary.node
    }

    /// When it was taken, in milliseconds since the Unix epoch.
    pub fn created_ms(&self) -> u64 {
        self.summary.created_ms
    }

    /// Entries and tombstones in it.
    pub fn entries(&self) -> u64 {
        self.summary.entries
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.summary.bytes
    }

    /// The miss floor of each bucket. To be raised after all entries are put, because a floor refuses what is not
    /// there yet.
    pub fn floors(&self) -> &[u64] {
        &self.summary.floors
    }

    /// Reads the entries from the start, as often as wanted. Those whose deadline has passed since come too: the
    /// floors of their buckets are to be raised to their versions, or something older could come back.
    ///
    /// # Errors
    ///
    /// Where the file is no longer there, two newer ones having been taken, or cannot be read.
    pub fn batches(&self) -> Result<Batches, SnapshotError> {
        self.folder.open(&self.name).and_then(SnapshotReader::open)
    }
}

/// Held by the one snapshot that is being taken.
struct Running(Arc<AtomicBool>);

impl Running {
    fn take(running: &Arc<AtomicBool>) -> Option<Self> {
        (!running.swap(true, Ordering::AcqRel)).then(|| Self(Arc::clone(running)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
