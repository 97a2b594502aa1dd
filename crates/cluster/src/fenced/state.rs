//! What a home does, as a plain structure: the one in memory, and the model for the one in Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::{Claim, Confirmed, Head, Known, Publication, Published, Writer};

/// A lease and datasets. Times are milliseconds since the Unix epoch; a clock that goes back ends no lease early and lets no
/// number fall.
#[derive(Clone, Debug, Default)]
pub struct FencedState {
    lease: Option<Holder>,
    token: u64,
    datasets: BTreeMap<String, Stored>,
}

#[derive(Clone, Debug)]
struct Holder {
    id: String,
    ends_ms: u64,
}

#[derive(Clone, Debug, Default)]
struct Stored {
    head: Head,
    data: Bytes,
    ends_ms: u64,
}

impl FencedState {
    /// See [`FencedStore::acquire`](super::FencedStore::acquire).
    pub fn acquire(&mut self, now_ms: u64, id: &str, known_token: u64, ttl: Duration) -> Claim {
        if let Some(holder) = self.holder(now_ms)
            && holder.id != id
        {
            return Claim::Held { left: Duration::from_millis(holder.ends_ms - now_ms) };
        }
        self.token = (self.token.max(known_token) + 1).max(now_ms);
        self.lease = Some(Holder { id: id.to_owned(), ends_ms: now_ms + ttl.as_millis() as u64 });
        Claim::Granted { token: self.token }
    }

    /// See [`FencedStore::renew`](super::FencedStore::renew).
    pub fn renew(&mut self, now_ms: u64, writer: Writer<'_>, ttl: Duration) -> bool {
        let holds = self.holds(now_ms, writer);
        if let Some(lease) = self.lease.as_mut().filter(|_| holds) {
            lease.ends_ms = now_ms + ttl.as_millis() as u64;
        }
        holds
    }

    /// See [`FencedStore::release`](super::FencedStore::release).
    pub fn release(&mut self, id: &str) {
        self.lease.take_if(|holder| holder.id == id);
    }

    /// See [`FencedStore::publish`](super::FencedStore::publish).
    pub fn publish(&mut self, now_ms: u64, writer: Writer<'_>, publication: &Publication<'_>) -> Published {
        if !self.holds(now_ms, writer) {
            return Published::Refused;
        }
        let data = joined(&publication.data);
        let stored = self.datasets.entry(publication.dataset.to_owned()).or_default();
        let below = stored.head.known.revision.max(stored.head.floor).max(publication.above);
        let revision = (below + 1).max(now_ms);
        stored.head = Head {
            known: Known { revision, token: writer.token },
            floor: revision,
            bytes: data.len() as u64,
            updated_ms: now_ms,
            checked_ms: now_ms,
            cached: stored.head.cached,
            note: publication.note.to_owned(),
            now_ms: 0,
        };
        stored.data = data;
        stored.ends_ms = now_ms + publication.ttl.as_millis() as u64;
        Published::As { revision, at_ms: now_ms }
    }

    /// See [`FencedStore::confirm`](super::FencedStore::confirm).
    pub fn confirm(
        &mut self,
        now_ms: u64,
        writer: Writer<'_>,
        dataset: &str,
        revision: u64,
        ttl: Duration,
    ) -> Confirmed {
        if !self.holds(now_ms, writer) {
            return Confirmed::Refused;
        }
        self.forget(now_ms, dataset);
        let Some(stored) = self.datasets.get_mut(dataset) else { return Confirmed::Lost };
        if stored.head.known.revision != revision || stored.head.has_lost_something() {
            return Confirmed::Lost;
        }
        stored.head.checked_ms = now_ms;
        stored.ends_ms = now_ms + ttl.as_millis() as u64;
        Confirmed::Done
    }

    /// See [`FencedStore::mark_cached`](super::FencedStore::mark_cached).
    pub fn mark_cached(&mut self, now_ms: u64, writer: Writer<'_>, dataset: &str, revision: u64) -> bool {
        let holds = self.holds(now_ms, writer);
        if let Some(stored) = self.datasets.get_mut(dataset).filter(|_| holds) {
            stored.head.cached = revision;
        }
        holds
    }

    /// See [`FencedStore::head`](super::FencedStore::head).
    pub fn head(&mut self, now_ms: u64, dataset: &str, known: Known) -> Head {
        self.forget(now_ms, dataset);
        if known.revision == 0 && !self.datasets.contains_key(dataset) {
            return Head { now_ms, ..Head::default() };
        }
        let head = &mut self.datasets.entry(dataset.to_owned()).or_default().head;
        let is_of_another_line = known.revision == head.known.revision && known.token != head.known.token;
        if known.revision > head.known.revision {
            head.floor = head.floor.max(known.revision);
        } else if is_of_another_line {
            // Two terms that never knew of each other published under one number: a higher one tells them apart.
            head.floor = head.floor.max(known.revision + 1);
        }
        Head { now_ms, ..head.clone() }
    }

    /// See [`FencedStore::read`](super::FencedStore::read).
    pub fn read(
        &mut self,
        now_ms: u64,
        dataset: &str,
        revision: u64,
        from: u64,
        length: u64,
    ) -> Option<Bytes> {
        self.forget(now_ms, dataset);
        let stored = self.datasets.get(dataset)?;
        if stored.head.known.revision != revision || stored.head.bytes == 0 {
            return None;
        }
        let end = stored.data.len().min((from + length) as usize);
        Some(stored.data.slice((from as usize).min(end)..end))
    }

    /// Who may write: the holder of the lease, in its newest term.
    pub fn writer(&self, now_ms: u64) -> Option<Writer<'_>> {
        self.holder(now_ms).map(|holder| Writer { id: &holder.id, token: self.token })
    }

    fn holder(&self, now_ms: u64) -> Option<&Holder> {
        self.lease.as_ref().filter(|holder| holder.ends_ms > now_ms)
    }

    fn holds(&self, now_ms: u64, writer: Writer<'_>) -> bool {
        self.writer(now_ms) == Some(writer)
    }

    /// Data whose time is over goes; what is known of it stays.
    fn forget(&mut self, now_ms: u64, dataset: &str) {
        if let Some(stored) = self.datasets.get_mut(dataset).filter(|stored| stored.ends_ms <= now_ms) {
            stored.data = Bytes::new();
            stored.head.bytes = 0;
        }
    }
}

/// Data as one run of bytes: it is copied only where it comes in pieces.
fn joined(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [whole] => whole.clone(),
        pieces => pieces.concat().into(),
    }
}
