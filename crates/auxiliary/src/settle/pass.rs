//! One pass over what this node holds: entry by entry it asks who else has it, judges, and sends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_cluster::NodeList;
use annulus_protocol::rest::Settling;
use annulus_service::workers::give_way;
use annulus_store::{Condition, Entry, Holding, Record};
use bytes::Bytes;
use futures_util::future::join_all;

use super::STEP;
use super::judge::{Case, Said, Verdict};
use super::pace::{Way, Work};
use super::wire::{self, Push, Pushed};
use crate::Node;
use crate::members::{Members, Standing};
use crate::peers::{PeerError, Peers};

/// Bytes of records in one push, about; a larger record goes alone.
const PUSH_BYTES: usize = 16 * 1024;
/// How long to wait before a batch that met an error is tried again, at first and at most.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(1);

/// How far a pass is; read by whoever wants to know.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) epoch: AtomicU64,
    pub(crate) done: AtomicU64,
    pub(crate) left: AtomicU64,
    pub(crate) started_us: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
}

impl Progress {
    pub(crate) fn start(&self, epoch: u64, left: u64, now_us: u64) {
        self.epoch.store(epoch, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.left.store(left, Ordering::Relaxed);
        self.started_us.store(now_us, Ordering::Relaxed);
    }

    pub(crate) fn show(&self) -> Settling {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Settling {
            epoch: read(&self.epoch),
            done: read(&self.done),
            left: read(&self.left),
            sent: read(&self.sent),
            sent_bytes: read(&self.sent_bytes),
        }
    }

    /// How far it is with so many more entries.
    fn way(&self, entries: u64, now_us: u64) -> Way {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let done = read(&self.done);
        let elapsed = Duration::from_micros(now_us.saturating_sub(read(&self.started_us)));
        Way { done: done + entries, of: done + read(&self.left), elapsed }
    }

    pub(crate) fn step(&self, entries: u64) {
        self.done.fetch_add(entries, Ordering::Relaxed);
        let _ = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(entries)));
    }
}

/// An entry with what has to be known to judge it.
pub(crate) struct Item {
    pub(crate) entry: Held,
    pub(crate) hash: u64,
    pub(crate) case: Case,
    /// Whether it is a candidate that this node takes into memory if it is found valid.
    pub(crate) to_keep: bool,
    /// Whether it is left to the others if one of them holds it: its deadline is what this node's wall clock makes of it,
    /// which may have jumped since, and they know better.
    pub(crate) yields: bool,
}

/// An entry in memory, or one read from a snapshot.
pub(crate) enum Held {
    Entry(Entry),
    Bytes(Vec<u8>),
}

impl Held {
    pub(crate) fn record(&self) -> Option<Record<'_>> {
        match self {
            Self::Entry(entry) => Some(Record::of(entry)),
            Self::Bytes(bytes) => Record::decode(&mut &bytes[..]).ok(),
        }
    }
}

/// Why a pass ended early.
pub(crate) enum Stopped {
    /// There is a later roster.
    Outdated,
}

/// A pass by one roster.
pub(crate) struct Pass<'a> {
    pub(crate) node: &'a Node,
    pub(crate) standing: Arc<Standing>,
    pub(crate) peers: &'a dyn Peers,
}

/// For each node what it is to get: places in the batch, and whether nothing newer can have been acknowledged.
type Sends = BTreeMap<usize, Vec<(usize, bool)>>;

/// What became of a batch.
#[derive(Default)]
pub(crate) struct Handled {
    /// Entries that are valid: all who should hold them have them now, or had something as new and forgot it. By their place
    /// in the batch.
    pub(crate) settled: Vec<usize>,
    /// Entries that may not be read any more.
    pub(crate) forgotten: Vec<usize>,
    /// Entries that were left to others, because they hold them.
    pub(crate) yielded: Vec<usize>,
    /// Entries that all who should hold them had already when they were asked, in this version or a newer one; and those that
    /// are over, where they all knew something as new.
    pub(crate) superfluous: Vec<usize>,
}

