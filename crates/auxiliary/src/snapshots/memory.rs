//! A disk in memory that can crash, for tests and simulation.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind, Read, Write};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::files::{AppendFile, Files};

/// A disk in memory, for tests and simulation; clones share it.
///
/// It loses as much in a crash as a real one may: of a file's content only what was synced is certain, of the folder's
/// names only those of its last sync. It can also be full, read-only, or stop after so many operations.
#[derive(Clone, Default)]
pub struct MemoryFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    /// Names as programs see them.
    names: Names,
    /// Names as they were at the folder's last sync.
    synced: Names,
    /// What was done to the names since.
    unsynced: Vec<NameChange>,
    contents: BTreeMap<Id, Content>,
    next_id: Id,
    crashes: u64,
    capacity: Option<usize>,
    read_only: bool,
    operations: u64,
    stop_after: Option<u64>,
}

type Id = u64;
type Names = BTreeMap<String, Id>;

#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
}

enum NameChange {
    Create(String, Id),
    Rename(String, String, Id),
    Remove(String),
}

impl NameChange {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(name, id) => drop(names.insert(name.clone(), *id)),
            Self::Rename(from, to, id) => {
                names.remove(from);
                names.insert(to.clone(), *id);
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }
}

impl MemoryFiles {
    /// The machine crashes and starts again: each change of a name since the folder's last sync may be undone, each
    /// file loses some or all of what was written since its last sync, or has zeros there. `seed` says which. Files
    /// that were open are so no longer. The fault of [`MemoryFiles::stop_after`] is over.
    pub fn crash(&self, seed: u64) {
        self.disk.lock().crash(Random(seed));
    }

    /// From now on there is room for so many bytes in all files together; `None` is no limit.
    pub fn set_capacity(&self, bytes: Option<usize>) {
        self.disk.lock().capacity = bytes;
    }

    /// Whether every change is refused from now on.
    pub fn set_read_only(&self, read_only: bool) {
        self.disk.lock().read_only = read_only;
    }

    /// Operations so far that changed or synced something, failed ones included.
    pub fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    /// Every operation after so many in all fails, as if the machine had lost power there; `None` ends that, and so
    /// does [`MemoryFiles::crash`].
    pub fn stop_after(&self, operations: Option<u64>) {
        self.disk.lock().stop_after = operations;
    }

    /// A file's bytes.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let disk = self.disk.lock();
        disk.names.get(name).map(|id| disk.contents[id].bytes.clone())
    }

    /// Puts a file there, or other bytes into it, and syncs that with the folder.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut disk = self.disk.lock();
        let id = disk.new_id();
        disk.contents.insert(id, Content { synced: bytes.len(), bytes });
        disk.names.insert(name.to_owned(), id);
        disk.sync_names();
    }

    /// The disk, for an operation that changes or syncs something.
    fn change(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.disk.lock();
        disk.operations += 1;
        if disk.stop_after.is_some_and(|stop| disk.operations > stop) {
            return Err(io::Error::other("the machine has stopped"));
        }
        if disk.read_only {
            return Err(io::Error::new(ErrorKind::ReadOnlyFilesystem, "the disk is read-only"));
        }
        Ok(disk)
    }
}

impl Files for MemoryFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let mut disk = self.change()?;
        if disk.names.contains_key(name) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, format!("{name} is there")));
        }
        let id = disk.new_id();
        disk.contents.insert(id, Content::default());
        disk.rename(NameChange::Create(name.to_owned(), id));
        Ok(Box::new(MemoryFile { files: self.clone(), id, crashes: disk.crashes }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.bytes(name).ok_or_else(|| no_file(name))?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.change()?;
        let id = *disk.names.get(from).ok_or_else(|| no_file(from))?;
        disk.rename(NameChange::Rename(from.to_owned(), to.to_owned(), id));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.change()?;
        if !disk.names.contains_key(name) {
            return Err(no_file(name));
        }
        disk.rename(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk.lock().names.keys().cloned().collect())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.change()?.sync_names();
        Ok(())
    }
}

impl Disk {
    fn new_id(&mut self) -> Id {
        self.next_id += 1;
        self.next_id
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn sync_names(&mut self) {
        self.synced = self.names.clone();
        self.unsynced.clear();
        self.forget_nameless();
    }

    /// A file without a name is gone, for whoever has it open too.
    fn forget_nameless(&mut self) {
        let names = &self.names;
        self.contents.retain(|id, _| names.values().any(|named| named == id));
    }

    /// Bytes left for a write. A removed file takes no room.
    fn room(&self) -> usize {
        let used = self.names.values().map(|id| self.contents[id].bytes.len()).sum();
        self.capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used))
    }

    fn crash(&mut self, mut random: Random) {
        for change in self.unsynced.drain(..) {
            if random.below(2) == 0 {
                change.apply(&mut self.synced);
            }
        }
        self.names = self.synced.clone();
        for content in self.contents.values_mut() {
            let len = content.bytes.len();
            let kept = content.synced + random.below(len - content.synced + 1);
            content.bytes.truncate(kept);
            if random.below(2) == 0 {
                content.bytes.resize(len, 0);
            }
            content.synced = content.bytes.len();
        }
        self.forget_nameless();
        self.crashes += 1;
        self.stop_after = None;
    }
}

struct MemoryFile {
    files: MemoryFiles,
    id: Id,
    /// Which life of the machine it was opened in.
    crashes: u64,
}

impl MemoryFile {
    fn content<T>(&self, change: impl FnOnce(usize, &mut Content) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.files.change()?;
        let room = disk.room();
        if disk.crashes != self.crashes {
            return Err(io::Error::other("the machine has crashed since the file was opened"));
        }
        let content = disk.contents.get_mut(&self.id).ok_or_else(|| no_file("the open file"))?;
        change(room, content)
    }
}

impl Write for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.content(|room, content| {
            let len = bytes.len().min(room);
            if len == 0 && !bytes.is_empty() {
                return Err(io::Error::new(ErrorKind::StorageFull, "no space is left on the disk"));
            }
            content.bytes.extend_from_slice(&bytes[..len]);
            Ok(len)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AppendFile for MemoryFile {
    fn sync(&mut self) -> io::Result<()> {
        self.content(|_, content| {
            content.synced = content.bytes.len();
            Ok(())
        })
    }
}

fn no_file(name: &str) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("{name} is not there"))
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
