//! What a server tells of itself.

use bytes::BufMut;

use super::prefixes::PREFIX_END;
use super::{Counts, put_stat};
use crate::memcached::render::END;

/// What `stats` tells of a server, besides [`Counts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of the figures, which memcached documents")]
pub struct Figures<'a> {
    pub pid: u32,
    pub uptime_s: u64,
    pub time_unix_s: u64,
    pub version: &'a str,
    pub rusage_user_us: u64,
    pub rusage_system_us: u64,
    pub max_connections: u64,
    pub curr_connections: u64,
    pub total_connections: u64,
    pub rejected_connections: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub limit_maxbytes: u64,
    pub threads: u64,
    pub bytes: u64,
    pub curr_items: u64,
    pub total_items: u64,
    pub evictions: u64,
    pub reclaimed: u64,
}

impl Figures<'_> {
    /// Writes the whole answer to `stats`.
    pub fn render(&self, counts: &Counts, out: &mut impl BufMut) {
        put_stat("pid", self.pid, out);
        put_stat("uptime", self.uptime_s, out);
        put_stat("time", self.time_unix_s, out);
        put_stat("version", self.version, out);
        put_stat("pointer_size", usize::BITS, out);
        put_stat("rusage_user", seconds(self.rusage_user_us), out);
        put_stat("rusage_system", seconds(self.rusage_system_us), out);
        put_stat("max_connections", self.max_connections, out);
        put_stat("curr_connections", self.curr_connections, out);
        put_stat("total_connections", self.total_connections, out);
        put_stat("rejected_connections", self.rejected_connections, out);
        put_stat("connection_structures", self.curr_connections, out);
        for (name, value) in counts.named() {
            put_stat(name, value, out);
        }
        put_stat("bytes_read", self.bytes_read, out);
        put_stat("bytes_written", self.bytes_written, out);
        put_stat("limit_maxbytes", self.limit_maxbytes, out);
        put_stat("accepting_conns", 1, out);
        put_stat("listen_disabled_num", 0, out);
        put_stat("time_in_listen_disabled_us", 0, out);
        put_stat("threads", self.threads, out);
        put_stat("bytes", self.bytes, out);
        put_stat("curr_items", self.curr_items, out);
        put_stat("total_items", self.total_items, out);
        put_stat("evictions", self.evictions, out);
        put_stat("reclaimed", self.reclaimed, out);
        // Nothing in a least recently used list is ever locked.
        put_stat("lrutail_reflocked", 0, out);
        out.put_slice(END);
    }
}

fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// What `stats settings` tells of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the settings, which memcached documents")]
pub struct Settings<'a> {
    pub maxbytes: u64,
    pub maxconns: u64,
    pub tcpport: u16,
    /// The address that it listens on.
    pub inter: &'a str,
    pub num_threads: u64,
    pub item_size_max: u64,
    /// Whether `stats detail` is on.
    pub detail_enabled: bool,
    pub flush_enabled: bool,
}

impl Settings<'_> {
    /// Writes the whole answer to `stats settings`.
    pub fn render(&self, out: &mut impl BufMut) {
        let yes = |holds| if holds { "yes" } else { "no" };
        put_stat("maxbytes", self.maxbytes, out);
        put_stat("maxconns", self.maxconns, out);
        put_stat("tcpport", self.tcpport, out);
        put_stat("udpport", 0, out);
        put_stat("inter", self.inter, out);
        put_stat("verbosity", 0, out);
        put_stat("evictions", "on", out);
        put_stat("domain_socket", "NULL", out);
        put_stat("shutdown_command", "no", out);
        put_stat("num_threads", self.num_threads, out);
        put_stat("stat_key_prefix", char::from(PREFIX_END), out);
        put_stat("detail_enabled", yes(self.detail_enabled), out);
        put_stat("cas_enabled", "yes", out);
        put_stat("auth_enabled_sasl", "no", out);
        put_stat("auth_enabled_ascii", "no", out);
        put_stat("item_size_max", self.item_size_max, out);
        put_stat("slab_reassign", "no", out);
        put_stat("lru_crawler", "no", out);
        put_stat("flush_enabled", yes(self.flush_enabled), out);
        put_stat("ssl_enabled", "no", out);
        out.put_slice(END);
    }
}
