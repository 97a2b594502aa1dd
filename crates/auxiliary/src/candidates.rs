//! What a node that has just started has from before: a snapshot, or what it held when it was taken off the roster. It speaks
//! for nothing; each entry is judged by those who do.

use annulus_cluster::NodeList;
use annulus_service::workers::give_way;
use annulus_store::{Batch, Entry, FLOOR_BUCKETS, Record};

use crate::Node;
use crate::settle::{Handled, Held, Item, Pass, Stopped, case};
use crate::snapshots::{Batches, OpenSnapshot};

/// Entries in one offer.
const BATCH: usize = 512;

/// Entries that may be valid.
#[derive(Default)]
pub(crate) struct Candidates {
    snapshot: Option<OpenSnapshot>,
    memory: Vec<Entry>,
    /// Floors that hold once all has been judged: those of the snapshot, and of what is past its deadline.
    floors: Vec<u64>,
}

/// What came of an offer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offered {
    /// Entries that this node or another took, or had already.
    pub(crate) valid: u64,
    /// Entries that were replaced, deleted or forgotten since, or whose time is over.
    pub(crate) outdated: u64,
}

impl Candidates {
    pub(crate) fn new(snapshot: Option<OpenSnapshot>) -> Self {
        let floors = snapshot.as_ref().map(|snapshot| snapshot.floors().to_vec()).unwrap_or_default();
        Self { snapshot, memory: Vec::new(), floors }
    }

    /// What the node held when it was taken off the roster is newer than any snapshot.
    pub(crate) fn take_over(&mut self, left_behind: Vec<Entry>) {
        if !left_behind.is_empty() {
            *self = Self { snapshot: None, memory: left_behind, floors: Vec::new() };
        }
    }

    /// Lets those who know judge every entry; the valid ones go to those who should hold them.
    pub(crate) async fn offer(&mut self, pass: &Pass<'_>) -> Result<Offered, Stopped> {
        let mut offered = Offered::default();
        for batch in self.memory.chunks(BATCH) {
            let held = batch.iter().map(|entry| Held::Entry(entry.clone())).collect();
            offer_batch(pass, held, &mut offered, &mut self.floors).await?;
        }
        let Some(snapshot) = &self.snapshot else { return Ok(offered) };
        let mut batches = match snapshot.batches() {
            Ok(batches) => batches,
            Err(error) => {
                tracing::error!(%error, "cannot read the snapshot any more; going on without it");
                return Ok(offered);
            }
        };
        while let Some(held) = next(&mut batches) {
            for part in split(held) {
                offer_batch(pass, part, &mut offered, &mut self.floors).await?;
            }
        }
        Ok(offered)
    }

    /// Everything has been judged: only the floors of the snapshot are left to be heeded.
    pub(crate) fn drop_all(&mut self, node: &Node) {
        node.raise_floors(&std::mem::take(self).floors);
    }
}

fn next(batches: &mut Batches) -> Option<Vec<Held>> {
    let batch = match batches.next_batch() {
        Ok(batch) => batch?,
        Err(error) => {
            tracing::error!(%error, "cannot read on in the snapshot; going on without the rest of it");
            return None;
        }
    };
    let held = |record: &Record<'_>| {
        let mut bytes = Vec::with_capacity(record.encoded_len());
        record.encode(&mut bytes);
        Held::Bytes(bytes)
    };
    Some(match batch {
        Batch::Records(records) => records.iter().map(held).collect(),
        Batch::Floors { .. } => Vec::new(),
    })
}

fn split(mut held: Vec<Held>) -> Vec<Vec<Held>> {
    let mut parts = Vec::new();
    while held.len() > BATCH {
        let rest = held.split_off(BATCH);
        parts.push(std::mem::replace(&mut held, rest));
    }
    parts.push(held);
    parts
}

/// Has a batch judged. What is past its deadline by this node's clock is only asked about: if nobody holds it any more, it is
/// forgotten, so that nothing older can come back.
async fn offer_batch(
    pass: &Pass<'_>,
    held: Vec<Held>,
    offered: &mut Offered,
    floors: &mut Vec<u64>,
) -> Result<(), Stopped> {
    let (node, standing) = (pass.node, &pass.standing);
    let now_ms = node.clock.now_ms();
    let (mut items, mut over) = (Vec::new(), Vec::new());
    for entry in held {
        let Some(record) = entry.record() else { continue };
        let hash = annulus_ring::key_hash(record.key);
        let known = node.copies.store().peek(record.key, hash, now_ms);
        if known.version_as(standing.role(hash)) > record.version {
            offered.outdated += 1;
            continue;
        }
        let Some(stake) = standing.stake(hash) else { continue };
        let mut case = case(standing, &stake, &record, false);
        let is_over = record.deadline_ms.is_some_and(|deadline| deadline <= now_ms);
        // Memory has outlived no restart, and its deadlines no jump of the wall clock.
        let yields = record.deadline_ms.is_some() && matches!(entry, Held::Bytes(_));
        if is_over {
            case.authorities = case.authorities.iter().chain(case.targets.iter()).collect();
            case.targets = NodeList::default();
        }
        let item = Item { hash, case, to_keep: stake.is_owner && !is_over, yields, entry };
        if is_over { over.push(item) } else { items.push(item) }
    }
    let all = (items.len() + over.len()) as u64;
    let judged = judge(pass, &items).await?;
    let held_still = judge(pass, &over).await?.yielded;
    let valid = (judged.settled.len() + judged.yielded.len() + held_still.len()) as u64;
    offered.valid += valid;
    offered.outdated += all - valid;
    for (_, item) in over.iter().enumerate().filter(|(at, _)| !held_still.contains(at)) {
        let Some(record) = item.entry.record() else { continue };
        floors.resize(FLOOR_BUCKETS, 0);
        let floor = &mut floors[item.hash as usize % FLOOR_BUCKETS];
        *floor = record.version.max(*floor);
    }
    Ok(())
}

async fn judge(pass: &Pass<'_>, items: &[Item]) -> Result<Handled, Stopped> {
    if items.is_empty() {
        give_way().await;
        pass.check_current()?;
        return Ok(Handled::default());
    }
    pass.handle(items).await
}
