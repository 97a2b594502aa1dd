//! One snapshot being taken.

use std::io;

use annulus_store::{Entry, FLOOR_BUCKETS, Record, ScanCursor, SnapshotTotals, SnapshotWriter, Store};

use super::Running;
use super::failure::SnapshotFailure;
use super::files::AppendFile;
use super::folder::{Folder, Kind};

/// Places of the store looked at in one step. Its entries stay in memory for that long, evicted or not.
const STEP_PLACES: usize = 128;

/// A snapshot being taken, a step at a time, so that the store is never held up; one block of it is in memory.
/// Dropped before its end, it leaves nothing behind.
pub struct SnapshotJob {
    folder: Folder,
    /// Gone once it has ended.
    writer: Option<Writer>,
    number: u64,
    created_ms: u64,
    atomic: bool,
    cursor: ScanCursor,
    /// The highest version in each bucket that is left out, its deadline having passed.
    passed: Vec<u64>,
    _running: Running,
}

type Writer = SnapshotWriter<Box<dyn AppendFile>>;

/// How far a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More steps are needed.
    Running {
        /// Entries so far.
        entries: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// It is whole, and outlasts a crash of the machine.
    Done(Taken),
}

/// A snapshot that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its file's name.
    pub name: String,
    /// When it was started, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Entries and tombstones in it.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl SnapshotJob {
    pub(super) fn start(
        folder: Folder,
        running: Running,
        node: &str,
        atomic: bool,
        now_ms: u64,
    ) -> io::Result<Self> {
        // A node that dies each time it takes a snapshot must not fill the disk.
        folder.remove_partial();
        let number = folder.next_number()?;
        let mut job = Self {
            folder,
            writer: None,
            number,
            created_ms: now_ms,
            atomic,
            cursor: ScanCursor::default(),
            passed: vec![0; FLOOR_BUCKETS],
            _running: running,
        };
        let file = job.folder.files.create(&job.name_meanwhile())?;
        match SnapshotWriter::new(file, node, now_ms) {
            Ok(writer) => job.writer = Some(writer),
            Err(error) => {
                job.remove();
                return Err(error);
            }
        }
        Ok(job)
    }

    /// Takes the next entries of the store, or, after the last, brings the snapshot to its end: written out, under its
    /// name, and those before it removed except for the newest.
    ///
    /// # Errors
    ///
    /// The snapshot has ended then; its file is removed and the last good one is as it was.
    pub fn step(&mut self, store: &Store, now_ms: u64) -> Result<Progress, SnapshotFailure> {
        let mut writer = self.writer.take().ok_or(SnapshotFailure::Ended)?;
        // Time 0, because the store would leave out those past their deadline: their versions would be in no floor yet.
        let step = match store.scan(&mut self.cursor, STEP_PLACES, 0) {
            Some(entries) => self.write(&mut writer, &entries, now_ms).map(|()| {
                let SnapshotTotals { entries, bytes, .. } = writer.totals();
                self.writer = Some(writer);
                Progress::Running { entries, bytes }
            }),
            None => self.finish(writer, store).map(Progress::Done),
        };
        if step.is_err() {
            self.remove();
        }
        Ok(step?)
    }

    fn write(&mut self, writer: &mut Writer, entries: &[Entry], now_ms: u64) -> io::Result<()> {
        for entry in entries {
            if entry.deadline_ms().is_some_and(|deadline_ms| now_ms >= deadline_ms) {
                let passed = &mut self.passed[entry.bucket()];
                *passed = entry.version().max(*passed);
            } else {
                writer.push(&Record::of(entry))?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, mut writer: Writer, store: &Store) -> io::Result<Taken> {
        // Read last: what was forgotten while entries were written is in here.
        let mut floors = store.floors(0..FLOOR_BUCKETS);
        for (floor, passed) in floors.iter_mut().zip(&self.passed) {
            *floor = (*floor).max(*passed);
        }
        writer.floors(0, &floors)?;
        let (mut file, totals) = writer.finish()?;
        let name = Kind::Whole.name(self.number);
        if self.atomic {
            file.sync()?;
            self.folder.files.rename(&self.name_meanwhile(), &name)?;
            self.folder.files.sync_folder()?;
        }
        self.folder.remove_old();
        Ok(Taken { name, created_ms: self.created_ms, entries: totals.entries, bytes: totals.bytes })
    }

    /// Best effort: the next snapshot starts with removing what is left.
    fn remove(&self) {
        let _ = self.folder.files.remove(&self.name_meanwhile());
    }

    fn name_meanwhile(&self) -> String {
        if self.atomic { Kind::Partial.name(self.number) } else { Kind::Whole.name(self.number) }
    }
}

impl Drop for SnapshotJob {
    fn drop(&mut self) {
        if self.writer.take().is_some() {
            self.remove();
        }
    }
}
