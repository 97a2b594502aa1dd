//! Threads that serve connections, each with an event loop of its own.
//!
//! A connection stays on the worker that it was given to. So whatever a worker's connections share is used by one thread
//! at a time, and what many of them send to another node between two looks at the sockets goes out in one system call.
//! The threads of the process's runtime are left to what takes long: settling, snapshots, the registry.

use std::future::Future;
use std::io;
use std::sync::Arc;

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
        let mut handles = Vec::new();
        for number in 0..count.max(1) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let stopped = stop.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(stopped.cancelled()))?;
        }
        Ok(Self { threads: Some(Arc::new(Threads { handles, stop })) })
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
