//! What memcached's semantics say of an item, as a write to the store.

use annulus_protocol::memcached::{Change, NewItem, NewValue, Now, Outcome, Update};
use annulus_store::{Change as StoreChange, Decision, Entry, Found, ValueFrom, Write};

use super::item::{cas, item};

/// What becomes of the entry that was found. `version_above` makes a version above a known one.
pub(super) fn decide<'a>(
    update: &Update<'a>,
    found: Found<'_>,
    now: Now,
    scratch: &mut Vec<u8>,
    version_above: impl FnOnce(u64) -> u64,
) -> Decision<'a> {
    let item = item(&found, now.unix_ms);
    let verdict = update.apply(item.as_ref(), now);
    let deadline = |ttl_ms: Option<u64>| ttl_ms.map(|ttl| now.unix_ms.saturating_add(ttl));
    match (verdict.change, found.hit()) {
        (Change::Keep, _) if verdict.used => Decision::Read,
        (Change::Keep, _) | (Change::Delete | Change::Refresh { .. }, None) => Decision::Keep,
        (Change::Delete, Some(_)) => Write::tombstone(version_above(found.version())).into(),
        (Change::Refresh { ttl_ms, marks }, Some(entry)) => {
            let write = Write {
                flags: entry.flags(),
                deadline_ms: deadline(ttl_ms),
                origin: Some(cas(entry)),
                marks: marks.with_cas(Some(cas(entry))).0,
                ..Write::tombstone(version_above(found.version()))
            };
            let fetched = verdict.used || found.last_use().fetched();
            Decision::Write(StoreChange { write, value: ValueFrom::Entry, keeps_type: true, fetched })
        }
        (Change::Write(new), entry) => {
            let write = Write {
                flags: new.flags,
                deadline_ms: deadline(new.ttl_ms),
                origin: new.cas,
                marks: new.marks.with_cas(new.cas).0,
                ..Write::tombstone(version_above(found.version()))
            };
            Decision::Write(with_value(update, &new, write, entry, scratch))
        }
    }
}

/// The write with its value: from the request where it is there as a whole, else put together.
fn with_value<'a>(
    update: &Update<'a>,
    new: &NewItem<'_>,
    write: Write<'a>,
    entry: Option<&Entry>,
    scratch: &mut Vec<u8>,
) -> StoreChange<'a> {
    let (fetched, keeps_type) = (new.fetched, true);
    match (update, new.value) {
        // A new value is octets, whatever was there.
        (Update::Store(store), _) => {
            let write = Write { value: Some(store.value), ..write };
            StoreChange { write, value: ValueFrom::Write, keeps_type: false, fetched }
        }
        (_, NewValue::Same) => StoreChange { write, value: ValueFrom::Entry, keeps_type, fetched },
        (_, value) => {
            scratch.clear();
            value.append_to(entry.map(Entry::value).unwrap_or_default(), scratch);
            StoreChange { write, value: ValueFrom::Scratch, keeps_type, fetched }
        }
    }
}

/// What is to be said once the store has done what [`decide`] said.
pub(super) fn outcome<'v>(
    update: &Update<'v>,
    before: Found<'v>,
    written: Option<u64>,
    now: Now,
) -> Outcome<'v> {
    let item = item(&before, now.unix_ms);
    let verdict = update.apply(item.as_ref(), now);
    match (verdict.change, written) {
        (Change::Write(new), Some(version)) => verdict.outcome.written(new.cas.unwrap_or(version)),
        _ => verdict.outcome,
    }
}
