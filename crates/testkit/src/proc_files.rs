//! What Linux says of a process, and the limits of this one.

use std::fs;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result};

/// What a process uses, as of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes.
    pub rss_bytes: u64,
    /// The most that resident memory has been, in bytes.
    pub peak_rss_bytes: u64,
    /// CPU time in user and in kernel mode together, in clock ticks of 10 ms.
    pub cpu_ticks: u64,
}

impl Usage {
    /// Reads `/proc/PID/status` and `/proc/PID/stat`.
    ///
    /// # Errors
    /// Where there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| path)
        };
        let status = read("status")?;
        Ok(Self {
            rss_bytes: kib_of(&status, "VmRSS:").context("VmRSS")? * 1024,
            peak_rss_bytes: kib_of(&status, "VmHWM:").context("VmHWM")? * 1024,
            cpu_ticks: cpu_ticks(&read("stat")?).context("utime and stime")?,
        })
    }
}

fn kib_of(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time. The name in parentheses may hold anything, so fields count from behind it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

/// Whether the end of a TCP connection that has the address `local` is a process's. `false` where the connection or the
/// process is gone.
pub(crate) fn owns_connection(pid: u32, local: SocketAddrV4, remote: SocketAddrV4) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let Some(inode) = inode_of(&table, local, remote) else { return false };
    let socket = format!("socket:[{inode}]");
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == &*socket))
}

/// The number of a connection's socket. A line reads `0: 0100007F:1F90 0100007F:C001 01 ...`, the number its tenth field.
fn inode_of(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u64> {
    let shown = |address: SocketAddrV4| {
        format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
    };
    let (local, remote) = (shown(local), shown(remote));
    let inode = table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let found = fields.next() == Some(&*local) && fields.next() == Some(&*remote);
        fields.nth(6).filter(|_| found)
    })?;
    // Zero: the socket is closed, and only the kernel remembers it.
    inode.parse().ok().filter(|inode| *inode > 0)
}

/// Raises how many files this process, and those that it spawns, may have open; returns how many that are, which is
/// `wanted` or the most that the system allows.
///
/// # Errors
/// What the operating system says.
pub fn raise_file_limit(wanted: u64) -> Result<u64> {
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    let limit = wanted.min(hard).max(soft);
    rlimit::Resource::NOFILE.set(limit, hard)?;
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 100_000 && usage.peak_rss_bytes >= usage.rss_bytes, "{usage:?}");
    }

    #[test]
    fn a_connection_is_told_by_both_its_addresses() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let v4 = |address| match address {
            std::net::SocketAddr::V4(address) => address,
            std::net::SocketAddr::V6(address) => panic!("{address}"),
        };
        let (local, remote) = (v4(client.local_addr().unwrap()), v4(client.peer_addr().unwrap()));
        assert!(owns_connection(std::process::id(), local, remote));
        assert!(!owns_connection(1, local, remote));
        assert!(!owns_connection(std::process::id(), remote, remote));
        drop(client);
        assert!(!owns_connection(std::process::id(), local, remote));
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 100 1000 50";
        assert_eq!(cpu_ticks(stat), Some(12));
    }
}
