//! Brings entries that a spare took in another's place to where they belong.

use std::collections::BTreeMap;

use annulus_service::workers::give_way;
use annulus_store::{Record, ScanCursor};

use super::pass::{Held, Item, Pass, Stopped};
use super::{BATCH, LONGEST_WRITE_MS, case};

/// Entries that are remembered at most from one sweep to the next.
const MAX_REMEMBERED: usize = 100_000;

/// An entry: the hash of its key, and its version.
type Id = (u64, u64);

/// What is known from earlier sweeps.
#[derive(Default)]
pub(crate) struct Sweeper {
    /// Entries that no owner needs any more, and since when that is known.
    superfluous: BTreeMap<Id, u64>,
    /// Entries that may not be read any more, and since when that is known.
    doubtful: BTreeMap<Id, u64>,
}

impl Sweeper {
    /// Looks at every entry that this node holds only in another's place. What its owners lack goes to them; what they have,
    /// goes from here.
    ///
    /// It goes only once no write can be under way that an owner took before it had this entry: such a write is refused
    /// here, and with the entry gone it would be taken, although it is older. Nor is what may not be read any more forgotten
    /// earlier: a write of it may be under way.
    pub(crate) async fn sweep(&mut self, pass: &Pass<'_>) -> Result<(), Stopped> {
        let store = pass.node.copies.store();
        let superfluous = std::mem::take(&mut self.superfluous);
        let doubtful = std::mem::take(&mut self.doubtful);
        let mut cursor = ScanCursor::default();
        while let Some(entries) = store.scan(&mut cursor, BATCH, pass.node.clock.now_ms()) {
            let mut items = Vec::new();
            for entry in entries {
                let hash = annulus_ring::key_hash(entry.key());
                if let Some(stake) = pass.standing.stake(hash).filter(|stake| !stake.is_owner) {
                    let case = case(&pass.standing, &stake, &Record::of(&entry), true);
                    items.push(Item { hash, case, to_keep: false, yields: false, entry: Held::Entry(entry) });
                }
            }
            if items.is_empty() {
                give_way().await;
                continue;
            }
            let handled = pass.handle(&items).await?;
            let now_ms = pass.node.clock.now_ms();
            for at in handled.superfluous {
                let Some(record) = items[at].entry.record() else { continue };
                let id = (items[at].hash, record.version);
                if is_due(&superfluous, id, now_ms) {
                    store.drop_moved(record.key, id.0, id.1);
                } else {
                    remember(&mut self.superfluous, &superfluous, id, now_ms);
                }
            }
            for at in handled.forgotten {
                let Some(record) = items[at].entry.record() else { continue };
                let id = (items[at].hash, record.version);
                if is_due(&doubtful, id, now_ms) {
                    store.forget(record.key, id.0, id.1, now_ms);
                } else {
                    remember(&mut self.doubtful, &doubtful, id, now_ms);
                }
            }
        }
        Ok(())
    }
}

fn is_due(known: &BTreeMap<Id, u64>, id: Id, now_ms: u64) -> bool {
    known.get(&id).is_some_and(|since_ms| now_ms - since_ms > LONGEST_WRITE_MS)
}

fn remember(next: &mut BTreeMap<Id, u64>, known: &BTreeMap<Id, u64>, id: Id, now_ms: u64) {
    if next.len() < MAX_REMEMBERED {
        next.insert(id, known.get(&id).copied().unwrap_or(now_ms));
    }
}
