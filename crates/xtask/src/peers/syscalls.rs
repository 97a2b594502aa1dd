//! System calls of running processes, counted from the outside: by `perf`, which hardly disturbs them, or else by
//! `strace`, which slows them down.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const ATTACH_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A count under way.
#[derive(Debug)]
pub(crate) struct Counter {
    tool: Tool,
    child: Child,
    folder: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    Perf,
    Strace,
}

impl Counter {
    /// Starts to count the system calls of all threads of `pids`.
    ///
    /// # Errors
    /// Where neither tool can, with what both said.
    pub(crate) async fn start(pids: &[u32]) -> Result<Self> {
        let mut reasons = Vec::new();
        for tool in [Tool::Perf, Tool::Strace] {
            match Self::attach(tool, pids).await {
                Ok(counter) => return Ok(counter),
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        bail!("system calls cannot be counted: {}", reasons.join("; "))
    }

    async fn attach(tool: Tool, pids: &[u32]) -> Result<Self> {
        let folder = TempDir::new()?;
        let list = pids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut command = Command::new(tool.name());
        match tool {
            Tool::Perf => {
                command.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-o", "count", "-p"])
            }
            Tool::Strace => command.args(["-c", "-f", "-o", "count", "-p"]),
        };
        command.arg(list.join(",")).current_dir(folder.path());
        let said = fs::File::create(folder.path().join("said"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn();
        let mut counter = Self { tool, child: child.with_context(|| tool.name())?, folder };
        let started = Instant::now();
        while !counter.is_attached(pids) {
            if let Some(status) = counter.child.try_wait()? {
                let said = counter.read("said");
                bail!("{} ended with {status}: {}", tool.name(), said.lines().next().unwrap_or_default());
            }
            if started.elapsed() > ATTACH_LIMIT {
                bail!("{} has not attached after {ATTACH_LIMIT:?}", tool.name());
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(counter)
    }

    /// Ends the count.
    ///
    /// # Errors
    /// Where the tool does not say how many there were.
    pub(crate) async fn finish(mut self) -> Result<u64> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGINT)?;
        while self.child.try_wait()?.is_none() {
            sleep(POLL_INTERVAL).await;
        }
        let text = self.read("count");
        let count = self.tool.count(&text);
        count.with_context(|| format!("{} counted nothing: {text}{}", self.tool.name(), self.read("said")))
    }

    /// Whether it sees every thread of `pids`.
    fn is_attached(&self, pids: &[u32]) -> bool {
        let threads = || pids.iter().flat_map(|pid| entries(Path::new(&format!("/proc/{pid}/task"))));
        match self.tool {
            // perf opens its event once a thread.
            Tool::Perf => {
                let files = entries(Path::new(&format!("/proc/{}/fd", self.child.id())));
                let is_event = |file: &String| file.contains("perf_event");
                let events = files.iter().filter_map(|file| fs::read_link(file).ok());
                let events = events.map(|link| link.display().to_string()).filter(is_event).count();
                events > 0 && events >= threads().count()
            }
            Tool::Strace => threads().all(|thread| {
                let status = fs::read_to_string(format!("{thread}/status")).unwrap_or_default();
                status.lines().any(|line| line == format!("TracerPid:\t{}", self.child.id()))
            }),
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // It may have ended already. The kernel frees what it traced.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Strace => "strace",
        }
    }

    /// The number in what it wrote down.
    fn count(self, text: &str) -> Option<u64> {
        match self {
            Self::Perf => {
                let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
                line.split(',').next()?.parse().ok()
            }
            Self::Strace => {
                // % time, seconds, microseconds a call, calls, errors where there are any, the name.
                let total = text.lines().rfind(|line| line.ends_with(" total"))?;
                total.split_whitespace().nth(3)?.parse().ok()
            }
        }
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.map(|entry| entry.path().display().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_the_tools_write() {
        let perf = "# started on Mon\n\n200177,,raw_syscalls:sys_enter,1003945391,100.00,,\n";
        assert_eq!(Tool::Perf.count(perf), Some(200_177));
        assert_eq!(Tool::Perf.count("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"), None);
        let strace = "% time     seconds  usecs/call     calls    errors syscall\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                      100.00    0.000010           2         4         1 epoll_wait\n\
                      ------ ----------- ----------- --------- --------- ----------------\n\
                      100.00    0.000010           2         4         1 total\n";
        assert_eq!(Tool::Strace.count(strace), Some(4));
        assert_eq!(Tool::Strace.count(""), None);
    }
}
