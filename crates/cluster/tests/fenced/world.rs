//! What the suite runs on.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::fenced::{Claim, FencedStore, MemoryStore, Publication, Published, RedisStore, Writer};
use annulus_cluster::{RedisSettings, StoreError};
use bytes::Bytes;
use tokio::time::Instant;

use crate::server::RedisServer;

/// Long enough that no lease ends while a test runs, unless it is freed.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// Far more than anything takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A home of some kind, as many replicas share it.
pub(crate) trait World {
    type Store: FencedStore;

    /// What one replica has of it.
    fn store(&self) -> Self::Store;

    /// Everything in it is lost.
    async fn wipe(&self);
}

pub(crate) struct Memory(MemoryStore);

impl Memory {
    pub(crate) async fn start() -> Self {
        let start = Instant::now();
        Self(MemoryStore::new(Arc::new(move || 1_700_000_000_000 + start.elapsed().as_millis() as u64)))
    }
}

impl World for Memory {
    type Store = MemoryStore;

    fn store(&self) -> MemoryStore {
        self.0.clone()
    }

    async fn wipe(&self) {
        self.0.wipe();
    }
}

pub(crate) struct Redis(pub(crate) RedisServer);

impl Redis {
    pub(crate) async fn start() -> Self {
        Self(RedisServer::start().await)
    }
}

impl World for Redis {
    type Store = RedisStore;

    fn store(&self) -> RedisStore {
        RedisStore::new(&RedisSettings::new(self.0.address()), 3).unwrap()
    }

    async fn wipe(&self) {
        self.0.ask::<()>("FLUSHALL").await.unwrap();
    }
}

/// Takes the lease, which must be free or its own, and returns the token.
pub(crate) async fn lead(store: &impl FencedStore, id: &str) -> u64 {
    match store.acquire(id, 0, LONG).await.unwrap() {
        Claim::Granted { token } => token,
        held @ Claim::Held { .. } => panic!("{id} does not get the lease: {held:?}"),
    }
}

pub(crate) fn publication(data: &'static str) -> Publication<'static> {
    Publication {
        dataset: "rates",
        data: vec![Bytes::from_static(data.as_bytes())],
        note: "note",
        ttl: LONG,
        above: 0,
    }
}

/// Bytes of which no two runs of a few thousand are the same.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at >> 12) as u8).collect()
}

/// Data in pieces, as a leader has it: the body, and what is behind it.
pub(crate) fn cut(data: &[u8]) -> Vec<Bytes> {
    let (body, index) = data.split_at(data.len() / 3 * 2);
    vec![Bytes::copy_from_slice(body), Bytes::copy_from_slice(index)]
}

/// Publishes, which must work, and returns the revision.
pub(crate) async fn publish(store: &impl FencedStore, writer: Writer<'_>, data: &'static str) -> u64 {
    match store.publish(writer, publication(data)).await.unwrap() {
        Published::As { revision, .. } => revision,
        Published::Refused => panic!("{writer:?} is refused"),
    }
}

/// All the data of a revision, as replicas read it.
pub(crate) async fn read(store: &impl FencedStore, revision: u64) -> Result<Option<Bytes>, StoreError> {
    store.read("rates", revision, 0, 1 << 20).await
}

pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