impl Pass<'_> {
    /// Handles a batch until it is done, however often others have to be asked.
    pub(crate) async fn handle(&self, items: &[Item]) -> Result<Handled, Stopped> {
        let mut wait = RETRY_FIRST;
        loop {
            self.check_current()?;
            match self.try_handle(items).await {
                Ok(handled) => return Ok(handled),
                Err(PeerError::Outdated(roster)) => {
                    self.node.adopt(&Arc::from(roster));
                    self.check_current()?;
                }
                Err(error) => {
                    tracing::debug!(%error, "settling waits for another node");
                    tokio::time::sleep(wait).await;
                    wait = (2 * wait).min(RETRY_MOST);
                }
            }
        }
    }

    pub(crate) fn check_current(&self) -> Result<(), Stopped> {
        let now = self.node.members.as_ref().and_then(Members::standing);
        let is_current =
            now.is_some_and(|now| now.epoch() == self.standing.epoch() && now.me == self.standing.me);
        if is_current { Ok(()) } else { Err(Stopped::Outdated) }
    }

    async fn try_handle(&self, items: &[Item]) -> Result<Handled, PeerError> {
        let started_us = self.node.clock.now_us();
        let answers = self.ask(items).await?;
        let mut handled = Handled::default();
        let mut sends = Sends::new();
        for (at, (item, answers)) in items.iter().zip(&answers).enumerate() {
            breathe(at).await;
            let verdict = item.case.judge(answers);
            if item.case.is_superfluous(answers, verdict) {
                handled.superfluous.push(at);
            }
            if item.yields && item.case.is_held_by_any(answers) {
                handled.yielded.push(at);
                continue;
            }
            match verdict {
                Verdict::Superseded => {}
                Verdict::Forgotten => handled.forgotten.push(at),
                Verdict::Send { to, is_newest } => {
                    self.keep(item);
                    for target in to.iter() {
                        sends.entry(target).or_default().push((at, is_newest));
                    }
                    handled.settled.push(at);
                }
            }
        }
        let sent = self.send(items, &sends).await?;
        self.pace(started_us, items.len(), sent).await;
        Ok(handled)
    }

    /// Takes a candidate that was found valid into memory, where it belongs there.
    fn keep(&self, item: &Item) {
        if item.to_keep
            && let Some(record) = item.entry.record()
        {
            let now_ms = self.node.clock.now_ms();
            let holding = Holding { fetched: false, role: self.standing.role(item.hash) };
            let store = self.node.copies.store();
            // Refused: something newer has come meanwhile.
            let _ = store.put_as(record.key, item.hash, &record.write(), Condition::Always, holding, now_ms);
        }
    }

    /// Asks all who have to be asked about each item.
    async fn ask(&self, items: &[Item]) -> Result<Vec<Vec<(usize, Said)>>, PeerError> {
        let mut asks: BTreeMap<usize, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (at, item) in items.iter().enumerate() {
            breathe(at).await;
            let Some(record) = item.entry.record() else { continue };
            let whom: NodeList = item.case.authorities.iter().chain(item.case.targets.iter()).collect();
            for node in whom.iter() {
                let (about, body) = asks.entry(node).or_default();
                about.push(at);
                wire::put_key(record.key, body);
            }
        }
        let calls = asks.into_iter().map(|(node, (about, body))| async move {
            let answer = self.post(node, "/settle/ask", body.into()).await?;
            let said = wire::said(&answer, about.len()).ok_or(PeerError::Nonsense)?;
            Ok::<_, PeerError>((node, about, said))
        });
        let mut answers = vec![Vec::new(); items.len()];
        for call in join_all(calls).await {
            let (node, about, said) = call?;
            for (at, said) in about.into_iter().zip(said) {
                answers[at].push((node, said));
            }
        }
        Ok(answers)
    }

    /// Sends items to those who lack them; gives back the bytes sent.
    async fn send(&self, items: &[Item], sends: &Sends) -> Result<usize, PeerError> {
        let clock = &self.node.clock;
        let calls = sends.iter().map(|(target, which)| async move {
            let mut bytes = 0;
            let mut push = Push::begin(clock.now_ms());
            for (nth, (at, is_newest)) in which.iter().copied().enumerate() {
                breathe(nth).await;
                if let Some(mut record) = items[at].entry.record() {
                    if !self.standing.placement.mechanisms().expiry {
                        record.deadline_ms = None;
                    }
                    push.put(record, is_newest);
                }
                if push.len() >= PUSH_BYTES {
                    bytes += self.push(*target, push).await?;
                    push = Push::begin(clock.now_ms());
                }
            }
            bytes += self.push(*target, push).await?;
            Ok::<_, PeerError>(bytes)
        });
        let mut bytes = 0;
        for sent in join_all(calls).await {
            bytes += sent?;
        }
        Ok(bytes)
    }

    async fn push(&self, target: usize, push: Push) -> Result<usize, PeerError> {
        if push.is_empty() {
            return Ok(0);
        }
        let (count, body) = push.finish(self.node.clock.now_ms());
        let bytes = body.len();
        let answer = self.post(target, "/settle/push", body.into()).await?;
        let pushed = wire::pushed(&answer, count).ok_or(PeerError::Nonsense)?;
        let progress = &self.node.progress;
        progress.sent.fetch_add(count as u64, Ordering::Relaxed);
        progress.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if pushed.contains(&Pushed::TooLarge) {
            let name = &self.standing.placement.nodes()[target].seat.node.name;
            tracing::warn!(node = name, "has too little memory for an entry: give all auxiliaries the same");
        }
        if pushed.contains(&Pushed::Later) { Err(PeerError::Busy) } else { Ok(bytes) }
    }

    pub(crate) async fn post(
        &self,
        node: usize,
        path: &'static str,
        body: Bytes,
    ) -> Result<Bytes, PeerError> {
        let placement = &self.standing.placement;
        self.peers.post(&placement.nodes()[node].seat.node, path, placement.roster(), body).await
    }

    /// Rests after a batch that was begun at `started_us`.
    async fn pace(&self, started_us: u64, entries: usize, bytes: usize) {
        let now_us = self.node.clock.now_us();
        let took = Duration::from_micros(now_us.saturating_sub(started_us));
        let way = self.node.progress.way(entries as u64, now_us);
        let rest = self.node.pace.rest(Work { took, bytes }, way);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
    }
}

/// Gives way before every so many items.
async fn breathe(item: usize) {
    if item.is_multiple_of(STEP) {
        give_way().await;
    }
}
