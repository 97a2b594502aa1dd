//! The folders in which auxiliaries keep their snapshots, and disks that are full or read-only.

use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::geteuid;
use rlimit::Resource;
use tempfile::TempDir;

/// The file that takes up the room of a full disk.
const FILLER: &str = "filler";

/// A folder. One that is small is a file system of its own where this user may mount one, which takes root; for others the
/// system bounds the files of the process that writes to it, and the folder's permissions keep it out.
#[derive(Debug)]
pub(crate) struct Disk {
    folder: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// A folder inside `parent`; with `bytes` it holds no more than that.
    pub(crate) fn new(parent: &TempDir, name: &str, bytes: Option<u64>) -> Result<Self> {
        let folder = parent.path().join(name);
        fs::create_dir(&folder)?;
        let is_mounted = bytes.is_some() && geteuid().is_root();
        if let Some(bytes) = bytes.filter(|_| is_mounted) {
            let options = format!("size={bytes},mode=700");
            mount(Some("tmpfs"), &folder, Some("tmpfs"), MsFlags::empty(), Some(&*options)).context(
                "cannot mount a small disk: run as a user other than root, or as one who may mount",
            )?;
        }
        Ok(Self { folder, is_mounted })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves room for `bytes` more.
    pub(crate) fn fill(&self, pid: u32, bytes: u64) -> Result<()> {
        if !self.is_mounted {
            return limit_files(pid, bytes);
        }
        let mut filler = fs::File::create(self.folder.join(FILLER))?;
        loop {
            match filler.write(&[0; 4096]) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error.into()),
            }
        }
        let length = filler.metadata()?.len();
        Ok(filler.set_len(length.saturating_sub(bytes))?)
    }

    /// Ends what [`Self::fill`] began.
    pub(crate) fn free(&self, pid: u32) -> Result<()> {
        if self.is_mounted {
            Ok(fs::remove_file(self.folder.join(FILLER))?)
        } else {
            limit_files(pid, u64::MAX)
        }
    }

    /// Takes no changes from now on, or takes them again.
    pub(crate) fn set_read_only(&self, read_only: bool) -> Result<()> {
        if !self.is_mounted {
            return Ok(fs::set_permissions(
                &self.folder,
                Permissions::from_mode(if read_only { 0o500 } else { 0o700 }),
            )?);
        }
        let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
        Ok(mount(None::<&str>, &self.folder, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>)?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // A process of the test may still be there; the file system goes when it has gone.
            let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
        }
    }
}

/// The largest file that a process may write, which fails at once beyond that if it ignores SIGXFSZ.
fn limit_files(pid: u32, bytes: u64) -> Result<()> {
    let pid = pid.cast_signed();
    let mut hard = 0;
    rlimit::prlimit(pid, Resource::FSIZE, None, Some((&mut 0, &mut hard)))?;
    Ok(rlimit::prlimit(pid, Resource::FSIZE, Some((bytes.min(hard), hard)), None)?)
}
