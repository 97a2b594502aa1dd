//! The home inside the process: for `annulus dev`, for a replica that refreshes for itself, and for tests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use super::notice::CHANNEL_SIZE;
use super::{
    Claim, Confirmed, FencedState, FencedStore, Head, Heard, Known, Notice, Publication, Published,
    StoreError, Writer,
};
use crate::registry::SteadyClock;

/// A home inside the process. A clone is another handle on the same one.
#[derive(Clone)]
pub struct MemoryStore {
    clock: SteadyClock,
    state: Arc<Mutex<FencedState>>,
    notices: broadcast::Sender<Notice>,
}

impl MemoryStore {
    /// An empty one. `clock` tells milliseconds since the Unix epoch.
    pub fn new(clock: SteadyClock) -> Self {
        Self { clock, state: Arc::default(), notices: broadcast::Sender::new(CHANNEL_SIZE) }
    }

    /// Forgets everything, as a home does that keeps nothing on disk and starts again.
    pub fn wipe(&self) {
        self.swap(FencedState::default());
    }

    /// Goes back, or forward, to another state, as a fail-over does; returns the one before.
    pub fn swap(&self, state: FencedState) -> FencedState {
        std::mem::replace(&mut self.state.lock(), state)
    }

    /// What it holds now.
    pub fn snapshot(&self) -> FencedState {
        self.state.lock().clone()
    }

    fn with<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut FencedState, u64) -> T,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let answer = change(&mut self.state.lock(), (self.clock)());
        Box::pin(std::future::ready(Ok(answer)))
    }
}

impl FencedStore for MemoryStore {
    fn acquire<'a>(
        &'a self,
        id: &'a str,
        known_token: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.with(|state, now_ms| state.acquire(now_ms, id, known_token, ttl))
    }

    fn renew<'a>(&'a self, writer: Writer<'a>, ttl: Duration) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with(|state, now_ms| state.renew(now_ms, writer, ttl))
    }

    fn release<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.with(|state, _| state.release(id))
    }

    fn publish<'a>(
        &'a self,
        writer: Writer<'a>,
        publication: Publication<'a>,
    ) -> BoxFuture<'a, Result<Published, StoreError>> {
        self.with(|state, now_ms| {
            let published = state.publish(now_ms, writer, &publication);
            if let Published::As { revision, at_ms } = published {
                let dataset = publication.dataset.to_owned();
                // Nobody may be listening.
                let _ = self.notices.send(Notice { dataset, revision, at_seconds: at_ms / 1000 });
            }
            published
        })
    }

    fn confirm<'a>(
        &'a self,
        writer: Writer<'a>,
        dataset: &'a str,
        revision: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Confirmed, StoreError>> {
        self.with(|state, now_ms| state.confirm(now_ms, writer, dataset, revision, ttl))
    }

    fn mark_cached<'a>(
        &'a self,
        writer: Writer<'a>,
        dataset: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.with(|state, now_ms| state.mark_cached(now_ms, writer, dataset, revision))
    }

    fn head<'a>(&'a self, dataset: &'a str, known: Known) -> BoxFuture<'a, Result<Head, StoreError>> {
        self.with(|state, now_ms| state.head(now_ms, dataset, known))
    }

    fn read<'a>(
        &'a self,
        dataset: &'a str,
        revision: u64,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        self.with(|state, now_ms| state.read(now_ms, dataset, revision, from, length))
    }

    fn listen(&self, datasets: &[String]) -> mpsc::Receiver<Heard> {
        let (sender, receiver) = mpsc::channel(CHANNEL_SIZE);
        let mut notices = self.notices.subscribe();
        let datasets = datasets.to_vec();
        tokio::spawn(async move {
            let mut heard = Heard::Listening;
            loop {
                tokio::select! {
                    sent = sender.send(heard) => if sent.is_err() { return },
                    () = sender.closed() => return,
                }
                heard = loop {
                    tokio::select! {
                        () = sender.closed() => return,
                        notice = notices.recv() => match notice {
                            Ok(notice) if datasets.contains(&notice.dataset) => break Heard::Published(notice),
                            Ok(_) => {}
                            Err(broadcast::error::RecvError::Lagged(_)) => break Heard::Listening,
                            Err(broadcast::error::RecvError::Closed) => return,
                        },
                    }
                };
            }
        });
        receiver
    }

    fn is_connected(&self) -> bool {
        true
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}
