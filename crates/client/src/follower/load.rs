//! How a newer revision gets into memory: off to the side, a piece at a time, then all at once.

use std::sync::{Arc, Weak};
use std::time::Duration;

use annulus_cluster::fenced::Head;
use annulus_protocol::dataset::{MAX_BODY_BYTES, Snapshot};
use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep};

use super::slot::Slot;
use super::{Dataset, FollowError, Shared};

/// What is asked for at once.
const PIECE_BYTES: u64 = 64 << 10;
/// How often it starts over where a newer revision comes meanwhile.
const ATTEMPTS: usize = 8;
/// Data up to this size is looked through at once rather than on a thread of its own.
const SMALL_BYTES: usize = 64 << 10;
/// How long what a revision was in is kept for the next one. Longer than between two revisions that come one after the other,
/// and far shorter than data usually stays.
const SPARE_TTL: Duration = Duration::from_secs(10);
/// How long the revision before is waited for until its last reader is done. Then the reader frees it.
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
            if let Some(room) = retire(old).await {
                drop(slot.keep(Some(room)));
                tokio::spawn(forget_spare(Arc::downgrade(slot)));
            }
            return Ok(head);
        }
        Err(FollowError::Outrun)
    }

    /// All data of a revision; `None`: another one came meanwhile.
    async fn read(&self, slot: &Slot, head: &Head) -> Result<Option<Bytes>, FollowError> {
        let length = head.bytes.min(2 * MAX_BODY_BYTES as u64);
        let mut bytes = slot.room(length as usize);
        bytes.clear();
        while (bytes.len() as u64) < length {
            let from = bytes.len() as u64;
            let piece = PIECE_BYTES.min(length - from);
            match self.store.read(&slot.name, head.known.revision, from, piece).await? {
                Some(read) if read.len() as u64 == piece => bytes.extend_from_slice(&read),
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

/// Takes a revision apart that made way, once nobody reads it; what it was in can be used again. A reader that takes long frees
/// it itself.
pub(super) async fn retire(old: Option<Arc<Dataset>>) -> Option<BytesMut> {
    let mut old = old.filter(|old| old.snapshot().bytes().len() > SMALL_BYTES)?;
    let start = Instant::now();
    while start.elapsed() < RETIRE_LIMIT {
        match Arc::try_unwrap(old) {
            Ok(last) => match last.into_bytes() {
                Ok(room) => return Some(room),
                Err(still_sent) => old = Arc::from(still_sent),
            },
            Err(still_read) => old = still_read,
        }
        sleep(RETIRE_LOOK).await;
    }
    None
}

/// Gives a spare back, on a thread of its own: megabytes take milliseconds, which no reader should spend.
pub(super) async fn free(room: Option<BytesMut>) {
    if let Some(room) = room {
        let freeing = tokio::task::spawn_blocking(move || drop(room));
        freeing.await.expect("freeing does not panic");
    }
}

/// Frees the spare where nothing newer has come for a while.
async fn forget_spare(slot: Weak<Slot>) {
    let seen = slot.upgrade().map(|slot| slot.known());
    sleep(SPARE_TTL).await;
    let Some(slot) = slot.upgrade() else { return };
    if Some(slot.known()) == seen {
        free(slot.keep(None)).await;
    }
}
