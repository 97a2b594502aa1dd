//! Wall clocks that jump, for processes: libfaketime, as it comes with Debian, between a program and the system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// Where Debian puts libraries: `/usr/lib/<machine>/faketime/`.
const LIBRARIES: &str = "/usr/lib";
/// The one for programs with threads.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of each process of a cluster, by the name of its node. All are right at the start. Clocks that measure
/// how long something takes (monotonic ones) are not touched, as no jump of a real wall clock touches them.
#[derive(Debug)]
pub(crate) struct Clocks {
    folder: TempDir,
    library: PathBuf,
}

impl Clocks {
    pub(crate) fn new() -> Result<Self> {
        let missing = "libfaketime is not there; on Debian: apt-get install libfaketime";
        let machines = fs::read_dir(LIBRARIES).context(missing)?.flatten();
        let library = machines.map(|machine| machine.path().join(LIBRARY)).find(|path| path.exists());
        Ok(Self { folder: TempDir::new()?, library: library.context(missing)? })
    }

    /// What stands in the environment of a process whose clock this is.
    pub(crate) fn env(&self, name: &str) -> Result<Vec<(String, String)>> {
        self.set(name, 0)?;
        let shown = |path: &Path| path.display().to_string();
        let variables = [
            ("LD_PRELOAD", shown(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", shown(&self.file(name))),
            // The file is read whenever the time is asked for, so that a jump is one at once.
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ];
        Ok(variables.map(|(variable, value)| (variable.to_owned(), value)).to_vec())
    }

    /// Puts a clock so many seconds ahead of the real time, or behind it.
    pub(crate) fn set(&self, name: &str, seconds: i64) -> Result<()> {
        let written = self.folder.path().join(format!("{name}.new"));
        fs::write(&written, format!("{seconds:+}\n"))?;
        Ok(fs::rename(written, self.file(name))?)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_runs_sees_its_clock_jump() {
        let clocks = Clocks::new().unwrap();
        // Not bash, which asks the kernel for the time behind libfaketime's back.
        let mut python = Command::new("python3")
            .args(["-uc", "import sys, time\nfor line in sys.stdin: print(int(time.time()))"])
            .envs(clocks.env("node").unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut ask, mut said) =
            (python.stdin.take().unwrap(), BufReader::new(python.stdout.take().unwrap()));
        let mut time = || {
            ask.write_all(b"\n").unwrap();
            let mut line = String::new();
            said.read_line(&mut line).unwrap();
            line.trim().parse::<i64>().unwrap()
        };
        let before = time();
        for jump in [3600, -3600, 10] {
            clocks.set("node", jump).unwrap();
            assert!((time() - before - jump).abs() < 60);
        }
        python.kill().unwrap();
        python.wait().unwrap();
    }
}
