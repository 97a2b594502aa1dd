//! Entries as items.

use annulus_protocol::memcached::{Item, Marks};
use annulus_store::{Entry, Found};

/// The CAS unique of an entry.
pub(super) fn cas(entry: &Entry) -> u64 {
    Marks(entry.marks()).cas(entry.version(), entry.origin())
}

/// The item that is there, if one is.
pub(super) fn item<'v>(found: &Found<'v>, now_ms: u64) -> Option<Item<'v>> {
    let entry = found.hit()?;
    let last_use = found.last_use();
    Some(Item {
        value: entry.value(),
        flags: entry.flags(),
        cas: cas(entry),
        ttl_ms: entry.deadline_ms().map(|deadline| deadline.saturating_sub(now_ms)),
        marks: Marks(entry.marks()),
        fetched: last_use.fetched(),
        idle_s: last_use.idle_s(),
        memory_bytes: entry.memory_bytes(),
    })
}
