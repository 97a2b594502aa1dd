//! Stores every key once, before the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::try_join_all;

use crate::BenchError;
use crate::protocol::Connection;
use crate::source::Source;
use crate::worker::{BACK_OFF, Worker};

/// A key is tried so often before the run is given up.
const ATTEMPTS: u32 = 5;

/// Spreads the keys over all workers and returns them, connected. Advances `stored` key by key.
pub(crate) async fn preload<C: Connection>(
    workers: Vec<Worker<C>>,
    keys: u32,
    stored: &Arc<AtomicU32>,
) -> Result<Vec<Worker<C>>, BenchError> {
    let next = Arc::new(AtomicU32::new(0));
    let tasks = workers.into_iter().map(|worker| {
        let (next, stored) = (next.clone(), stored.clone());
        let task = AbortOnDrop(tokio::spawn(share(worker, keys, next, stored)));
        async move {
            let mut task = task;
            (&mut task.0).await.expect("a preloading task does not panic")
        }
    });
    try_join_all(tasks).await
}

/// Ends the task when the run is interrupted.
struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn share<C: Connection>(
    mut worker: Worker<C>,
    keys: u32,
    next: Arc<AtomicU32>,
    stored: Arc<AtomicU32>,
) -> Result<Worker<C>, BenchError> {
    let mut name = String::new();
    loop {
        let key = next.fetch_add(1, Ordering::Relaxed);
        if key >= keys {
            return Ok(worker);
        }
        worker.shared.keys.name_into(key, &mut name);
        let mut attempt = 1;
        loop {
            let size = match &mut worker.source {
                Source::Synthetic(synthetic) => synthetic.size(),
                Source::Replay(_) => 0,
            };
            let Some(failure) = worker.store(key, &name, size, false).await.failure else { break };
            if attempt == ATTEMPTS {
                let reason = format!("{} {}", failure.kind, failure.detail);
                return Err(BenchError::Preload { key: name.escape_debug().to_string(), reason });
            }
            attempt += 1;
            tokio::time::sleep(BACK_OFF).await;
        }
        stored.fetch_add(1, Ordering::Relaxed);
    }
}
