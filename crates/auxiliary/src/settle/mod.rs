//! Settling: the one way in which data moves.
//!
//! On a new view each member looks at what it holds. For each entry it reads the key by the base's quorum ([`judge`]): it
//! asks those who speak for the key and those who should hold it from now on, and sends it to those who lack it. What
//! another may have outlived is forgotten. Then it hands its floors over and reports. When all have reported, the view is
//! the base, and whoever holds what it should not drops it.
//!
//! A node that has just started speaks for no key. What it has from a snapshot are *candidates*, judged in the same way,
//! without a vote of its own.
//!
//! Between changes the same pass, now and then, brings entries that a spare took in another's place to where they belong.

mod judge;
mod pace;
mod pass;
mod serve;
mod sweep;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{NodeList, Stake};
use annulus_service::workers::give_way;
use annulus_store::{Entry, FLOOR_BUCKETS, Lookup, Record, Role, ScanCursor};

use crate::candidates::Candidates;
use crate::members::Standing;
use crate::peers::Peers;
use crate::{Members, Node};
use judge::Case;

pub(crate) use pace::Pace;
pub(crate) use pass::{Handled, Held, Item, Pass, Progress, Stopped};
pub(crate) use serve::routes;

/// Entries of one step of a scan.
const BATCH: usize = 512;
/// Items that are looked at without a break.
const STEP: usize = 128;
/// Bytes of entries that are handed over in one go, about: what is pushed out of memory meanwhile stays there so long.
const GATHERED_BYTES: usize = 1 << 20;
/// Between two looks for entries that lie in another's place.
const SWEEP_INTERVAL: Duration = Duration::from_secs(4);
/// A write that began by an earlier roster has ended when it has been known for as long as this: the longest deadline.
const LONGEST_WRITE_MS: u64 = 2_000;

/// Settles to every new roster, until cancelled from outside.
pub(crate) async fn settle(node: Arc<Node>, peers: Arc<dyn Peers>, mut candidates: Candidates) {
    let Some(members) = &node.members else { return };
    let mut changes = members.changes();
    let mut sweeper = sweep::Sweeper::default();
    loop {
        changes.borrow_and_update();
        if let Some(standing) = members.standing() {
            if standing.me.is_none() {
                candidates.take_over(std::mem::take(&mut *node.left_behind.lock()));
            } else {
                let pass = Pass { node: &node, standing: Arc::clone(&standing), peers: &*peers };
                if run(&pass, members, &mut candidates, &mut sweeper).await.is_err() {
                    continue;
                }
            }
        }
        tokio::select! {
            biased;
            _ = changes.changed() => {}
            () = tokio::time::sleep(SWEEP_INTERVAL) => {}
            () = node.settle_now.notified() => {}
        }
    }
}

async fn run(
    pass: &Pass<'_>,
    members: &Members,
    candidates: &mut Candidates,
    sweeper: &mut sweep::Sweeper,
) -> Result<(), Stopped> {
    let standing = &pass.standing;
    if !standing.is_purged() {
        purge(pass).await?;
        standing.set_purged();
        own_what_is_owned(pass).await?;
        let placed = standing.placement.nodes().iter().map(|placed| &placed.seat.node);
        pass.peers.keep_only(&placed.collect::<Vec<_>>());
    }
    if standing.placement.is_settled() {
        candidates.drop_all(pass.node);
        return sweeper.sweep(pass).await;
    }
    let epoch = standing.epoch();
    if members.beat().settled == epoch {
        return Ok(());
    }
    let started_ms = pass.node.clock.now_ms();
    tracing::debug!(epoch, "settling");
    let mut doubtful = Vec::new();
    hand_over(pass, &mut doubtful).await?;
    if !standing.me.is_some_and(|me| standing.placement.nodes()[me].in_base) {
        candidates.offer(pass).await?;
    }
    settle_doubts(pass, doubtful).await?;
    hand_over_floors(pass).await?;
    let took_ms = pass.node.clock.now_ms() - started_ms;
    tracing::info!(epoch, took_ms, "has handed over what others should hold");
    pass.node.progress.start(epoch, 0, pass.node.clock.now_us());
    members.report_settled(epoch);
    Ok(())
}

