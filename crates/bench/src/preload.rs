//! Stores every key once, before the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::try_join_all;

use crate::BenchError;
use crate::clock;
use crate::protocol::{Connection, Operation};
use crate::source::{Job, Source};
use crate::worker::{BACK_OFF, Worker};

/// A key is tried so often before the run is given up.
const ATTEMPTS: u32 = 5;

/// Spreads the keys over all workers and returns them, connected. Advances `stored` batch by batch.
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
    let size = worker.shared.pipeline as u32;
    loop {
        // Adding what is added for keys that are not there must not wrap.
        let taken = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |from| {
            (from < keys).then(|| from.saturating_add(size).min(keys))
        });
        let Ok(from) = taken else { return Ok(worker) };
        let mut left: Vec<u32> = (from..from.saturating_add(size).min(keys)).collect();
        let count = left.len() as u32;
        let mut attempt = 1;
        while let Some(failure) = store(&mut worker, &mut left).await {
            if attempt == ATTEMPTS {
                return Err(failure);
            }
            attempt += 1;
            tokio::time::sleep(BACK_OFF).await;
        }
        stored.fetch_add(count, Ordering::Relaxed);
    }
}

/// Stores `keys` in one batch; those that failed are left in it, with the first one's failure.
async fn store<C: Connection>(worker: &mut Worker<C>, keys: &mut Vec<u32>) -> Option<BenchError> {
    let Source::Synthetic(source) = &mut worker.source else { return None };
    let now = clock::now();
    worker.batch.clear();
    for key in &*keys {
        let job = Job { operation: Operation::Set, size: source.size(), fill: false };
        worker.batch.push(job, &[*key], now, false);
    }
    worker.exchange().await;
    let outcomes = keys.iter().zip(worker.batch.requests());
    let failed = outcomes.filter_map(|(key, request)| Some((*key, request.sample.failure.as_ref()?)));
    let failed: Vec<_> = failed.collect();
    let (key, failure) = failed.first()?;
    let reason = format!("{} {}", failure.kind, failure.detail);
    let mut name = String::new();
    worker.shared.keys.name_into(*key, &mut name);
    *keys = failed.iter().map(|(key, _)| *key).collect();
    Some(BenchError::Preload { key: name.escape_debug().to_string(), reason })
}
