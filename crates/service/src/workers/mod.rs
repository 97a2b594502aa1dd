//! Threads that serve connections, each with an event loop of its own.
//!
//! A connection stays on the worker that it was given to. So whatever a worker's connections share is used by one thread
//! at a time, and what many of them send to another node between two looks at the sockets goes out in one system call.
//! The threads of the process's runtime are left to what must not wait for them: leases, the registry, snapshots. What moves
//! data runs on a thread in the background, which the system puts behind all others.

#[cfg(target_os = "linux")]
mod background;

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where connections are served. Cheap to clone; the threads end when the last clone is dropped.
#[derive(Clone, Default)]
pub struct Workers {
    threads: Option<Arc<Threads>>,
}

struct Threads {
    handles: Vec<Handle>,
    /// Started when first asked for: not every node moves data.
    background: OnceLock<Handle>,
    stop: CancellationToken,
}

impl Workers {
    /// No threads of their own: one worker, which is the runtime that the caller runs on. For simulations, for tests, and
    /// for many nodes in one process.
    pub fn ambient() -> Self {
        Self::default()
    }

    /// So many threads, at least one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let start = |number| start_thread(format!("worker-{number}"), stop.clone());
        let handles = (0..count.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Self { threads: Some(Arc::new(Threads { handles, background: OnceLock::new(), stop })) })
    }

    /// How many workers there are: 1 or more.
    pub fn count(&self) -> usize {
        self.threads.as_ref().map_or(1, |threads| threads.handles.len())
    }

    /// Runs a task on the worker of this number, modulo their count.
    pub fn spawn<F>(&self, worker: usize, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        match &self.threads {
            None => tokio::spawn(task),
            Some(threads) => threads.handles[worker % threads.handles.len()].spawn(task),
        }
    }

    /// Where tasks run that may take long and for which no connection should wait.
    ///
    /// # Panics
    /// With workers that are the caller's runtime, outside of any.
    pub fn background(&self) -> Handle {
        self.threads.as_ref().map_or_else(Handle::current, |threads| threads.background())
    }
}

/// Lets go of the core, should another thread wait for it, and of this thread, should another task. Whatever runs in the
/// background does so every tenth of a millisecond: a system may let a thread run on for some milliseconds although a
/// thread of higher priority waits.
pub async fn give_way() {
    std::thread::yield_now();
    tokio::task::yield_now().await;
}

/// A thread with an event loop.
fn start_thread(name: String, stop: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    std::thread::Builder::new().name(name).spawn(move || runtime.block_on(stop.cancelled()))?;
    Ok(handle)
}

impl Threads {
    fn background(&self) -> Handle {
        let start = || {
            #[cfg(target_os = "linux")]
            let started = background::start(self.stop.clone(), background::Times::default());
            #[cfg(not(target_os = "linux"))]
            let started = start_thread("background".to_owned(), self.stop.clone());
            started.unwrap_or_else(|error| {
                tracing::warn!(%error, "no thread for the background: clients may wait for data that moves");
                self.handles[0].clone()
            })
        };
        self.background.get_or_init(start).clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_stays_on_its_workers_thread() {
        let workers = Workers::start(2).unwrap();
        let name = || async {
            tokio::task::yield_now().await;
            std::thread::current().name().map(str::to_owned)
        };
        for worker in 0..4 {
            let thread = workers.spawn(worker, name()).await.unwrap();
            assert_eq!(thread, Some(format!("worker-{}", worker % 2)));
        }
    }

    #[tokio::test]
    async fn without_threads_there_is_one_worker_the_callers_runtime() {
        let workers = Workers::ambient();
        assert_eq!(workers.count(), 1);
        assert_eq!(workers.spawn(3, async { 7 }).await.unwrap(), 7);
    }
}
