//! Where the newest revision of one dataset stands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_cluster::fenced::Known;
use arc_swap::ArcSwapOption;
use tokio::sync::{Mutex, MutexGuard, Notify, watch};
use tokio::time::Instant;

use super::Dataset;

/// Nobody has found it up to date yet.
const NEVER: u64 = u64::MAX;

/// One dataset. Readers swap an `Arc` out and never wait; one loader at a time puts another in.
pub(super) struct Slot {
    pub(super) name: String,
    current: ArcSwapOption<Dataset>,
    pub(super) revisions: watch::Sender<u64>,
    wanted: Notify,
    loading: Mutex<()>,
    start: Instant,
    /// When a leader last found it up to date, in ms since `start`, 1 more where that was before it.
    checked_ms: AtomicU64,
    /// How much earlier than `start` that was, in ms.
    before_ms: AtomicU64,
}

impl Slot {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            current: ArcSwapOption::empty(),
            revisions: watch::Sender::new(0),
            wanted: Notify::new(),
            loading: Mutex::default(),
            start: Instant::now(),
            checked_ms: AtomicU64::new(NEVER),
            before_ms: AtomicU64::new(0),
        }
    }

    pub(super) fn current(&self) -> Option<Arc<Dataset>> {
        self.current.load_full()
    }

    pub(super) fn known(&self) -> Known {
        self.current.load().as_ref().map(|dataset| dataset.known()).unwrap_or_default()
    }

    /// Puts a revision in where it is newer, checked so long ago; gives back the one that makes way for it.
    pub(super) fn take(&self, next: Arc<Dataset>, checked_ago: Duration) -> Option<Arc<Dataset>> {
        let revision = next.revision();
        let mut made_way = None;
        // Under its lock, so that of two who come at once the older one does not stay.
        self.revisions.send_if_modified(|last| {
            let is_newer = revision > *last;
            if is_newer {
                *last = revision;
                made_way = self.current.swap(Some(next));
                self.checked(checked_ago);
            }
            is_newer
        });
        made_way
    }

    /// A leader has found it up to date so long ago.
    pub(super) fn checked(&self, ago: Duration) {
        let now_ms = self.start.elapsed().as_millis() as u64;
        let ago_ms = ago.as_millis() as u64;
        self.before_ms.store(ago_ms.saturating_sub(now_ms), Ordering::Relaxed);
        self.checked_ms.store(now_ms.saturating_sub(ago_ms), Ordering::Release);
    }

    pub(super) fn age(&self) -> Option<Duration> {
        let checked_ms = self.checked_ms.load(Ordering::Acquire);
        if checked_ms == NEVER {
            return None;
        }
        let now_ms = self.start.elapsed().as_millis() as u64;
        let before_ms = self.before_ms.load(Ordering::Relaxed);
        Some(Duration::from_millis(now_ms.saturating_sub(checked_ms) + before_ms))
    }

    pub(super) fn wake(&self) {
        self.wanted.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.wanted.notified().await;
    }

    /// Held while loading, so that memory holds two revisions at most: the present and the next.
    pub(super) async fn load_alone(&self) -> MutexGuard<'_, ()> {
        self.loading.lock().await
    }
}
