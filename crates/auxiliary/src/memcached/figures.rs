//! What concerns all keys, and what the node tells of itself.

use std::sync::atomic::Ordering;

use annulus_protocol::memcached::stats::{self, Figures, RESET, SIZES, Settings, VERSION, put_stat};
use annulus_protocol::memcached::{END, Exptime, Marks, Now, Topic, Ttl};
use annulus_store::ScanCursor;

use super::Front;
use super::tallies::Totals;
use crate::Node;

/// What `stats cachedump` gives out at most, in bytes, as memcached does.
const DUMP_BYTES: usize = 2 << 20;

/// Entries that a dump looks at in one step, and steps at most.
const DUMP_BATCH: usize = 256;
const DUMP_STEPS: usize = 4096;

/// Forgets everything, now or later. A later order replaces one that is still to come.
pub(super) fn flush_all(node: &Node, at: Exptime, now: Now) {
    let front = &node.memcached;
    match at.ttl(now) {
        Ttl::Ms(left) => front.flush_at_ms.store(now.unix_ms.saturating_add(left), Ordering::Release),
        Ttl::Never | Ttl::Over => {
            front.flush_at_ms.store(0, Ordering::Release);
            front.flush(node, now.unix_ms);
        }
    }
}

/// Answers `stats`.
pub(super) fn stats(node: &Node, topic: Topic, now: Now, out: &mut Vec<u8>) {
    let front = &node.memcached;
    match topic {
        Topic::General => general(node, now, out),
        Topic::Settings => settings(node, out),
        Topic::Items => items(node, out),
        Topic::Slabs => slabs(node, out),
        Topic::Sizes => out.extend_from_slice(SIZES),
        Topic::Connections => out.extend_from_slice(END),
        Topic::Reset => {
            *front.zero.lock() = front.counted(node);
            front.prefixes.reset();
            out.extend_from_slice(RESET);
        }
        Topic::CacheDump { limit } => dump(node, limit, now, out),
        Topic::Detail(detail) => front.prefixes.answer(detail, out),
    }
}

fn general(node: &Node, now: Now, out: &mut Vec<u8>) {
    let front = &node.memcached;
    let (store, totals) = (node.copies.stats(), front.counted(node).since(&front.zero.lock()));
    let (rusage_user_us, rusage_system_us) = annulus_service::process::processor_time_us();
    let figures = Figures {
        pid: std::process::id(),
        uptime_s: (now.unix_ms - node.started_ms) / 1000,
        time_unix_s: now.unix_ms / 1000,
        version: VERSION,
        rusage_user_us,
        rusage_system_us,
        max_connections: front.limits.connections as u64,
        curr_connections: front.connections.load(Ordering::Relaxed),
        total_connections: totals.connections,
        rejected_connections: totals.refused,
        bytes_read: totals.bytes_read,
        bytes_written: totals.bytes_written,
        limit_maxbytes: store.max_bytes as u64,
        threads: front.limits.threads as u64,
        bytes: store.bytes as u64,
        curr_items: store.items as u64,
        total_items: totals.stored,
        evictions: totals.evicted,
        reclaimed: totals.expired,
    };
    figures.render(&totals.counts, out);
}

fn settings(node: &Node, out: &mut Vec<u8>) {
    let front = &node.memcached;
    let settings = stats::Settings {
        maxbytes: node.copies.stats().max_bytes as u64,
        maxconns: front.limits.connections as u64,
        tcpport: front.limits.port.load(Ordering::Relaxed) as u16,
        inter: &front.limits.host,
        num_threads: front.limits.threads as u64,
        item_size_max: node.max_value_bytes as u64,
        detail_enabled: front.prefixes.is_on(),
        flush_enabled: true,
    };
    Settings::render(&settings, out);
}

/// There is one class of items, whatever their size, and only where there are any.
fn items(node: &Node, out: &mut Vec<u8>) {
    let (store, totals) = (node.copies.stats(), node.memcached.counted(node));
    if store.items > 0 {
        put_stat("items:1:number", store.items, out);
        put_stat("items:1:evicted", totals.evicted, out);
        put_stat("items:1:expired_unfetched", 0, out);
        put_stat("items:1:reclaimed", totals.expired, out);
    }
    out.extend_from_slice(END);
}

fn slabs(node: &Node, out: &mut Vec<u8>) {
    let store = node.copies.stats();
    if store.items > 0 {
        put_stat("1:used_chunks", store.items, out);
        put_stat("1:mem_requested", store.bytes, out);
    }
    put_stat("active_slabs", u8::from(store.items > 0), out);
    put_stat("total_malloced", store.bytes, out);
    out.extend_from_slice(END);
}

/// Names some items. It is bounded by the bytes of the answer, and by what it looks at.
fn dump(node: &Node, limit: u32, now: Now, out: &mut Vec<u8>) {
    let (mut cursor, mut left) = (ScanCursor::default(), if limit == 0 { u32::MAX } else { limit });
    let end = out.len() + DUMP_BYTES;
    for _ in 0..DUMP_STEPS {
        let Some(entries) = node.copies.store().scan(&mut cursor, DUMP_BATCH, now.unix_ms) else { break };
        for entry in entries.iter().filter(|entry| !entry.is_tombstone()) {
            if left == 0 || out.len() > end {
                return out.extend_from_slice(END);
            }
            left -= 1;
            let expires_unix_s = entry.deadline_ms().unwrap_or_default() / 1000;
            let binary = Marks(entry.marks()).has(Marks::BINARY_KEY);
            stats::put_dumped_item(entry.key(), binary, entry.value().len(), expires_unix_s, out);
        }
    }
    out.extend_from_slice(END);
}

impl Front {
    /// All counters since the node started.
    fn counted(&self, node: &Node) -> Totals {
        let store = node.copies.stats();
        Totals {
            evicted: store.evicted_for_bytes + store.evicted_for_items,
            expired: store.expired,
            connections: self.connections_ever.load(Ordering::Relaxed),
            refused: self.refused.get(),
            ..self.tallies.totals()
        }
    }
}
