//! What snapshots need of a disk, and a real one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// One folder of files, by plain names. Calls block, so on a real disk they belong on a thread that may.
pub trait Files: Send + Sync + 'static {
    /// Makes a new, empty file that only this user can read and write.
    ///
    /// # Errors
    ///
    /// The disk's; `AlreadyExists` for a name that is taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file to read it from its start.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Gives a file another name, taking it from whoever has it.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// All names, in any order.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Returns once names made, changed and removed outlast a crash of the machine.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn sync_folder(&self) -> io::Result<()>;
}

/// A file being written.
pub trait AppendFile: Write + Send {
    /// Returns once the content outlasts a crash of the machine; its name may not yet.
    ///
    /// # Errors
    ///
    /// The disk's.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of a real disk.
#[derive(Clone, Debug)]
pub struct SystemFiles {
    folder: PathBuf,
}

impl SystemFiles {
    /// The folder, made for this user alone if it is not there.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(named(&folder))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Files for SystemFiles {
    fn create(&self, name: &str) -> io::Result<Box<dyn AppendFile>> {
        let path = self.path(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Box::new(SystemFile { file: file.map_err(named(&path))?, path }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let path = self.path(name);
        Ok(Box::new(File::open(&path).map_err(named(&path))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let path = self.path(from);
        fs::rename(&path, self.path(to)).map_err(named(&path))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).map_err(named(&path))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder).map_err(named(&self.folder))?;
        let names =
            entries.map(|entry| Ok(entry.map_err(named(&self.folder))?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(named(&self.folder))
    }
}

struct SystemFile {
    file: File,
    path: PathBuf,
}

impl Write for SystemFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(named(&self.path))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(named(&self.path))
    }
}

impl AppendFile for SystemFile {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all().map_err(named(&self.path))
    }
}

/// Tells of which file an error is; its kind stays.
fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
