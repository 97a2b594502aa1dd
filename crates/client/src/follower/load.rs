//! How a newer revision gets into memory: off to the side, a piece at a time, then all at once.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::fenced::Head;
use annulus_protocol::dataset::{MAX_BODY_BYTES, Room, Snapshot};
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use super::slot::Slot;
use super::{Dataset, FollowError, Shared};

/// What is asked for at once.
const PIECE_BYTES: u64 = 64 << 10;
/// How often it starts over where a newer revision comes meanwhile.
const ATTEMPTS: usize = 8;
/// Data up to this size is looked through at once rather than on a thread of its own.
const SMALL_BYTES: usize = 64 << 10;
/// How long the revision before is waited for until its last reader is done.
const RETIRE_LIMIT: Duration = Duration::from_secs(1);
const RETIRE_LOOK: Duration = Duration::from_millis(5);

impl Shared {
    /// Looks what the home has of a dataset, tells it what is here, and loads what is newer.
    pub(super) async fn catch_up(&self, slot: &Arc<Slot>) -> Result<Head, FollowError> {
        let _alone = slot.load_alone().await;
        for _ in 0..ATTEMPTS {
            let known = slot.known();
            let asked = Instant::now();
            let head = self.store.head(&slot.name, known).await?;
            self.observer.looked(&slot.name, &head);
            let checked_ago = Duration::from_millis(head.now_ms.saturating_sub(head.checked_ms));
            if head.known == known && known.revision > 0 {
                slot.checked(checked_ago + asked.elapsed());
            }
            if head.known.revision <= known.revision || head.bytes == 0 {
                return Ok(head);
            }
            let Some(bytes) = self.read(slot, &head).await? else { continue };
            let snapshot = parse(bytes).await?;
            let dataset = Arc::new(Dataset::new(&slot.name, head.known, head.updated_ms, snapshot));
            let old = slot.take(Arc::clone(&dataset), checked_ago + asked.elapsed());
            // By the home's clock alone, so that clocks that differ do not show.
            let since = Duration::from_millis(head.now_ms.saturating_sub(head.updated_ms));
            let lag = (known.revision > 0).then(|| since + asked.elapsed());
            self.observer.loaded(&dataset, lag);
            drop(dataset);
            retire(old).await;
            return Ok(head);
        }
        Err(FollowError::Outrun)
    }

    /// All data of a revision; `None`: another one came meanwhile.
    async fn read(&self, slot: &Slot, head: &Head) -> Result<Option<Bytes>, FollowError> {
        let length = head.bytes.min(2 * MAX_BODY_BYTES as u64);
        let mut bytes = Room::new(length as usize);
        while (bytes.len() as u64) < length {
            let from = bytes.len() as u64;
            let piece = PIECE_BYTES.min(length - from);
            match self.store.read(&slot.name, head.known.revision, from, piece).await? {
                Some(read) if read.len() as u64 == piece => bytes.put(&read),
                _ => return Ok(None),
            }
        }
        Ok(Some(bytes.freeze()))
    }
}

async fn parse(bytes: Bytes) -> Result<Snapshot, FollowError> {
    if bytes.len() <= SMALL_BYTES {
        return Ok(Snapshot::parse(bytes)?);
    }
    let parsing = tokio::task::spawn_blocking(move || Snapshot::parse(bytes));
    Ok(parsing.await.expect("reading a snapshot does not panic")?)
}

/// Waits until nobody reads a revision that made way, so that memory holds no third one; but not for a reader that takes long.
async fn retire(old: Option<Arc<Dataset>>) {
    let Some(old) = old.filter(|old| old.snapshot().size() > SMALL_BYTES) else { return };
    let start = Instant::now();
    while Arc::strong_count(&old) > 1 && start.elapsed() < RETIRE_LIMIT {
        sleep(RETIRE_LOOK).await;
    }
}
