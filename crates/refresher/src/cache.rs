//! Writes entries into the cache, through a master: in batches, as long as this replica leads.

use annulus_client::{Client, RawBulkItem, SetOptions};
use annulus_protocol::dataset::Snapshot;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::value::RawValue;

use crate::datasets::DatasetNode;
use crate::metrics::Written;

/// Items and bytes of one request, and requests at once.
const BATCH_ITEMS: usize = 500;
const BATCH_BYTES: usize = 256 << 10;
const REQUESTS: usize = 4;
/// Deletes at once: there is no route for many.
const DELETES: usize = 16;

/// Why the cache has not all entries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CacheError {
    /// A master did not take some.
    #[error("the cache did not take all entries: {0}")]
    NotTaken(String),
    /// Another leads, who writes them.
    #[error("this replica leads no more")]
    Deposed,
}

/// Writes the entries of one dataset.
pub(crate) struct EntryWriter<'a> {
    pub(crate) client: &'a Client,
    pub(crate) dataset: &'a DatasetNode,
    /// Asked before each request.
    pub(crate) may_write: &'a (dyn Fn() -> bool + Sync),
}

impl EntryWriter<'_> {
    /// Stores all entries of `snapshot`, or those that are not the same in `before`, and deletes those that it notes as
    /// removed.
    pub(crate) async fn write(
        &self,
        snapshot: &Snapshot,
        before: Option<&Snapshot>,
    ) -> Result<(), CacheError> {
        if !snapshot.is_split() {
            let is_new = before.is_none_or(|before| before.body() != snapshot.body());
            return if is_new { self.store_whole(snapshot).await } else { Ok(()) };
        }
        let changed = |(name, value): &(&str, bytes::Bytes)| {
            before.is_none_or(|before| before.get(name).as_ref() != Some(value))
        };
        let mut batches = Batches { items: snapshot.iter().filter(changed).peekable() };
        let mut stores = FuturesUnordered::new();
        loop {
            while stores.len() < REQUESTS
                && let Some(batch) = batches.next()
            {
                stores.push(self.store(batch));
            }
            let Some(done) = stores.next().await else { break };
            done?;
        }
        let mut removed = snapshot.removed().map(str::to_owned);
        let mut deletes = FuturesUnordered::new();
        loop {
            while deletes.len() < DELETES
                && let Some(name) = removed.next()
            {
                deletes.push(self.delete(name));
            }
            let Some(done) = deletes.next().await else { return Ok(()) };
            done?;
        }
    }

    async fn store(&self, batch: Vec<(String, bytes::Bytes)>) -> Result<(), CacheError> {
        self.check()?;
        let ttl_seconds = Some(self.ttl_seconds());
        let keys: Vec<String> = batch.iter().map(|(name, _)| self.dataset.rule.key(name)).collect();
        let mut items = Vec::with_capacity(batch.len());
        for (key, (_, value)) in keys.iter().zip(&batch) {
            let value: &RawValue =
                serde_json::from_slice(value).map_err(|e| CacheError::NotTaken(e.to_string()))?;
            items.push(RawBulkItem { key, value, ttl_seconds });
        }
        let stored = self.client.bulk_set_raw(&items).await.map_err(|error| {
            self.count(Written::Failed, items.len());
            CacheError::NotTaken(error.to_string())
        })?;
        self.count(Written::Stored, stored.stored.len());
        self.count(Written::Failed, stored.failed.len());
        match stored.failed.first() {
            Some(failure) => Err(CacheError::NotTaken(format!("{}: {}", failure.key, failure.error.detail))),
            None => Ok(()),
        }
    }

    async fn store_whole(&self, snapshot: &Snapshot) -> Result<(), CacheError> {
        self.check()?;
        let options = SetOptions {
            content_type: Some(snapshot.content_type().to_owned()),
            ttl_seconds: Some(self.ttl_seconds()),
            ..SetOptions::default()
        };
        let stored = self.client.set(self.dataset.rule.key(""), snapshot.body(), &options).await;
        self.count(if stored.is_ok() { Written::Stored } else { Written::Failed }, 1);
        stored.map(drop).map_err(|error| CacheError::NotTaken(error.to_string()))
    }

    async fn delete(&self, name: String) -> Result<(), CacheError> {
        self.check()?;
        let deleted = self.client.delete(self.dataset.rule.key(&name)).await;
        self.count(if deleted.is_ok() { Written::Deleted } else { Written::Failed }, 1);
        deleted.map(drop).map_err(|error| CacheError::NotTaken(error.to_string()))
    }

    fn check(&self) -> Result<(), CacheError> {
        if (self.may_write)() { Ok(()) } else { Err(CacheError::Deposed) }
    }

    fn ttl_seconds(&self) -> u64 {
        self.dataset.settings.ttl.as_secs().max(1)
    }

    fn count(&self, what: Written, count: usize) {
        self.dataset.metrics.written(what, count);
    }
}

/// Items in batches that one request may have.
struct Batches<'a, I: Iterator<Item = (&'a str, bytes::Bytes)>> {
    items: std::iter::Peekable<I>,
}

impl<'a, I: Iterator<Item = (&'a str, bytes::Bytes)>> Iterator for Batches<'a, I> {
    type Item = Vec<(String, bytes::Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some((name, value)) = self.items.peek() {
            bytes += name.len() + value.len();
            if !batch.is_empty() && (bytes > BATCH_BYTES || batch.len() == BATCH_ITEMS) {
                break;
            }
            batch.push(((*name).to_owned(), value.clone()));
            self.items.next();
        }
        (!batch.is_empty()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_in_items_and_in_bytes_and_hold_everything() {
        let large = bytes::Bytes::from(vec![b'1'; BATCH_BYTES]);
        let items = (0..1200).map(|n| ("small", bytes::Bytes::from(n.to_string())));
        let items = items.chain([("large", large.clone()), ("large", large)]);
        let sizes: Vec<usize> = Batches { items: items.peekable() }.map(|batch| batch.len()).collect();
        assert_eq!(sizes, [500, 500, 200, 1, 1]);
    }
}