/// Drops what the base does not give to this node: it may be behind what those who speak for it know.
async fn purge(pass: &Pass<'_>) -> Result<(), Stopped> {
    let store = pass.node.copies.store();
    let mut cursor = ScanCursor::default();
    let mut left = 0;
    while let Some(entries) = store.scan(&mut cursor, BATCH, pass.node.clock.now_ms()) {
        for entry in entries {
            let hash = annulus_ring::key_hash(entry.key());
            match pass.standing.stake(hash).filter(|stake| stake.is_authority) {
                None => drop(store.drop_moved(entry.key(), hash, entry.version())),
                Some(stake) => left += u64::from(stake.moves),
            }
        }
        pass.check_current()?;
        give_way().await;
    }
    pass.node.progress.start(pass.standing.epoch(), left, pass.node.clock.now_us());
    Ok(())
}

/// Holds as an owner what this node took in another's place and owns by now: when it forgets that, it says nothing of the keys
/// of which it is a spare.
async fn own_what_is_owned(pass: &Pass<'_>) -> Result<(), Stopped> {
    let Some(members) = &pass.node.members else { return Ok(()) };
    let store = pass.node.copies.store();
    let mut cursor = ScanCursor::default();
    while let Some(entries) = store.scan_spare(&mut cursor, BATCH) {
        {
            // While the roster stands, so does the role.
            let Ok(admitted) = members.admit_peer(pass.standing.epoch()) else {
                return Err(Stopped::Outdated);
            };
            for entry in entries {
                let hash = annulus_ring::key_hash(entry.key());
                if admitted.role(hash) == Role::Owner {
                    store.own(entry.key(), hash);
                }
            }
        }
        give_way().await;
    }
    Ok(())
}

/// What has to be known to judge an entry; `votes`: whether this node speaks for the key, where it is an authority.
pub(crate) fn case(standing: &Standing, stake: &Stake, record: &Record<'_>, votes: bool) -> Case {
    let others = |list: NodeList| list.iter().filter(|node| Some(*node) != standing.me).collect();
    Case {
        version: record.version,
        is_tombstone: record.value.is_none(),
        is_authority: votes && stake.is_authority,
        authorities: others(stake.authorities),
        gone: stake.gone,
        replicas: standing.placement.base_quorum().replicas,
        targets: others(stake.owners),
    }
}

async fn hand_over(pass: &Pass<'_>, doubtful: &mut Vec<Entry>) -> Result<(), Stopped> {
    let store = pass.node.copies.store();
    let mut cursor = ScanCursor::default();
    let mut gathered = Gathered::default();
    // At time 0, because a scan leaves out what is past its deadline, and that stands in no floor before it is forgotten.
    while let Some(entries) = store.scan(&mut cursor, BATCH, 0) {
        gather(pass, entries, &mut gathered);
        if gathered.is_enough() {
            hand_over_batch(pass, &std::mem::take(&mut gathered).items, doubtful).await?;
        } else {
            pass.check_current()?;
            give_way().await;
        }
    }
    hand_over_batch(pass, &gathered.items, doubtful).await
}

/// Entries that are to be handed over in one go, from several steps of a scan: most of what a node holds stays where it is.
#[derive(Default)]
struct Gathered {
    items: Vec<Item>,
    bytes: usize,
}

impl Gathered {
    fn is_enough(&self) -> bool {
        self.items.len() >= 2 * BATCH || self.bytes >= GATHERED_BYTES
    }
}

