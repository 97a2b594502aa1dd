//! Threads that serve connections, each with an event loop of its own.
//!
//! A connection stays on the worker that it was given to. So whatever a worker's connections share is used by one thread
//! at a time, and what many of them send to another node between two looks at the sockets goes out in one system call.
//! The threads of the process's runtime are left to what must not wait for them: leases, the registry, snapshots. What moves
//! data runs on a thread in the background, which the system puts behind all others.

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
    background: Handle,
    stop: CancellationToken,
}

/// How much lower than others' the priority of the background is, in the system's steps: it gets a tenth of a core that
/// others want too, and waits for none that is idle.
#[cfg(target_os = "linux")]
const BACKGROUND_NICE: i32 = 10;

impl Workers {
    /// No threads of their own: one worker, which is the runtime that the caller runs on. For simulations, for tests, and
    /// for many nodes in one process.
    pub fn ambient() -> Self {
        Self::default()
    }

    /// So many threads, at least one, and one in the background.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let start = |name: String, first: fn()| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let stopped = stop.clone();
            std::thread::Builder::new().name(name).spawn(move || {
                first();
                runtime.block_on(stopped.cancelled());
            })?;
            Ok::<_, io::Error>(handle)
        };
        let handles = (0..count.max(1))
            .map(|number| start(format!("worker-{number}"), || {}))
            .collect::<Result<_, _>>()?;
        let background = start("background".to_owned(), step_back)?;
        Ok(Self { threads: Some(Arc::new(Threads { handles, background, stop })) })
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
        self.threads.as_ref().map_or_else(Handle::current, |threads| threads.background.clone())
    }
}

/// Lets go of the core, should another thread wait for it, and of this thread, should another task. Whatever runs in the
/// background does so every tenth of a millisecond: a system may let a thread run on for some milliseconds although a
/// thread of higher priority waits.
pub async fn give_way() {
    std::thread::yield_now();
    tokio::task::yield_now().await;
}

/// Puts this thread behind all others.
fn step_back() {
    // Refused: it runs like all others, which costs latency and nothing else.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(BACKGROUND_NICE);
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

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_background_stands_behind_the_workers() {
        let workers = Workers::start(1).unwrap();
        let nice = async || {
            give_way().await;
            rustix::process::getpriority_process(None).unwrap()
        };
        let of_worker = workers.spawn(0, async move { nice().await }).await.unwrap();
        let of_background = workers.background().spawn(async move { nice().await }).await.unwrap();
        assert_eq!(of_background - of_worker, BACKGROUND_NICE);
    }

    #[tokio::test]
    async fn without_threads_there_is_one_worker_the_callers_runtime() {
        let workers = Workers::ambient();
        assert_eq!(workers.count(), 1);
        assert_eq!(workers.spawn(3, async { 7 }).await.unwrap(), 7);
    }
}
