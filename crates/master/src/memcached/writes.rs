//! Writes of one key.

use annulus_protocol::hop::Look;
use annulus_protocol::memcached::{Change as Becomes, NewItem, NewValue, Now, Outcome, Store, Update};
use annulus_protocol::value::{Content, StoredValue};
use annulus_protocol::{Key, Problem};
use bytes::Bytes;

use super::item::{Said, change, item, removal};
use crate::coordinator::{Change, Context, Decision};
use crate::routes::At;

/// Stores a value over whatever is there. A value whose time is over already removes what is there.
pub(super) async fn store(at: &At, key: &Key, store: &Store<'_>, bytes: Bytes, context: &Context) -> Said {
    let stored = Outcome::Stored { cas: 0, value_bytes: bytes.len() };
    let ttl = store.exptime.ttl(now(at));
    let change = if ttl.is_over() { removal() } else { change(store, bytes, ttl.left_ms()) };
    match at.in_time(context, at.node.write(key, &change, context)).await {
        Ok(written) => Said::plain(stored).with_cas(change.cas).written(written.version),
        Err(problem) => Said::failed(&problem),
    }
}

/// Removes a key.
pub(super) async fn delete(at: &At, key: &Key, context: &Context) -> Said {
    match at.in_time(context, at.node.write(key, &removal(), context)).await {
        Ok(written) if written.replaced => Said::plain(Outcome::Deleted),
        Ok(_) => Said::plain(Outcome::NotFound),
        Err(problem) => Said::failed(&problem),
    }
}

/// Does what depends on what is there.
pub(super) async fn update(at: &At, key: &Key, update: &Update<'_>, context: &Context) -> Said {
    let now = now(at);
    let decide = |current: Option<&StoredValue>| decide(update, current, now);
    let reads = matches!(update, Update::Get { bump: true, .. });
    let context = &Context { look: if reads { Look::ShowsUse } else { Look::Aside }, ..*context };
    match at.in_time(context, at.node.update(key, context, decide)).await {
        Ok((said, Some(written))) => said.written(written.version),
        Ok((said, None)) => said,
        Err(problem) if problem.code == annulus_protocol::ErrorCode::TooLarge => {
            Said::plain(update.too_large())
        }
        Err(problem) => Said::failed(&problem),
    }
}

fn decide(update: &Update<'_>, current: Option<&StoredValue>, now: Now) -> (Decision, Said) {
    let item = current.map(item);
    let verdict = update.apply(item.as_ref(), now);
    let change = match (verdict.change, current) {
        (Becomes::Keep, _) | (Becomes::Delete | Becomes::Refresh { .. }, None) => None,
        (Becomes::Delete, Some(_)) => Some(removal()),
        // It stays the same item, so it keeps its unique.
        (Becomes::Refresh { ttl_ms, marks }, Some(stored)) => {
            let cas = item.map(|item| item.cas);
            let (value, marks) = (Some(stored.content.clone()), marks.with_cas(cas).0);
            let fetched = verdict.used || stored.used.before;
            Some(Change { value, ttl_left_ms: ttl_ms, flags: stored.flags, marks, cas, fetched })
        }
        (Becomes::Write(new), current) => Some(rewritten(&new, current)),
    };
    let shown = current.map(|stored| stored.content.bytes.clone()).unwrap_or_default();
    let cas = change.as_ref().and_then(|change| change.cas);
    let said = Said::new(verdict.outcome, shown).with_cas(cas);
    (change.map_or(Decision::Keep, Decision::Write), said)
}

fn rewritten(new: &NewItem<'_>, current: Option<&StoredValue>) -> Change {
    let shown = current.map(|stored| stored.content.bytes.clone()).unwrap_or_default();
    let bytes = match new.value {
        NewValue::Same => shown,
        other => {
            let mut bytes = Vec::with_capacity(other.len());
            other.append_to(&shown, &mut bytes);
            bytes.into()
        }
    };
    Change {
        value: Some(Content { bytes, ..kept_type(current) }),
        ttl_left_ms: new.ttl_ms,
        flags: new.flags,
        marks: new.marks.with_cas(new.cas).0,
        cas: new.cas,
        fetched: new.fetched,
    }
}

/// A value that is changed keeps its content type.
fn kept_type(current: Option<&StoredValue>) -> Content {
    match current {
        Some(stored) => Content { content_type: stored.content.content_type.clone(), bytes: Bytes::new() },
        None => Content { content_type: annulus_protocol::value::OCTET_STREAM.into(), bytes: Bytes::new() },
    }
}

/// The time by this master's clock.
pub(super) fn now(at: &At) -> Now {
    Now { unix_ms: at.clock.now_ms() }
}

/// For a key that was asked for and of which nothing came.
pub(super) fn no_answer() -> Problem {
    Problem::new(annulus_protocol::ErrorCode::Unavailable, "no answer")
}

/// Reports a key that is none; the parser lets none through.
pub(super) fn key(bytes: &[u8]) -> Result<Key, Problem> {
    Ok(Key::new(Bytes::copy_from_slice(bytes))?)
}