fn gather(pass: &Pass<'_>, entries: Vec<Entry>, gathered: &mut Gathered) {
    let standing = &pass.standing;
    for entry in entries {
        let hash = annulus_ring::key_hash(entry.key());
        let bytes = entry.memory_bytes();
        let Some(held) = still_held(pass, entry, hash) else { continue };
        let stake = standing.stake(hash).filter(|stake| stake.is_authority && stake.moves);
        if let (Some(stake), Some(record)) = (stake, held.record()) {
            let case = case(standing, &stake, &record, true);
            gathered.bytes += bytes;
            gathered.items.push(Item { hash, case, to_keep: false, yields: false, entry: held });
        }
    }
}

/// Lets go of an entry whose time is over. Where that leaves a tombstone, others may have missed what was there: they are told.
fn still_held(pass: &Pass<'_>, entry: Entry, hash: u64) -> Option<Held> {
    let now_ms = pass.node.clock.now_ms();
    if entry.deadline_ms().is_none_or(|deadline| deadline > now_ms) {
        return Some(Held::Entry(entry));
    }
    let Lookup::Miss(miss) = pass.node.copies.store().peek(entry.key(), hash, now_ms) else { return None };
    if !miss.tombstone || miss.version != entry.version() {
        return None;
    }
    let tombstone =
        Record { value: None, deadline_ms: None, flags: 0, marks: 0, content_type: "", ..Record::of(&entry) };
    let mut bytes = Vec::with_capacity(tombstone.encoded_len());
    tombstone.encode(&mut bytes);
    Some(Held::Bytes(bytes))
}

async fn hand_over_batch(pass: &Pass<'_>, items: &[Item], doubtful: &mut Vec<Entry>) -> Result<(), Stopped> {
    if items.is_empty() {
        return pass.check_current();
    }
    let handled = pass.handle(items).await?;
    pass.node.progress.step(items.len() as u64);
    for at in handled.forgotten {
        if let Held::Entry(entry) = &items[at].entry {
            doubtful.push(entry.clone());
        }
    }
    Ok(())
}

/// Looks again at entries that seem to be outlived, once no write of an earlier roster can be under way: what is then as it
/// was is forgotten.
async fn settle_doubts(pass: &Pass<'_>, doubtful: Vec<Entry>) -> Result<(), Stopped> {
    if doubtful.is_empty() {
        return Ok(());
    }
    let node = pass.node;
    let since_ms = node.clock.now_ms().saturating_sub(pass.standing.adopted_ms);
    tokio::time::sleep(Duration::from_millis(LONGEST_WRITE_MS.saturating_sub(since_ms))).await;
    for batch in doubtful.chunks(BATCH) {
        let item = |entry: &Entry| {
            let hash = annulus_ring::key_hash(entry.key());
            let case = case(&pass.standing, &pass.standing.stake(hash)?, &Record::of(entry), true);
            Some(Item { hash, case, to_keep: false, yields: false, entry: Held::Entry(entry.clone()) })
        };
        let items: Vec<Item> = batch.iter().filter_map(item).collect();
        for at in pass.handle(&items).await?.forgotten {
            if let Some(record) = items[at].entry.record() {
                node.copies.store().forget(record.key, items[at].hash, record.version, node.clock.now_ms());
            }
        }
    }
    Ok(())
}

/// Tells all members what has been forgotten here, to hold once all have settled.
async fn hand_over_floors(pass: &Pass<'_>) -> Result<(), Stopped> {
    let placement = &pass.standing.placement;
    let is_warm = pass.standing.me.is_some_and(|me| placement.nodes()[me].in_base);
    if !is_warm {
        return Ok(());
    }
    let store = pass.node.copies.store();
    let floors = [store.floors(0..FLOOR_BUCKETS), store.spare_floors(0..FLOOR_BUCKETS)].concat();
    let body: bytes::Bytes = wire::floors_to_bytes(&floors).into();
    for (node, placed) in placement.nodes().iter().enumerate() {
        if !placed.in_current || Some(node) == pass.standing.me {
            continue;
        }
        while let Err(error) = pass.post(node, "/settle/floors", body.clone()).await {
            tracing::debug!(%error, "settling waits for another node");
            pass.check_current()?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
