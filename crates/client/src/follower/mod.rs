//! Follows the datasets of a refresher, straight from its Redis: each is in this program's memory moments after it changed,
//! and readers never wait for anything.
//!
//! ```no_run
//! use annulus_client::follower::Follower;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let follower = Follower::builder().redis("redis://127.0.0.1:6379").dataset("rates").start()?;
//! let mut changes = follower.changes("rates").expect("it was named above");
//! while changes.changed().await.is_ok() {
//!     if let Some(rates) = follower.get("rates") {
//!         let dollar = rates.item("USD");
//!         println!("revision {}: {} rates, USD {dollar:?}", rates.revision(), rates.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Notifications come by publish and subscribe, which loses messages; so it asks Redis for the newest revision besides,
//! every 30 s unless told otherwise. While Redis is away, what is in memory stays. A revision never falls, whatever happens
//! to Redis.

mod builder;
mod dataset;
mod load;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::StoreError;
use annulus_cluster::fenced::{FencedStore, Head, Heard, Notice};
use annulus_protocol::dataset::SnapshotError;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

pub use builder::{FollowerBuilder, FollowerError};
pub use dataset::Dataset;
use slot::Slot;

/// The pause after the first failure; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Why a dataset could not be brought up to date. What is in memory stays, and it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The home does not answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// It holds something that no refresher wrote.
    #[error("{0}")]
    Garbled(#[from] SnapshotError),
    /// New revisions came faster than one could be read.
    #[error("new revisions come faster than they can be read")]
    Outrun,
}

/// Is told what a follower does, for logs and metrics.
pub trait Observer: Send + Sync + 'static {
    /// Something was published.
    fn noticed(&self, _notice: &Notice) {}

    /// A revision is in memory, so long after it was published. `None`: it is the first that this follower has seen, and was
    /// there before it.
    fn loaded(&self, _dataset: &Dataset, _lag: Option<Duration>) {}

    /// What the home has of a dataset, at every look.
    fn looked(&self, _dataset: &str, _head: &Head) {}

    /// A dataset is as new in memory as in the home.
    fn caught_up(&self, _dataset: &str) {}

    /// A dataset could not be brought up to date.
    fn failed(&self, _dataset: &str, _error: &FollowError) {}
}

struct Silent;

impl Observer for Silent {}

/// What all handles share.
struct Shared {
    store: Arc<dyn FencedStore>,
    slots: BTreeMap<String, Arc<Slot>>,
    observer: Arc<dyn Observer>,
    poll_interval: Duration,
}

/// Keeps datasets in memory. A clone is another handle on the same; the last one dropped stops it.
#[derive(Clone)]
pub struct Follower {
    shared: Arc<Shared>,
    _tasks: Arc<JoinSet<()>>,
}

impl Follower {
    /// For a program that names its Redis and its datasets.
    pub fn builder() -> FollowerBuilder {
        FollowerBuilder::default()
    }

    /// Starts on a home of any kind. To be called inside a tokio runtime.
    pub fn start(
        store: Arc<dyn FencedStore>,
        datasets: &[String],
        poll_interval: Duration,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let slots = datasets.iter().map(|name| (name.clone(), Arc::new(Slot::new(name))));
        let shared = Arc::new(Shared { store, slots: slots.collect(), observer, poll_interval });
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(Arc::clone(&shared)));
        for name in datasets {
            tasks.spawn(follow(Arc::clone(&shared), name.clone()));
        }
        Self { shared, _tasks: Arc::new(tasks) }
    }

    /// The newest revision in memory; `None`: there is none yet, or no such dataset. Never waits.
    pub fn get(&self, dataset: &str) -> Option<Arc<Dataset>> {
        self.shared.slots.get(dataset)?.current()
    }

    /// How long ago a leader last found the dataset up to date.
    pub fn age(&self, dataset: &str) -> Option<Duration> {
        self.shared.slots.get(dataset)?.age()
    }

    /// The newest revision in memory, 0 before the first, and every change of it.
    pub fn changes(&self, dataset: &str) -> Option<watch::Receiver<u64>> {
        Some(self.shared.slots.get(dataset)?.revisions.subscribe())
    }

    /// Looks now rather than at the next notification or poll, and says what the home has.
    ///
    /// # Errors
    /// [`FollowError`]. A dataset that it does not follow has nothing.
    pub async fn look(&self, dataset: &str) -> Result<Head, FollowError> {
        match self.shared.slots.get(dataset) {
            Some(slot) => self.shared.catch_up(slot).await,
            None => Ok(Head::default()),
        }
    }

    /// Keeps it from loading anything newer of this dataset as long as the guard lives.
    pub async fn hold(&self, dataset: &str) -> Option<Hold<'_>> {
        Some(Hold { _alone: self.shared.slots.get(dataset)?.load_alone().await })
    }

    /// Takes a revision that this program has just published itself, which need not be read back. Best while it is
    /// [held](Self::hold).
    pub fn offer(&self, published: Dataset) {
        let Some(slot) = self.shared.slots.get(published.name()) else { return };
        let published = Arc::new(published);
        drop(slot.take(Arc::clone(&published), Duration::ZERO));
        if slot.known() == published.known() {
            self.shared.observer.loaded(&published, Some(Duration::ZERO));
        }
    }

    /// This program has just found the dataset up to date itself.
    pub fn confirm(&self, dataset: &str) {
        if let Some(slot) = self.shared.slots.get(dataset) {
            slot.checked(Duration::ZERO);
        }
    }
}

/// As long as it lives, nothing newer is loaded.
pub struct Hold<'a> {
    _alone: tokio::sync::MutexGuard<'a, ()>,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("datasets", &self.shared.slots.keys()).finish_non_exhaustive()
    }
}

/// Hands on what is heard.
async fn listen(shared: Arc<Shared>) {
    let names: Vec<String> = shared.slots.keys().cloned().collect();
    let mut heard = shared.store.listen(&names);
    while let Some(heard) = heard.recv().await {
        match heard {
            Heard::Listening => shared.slots.values().for_each(|slot| slot.wake()),
            Heard::Lost => {}
            Heard::Published(notice) => {
                let Some(slot) = shared.slots.get(&notice.dataset) else { continue };
                shared.observer.noticed(&notice);
                if notice.revision > slot.known().revision {
                    slot.wake();
                }
            }
        }
    }
}

/// Keeps one dataset up to date: at every notification, and now and then.
async fn follow(shared: Arc<Shared>, name: String) {
    let Some(slot) = shared.slots.get(&name) else { return };
    let mut failures = 0_u32;
    loop {
        let pause = match shared.catch_up(slot).await {
            Ok(_) => {
                shared.observer.caught_up(&name);
                failures = 0;
                shared.poll_interval
            }
            Err(error) => {
                shared.observer.failed(&name, &error);
                let pause = (FIRST_PAUSE * 2_u32.pow(failures.min(8))).min(MAX_PAUSE);
                failures += 1;
                sleep(pause).await;
                continue;
            }
        };
        // Woken or not, it looks.
        let _ = timeout(pause, slot.woken()).await;
    }
}
