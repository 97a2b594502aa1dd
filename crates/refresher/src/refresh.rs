//! What the leader does with one dataset: ask the upstream, publish what is new, write the entries.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use annulus_client::follower::Dataset;
use annulus_cluster::StoreError;
use annulus_cluster::fenced::{Confirmed, Head, Known, Publication, Published};
use annulus_protocol::dataset::Snapshot;
use bytes::Bytes;
use futures_util::FutureExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::Node;
use crate::cache::{CacheError, EntryWriter};
use crate::datasets::DatasetNode;
use crate::metrics::Outcome;
use crate::schedule::Schedule;
use crate::split::SplitError;
use crate::upstream::{Fetched, Validators};

/// The pause before the store is asked again that did not answer.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// The pause before the cache is asked again that did not take all entries.
const ENTRIES_PAUSE_MS: u64 = 5_000;
/// Names of entries to be deleted that a revision takes over from the one before; the others end by their TTL.
const MAX_REMOVED: usize = 100_000;

/// What the next leader should know of the data: it is kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    validators: Validators,
    /// SHA-256 of the body, in hexadecimal.
    hash: String,
}

/// This replica leads no more, or so it seems.
struct Deposed;

/// What one replica does for one dataset, whenever it leads.
pub(crate) struct Worker {
    node: Arc<Node>,
    dataset: Arc<DatasetNode>,
    schedule: Schedule,
    /// Of the revision in memory, where it is known.
    note: Option<(Known, Note)>,
    /// The newest revision of which the cache has all entries, as far as this replica knows.
    cached: u64,
    /// When all entries were written last in this term, by the steady clock.
    all_written_ms: Option<u64>,
    /// When entries that the cache did not take are tried again.
    entries_again_ms: Option<u64>,
}

/// What a body turned out to be.
enum Looked {
    Same,
    Invalid(SplitError),
    New(Snapshot, Note),
}

impl Worker {
    pub(crate) fn new(node: Arc<Node>, dataset: Arc<DatasetNode>) -> Self {
        let schedule = Schedule::new(&dataset.settings);
        Self { node, dataset, schedule, note: None, cached: 0, all_written_ms: None, entries_again_ms: None }
    }

    /// Works in every term in which this replica leads, until the process ends.
    pub(crate) async fn run(mut self, mut terms: watch::Receiver<Option<u64>>) {
        loop {
            let term = *terms.borrow_and_update();
            let Some(token) = term else {
                if terms.changed().await.is_err() {
                    return;
                }
                continue;
            };
            // What is under way when the term ends is dropped, wherever it is.
            let is_over = async { terms.wait_for(|now| *now != Some(token)).await.map(drop) };
            tokio::select! {
                Err(Deposed) = self.lead(token) => sleep(STORE_PAUSE).await,
                _ = is_over => {}
            }
            // Whoever leads now writes them.
            self.dataset.entries_went(None);
        }
    }

    async fn lead(&mut self, token: u64) -> Result<Infallible, Deposed> {
        let head = self.look(token).await?;
        self.cached = head.cached;
        self.all_written_ms = None;
        self.entries_again_ms = None;
        let is_known = head.checked_ms > 0 && head.bytes > 0;
        let ago = is_known.then(|| Duration::from_millis(head.now_ms.saturating_sub(head.checked_ms)));
        self.schedule.resume(self.now_ms(), ago);
        self.repair(token, &head).await?;
        self.write_entries(token, None).await?;
        loop {
            let now_ms = self.now_ms();
            let next_ms = self.schedule.next_ms();
            let wake_ms = self.entries_again_ms.map_or(next_ms, |again_ms| again_ms.min(next_ms));
            let is_lost = tokio::select! {
                () = sleep(Duration::from_millis(wake_ms.saturating_sub(now_ms))) => false,
                () = self.dataset.lost.notified() => true,
            };
            if is_lost {
                let head = self.look(token).await?;
                self.repair(token, &head).await?;
                // The look has said so again, of what is repaired now or cannot be.
                let _ = self.dataset.lost.notified().now_or_never();
            } else if self.now_ms() >= self.schedule.next_ms() {
                self.refresh(token).await?;
            }
            self.write_entries(token, None).await?;
        }
    }

    /// What the store has, once it answers, with whatever is newer in memory.
    async fn look(&mut self, token: u64) -> Result<Head, Deposed> {
        loop {
            if let Ok(head) = self.node.follower.look(self.dataset.name()).await {
                let note = serde_json::from_str(&head.note).ok();
                if let Some(note) = note.filter(|_| Some(head.known) == self.own().map(|own| own.known())) {
                    self.note = Some((head.known, note));
                }
                return Ok(head);
            }
            self.check(token)?;
            sleep(STORE_PAUSE).await;
        }
    }

    /// Publishes again what the store has lost, as far as this replica has it.
    async fn repair(&mut self, token: u64, head: &Head) -> Result<(), Deposed> {
        let Some(own) = self.own() else {
            if head.bytes == 0 {
                self.schedule.resume(self.now_ms(), None);
            }
            return Ok(());
        };
        if !head.has_lost_something() && head.known.revision >= own.revision() {
            return Ok(());
        }
        tracing::info!(
            dataset = self.dataset.name(),
            revision = own.revision(),
            stored = head.known.revision,
            floor = head.floor,
            "Redis has lost the newest revision: it is published again"
        );
        if head.floor > own.revision() {
            // Somebody had newer data than this replica.
            self.schedule.resume(self.now_ms(), None);
        }
        let note = self.note_of(&own).cloned().unwrap_or_default();
        self.publish(token, own.snapshot().clone(), note).await
    }

    async fn refresh(&mut self, token: u64) -> Result<(), Deposed> {
        let began_ms = self.now_ms();
        let own = self.own();
        let note = own.as_ref().and_then(|own| self.note_of(own)).cloned();
        let validators = note.as_ref().map(|note| note.validators.clone()).unwrap_or_default();
        let fetched = self.node.upstream.fetch(&self.dataset.settings, &validators).await;
        let took_ms = self.now_ms() - began_ms;
        self.dataset.metrics.call_duration.observe(took_ms as f64 / 1000.0);
        self.check(token)?;
        let (body, content_type, validators) = match (fetched, own) {
            (Err(error), _) => {
                self.dataset.metrics.called(error.kind);
                self.failed(&error.text, error.retry_after);
                return Ok(());
            }
            (Ok(Fetched::Unchanged), Some(own)) => {
                self.dataset.metrics.called("unchanged");
                return self.unchanged(token, began_ms, &own).await;
            }
            (Ok(Fetched::Unchanged), None) => {
                self.dataset.metrics.called("invalid");
                self.failed("the upstream answers 304 where it was asked for no newer version", None);
                return Ok(());
            }
            (Ok(Fetched::Body { body, content_type, validators }), _) => (body, content_type, validators),
        };
        match self.look_through(body, content_type, validators, note).await {
            Looked::Invalid(error) => {
                self.dataset.metrics.called("invalid");
                self.failed(&error.to_string(), None);
                Ok(())
            }
            Looked::Same => {
                self.dataset.metrics.called("ok");
                match self.own() {
                    Some(own) => self.unchanged(token, began_ms, &own).await,
                    None => Ok(()),
                }
            }
            Looked::New(snapshot, note) => {
                self.dataset.metrics.called("ok");
                self.publish(token, snapshot, note).await?;
                self.schedule.succeeded(began_ms);
                Ok(())
            }
        }
    }

    /// Hashes and splits a body, on a thread of its own.
    async fn look_through(
        &self,
        body: Bytes,
        content_type: String,
        validators: Validators,
        known: Option<Note>,
    ) -> Looked {
        let rule = self.dataset.rule.clone();
        let before = self.own().filter(|_| self.node.cache.is_some());
        let is_cached = before.as_ref().is_some_and(|before| before.revision() == self.cached);
        let looking = tokio::task::spawn_blocking(move || {
            let hash = hex(&Sha256::digest(&body));
            if known.is_some_and(|known| known.hash == hash) {
                return Looked::Same;
            }
            let mut names = Vec::new();
            if let Some(before) = &before {
                names.extend(before.snapshot().names());
                // Those whose entries may still be there, because they could not be deleted then.
                if !is_cached {
                    names.extend(before.snapshot().removed().take(MAX_REMOVED));
                }
            }
            match rule.apply(body, &content_type, &names) {
                Ok(snapshot) => Looked::New(snapshot, Note { validators, hash }),
                Err(error) => Looked::Invalid(error),
            }
        });
        looking.await.expect("looking through a body does not panic")
    }

    /// The upstream has nothing newer than `own`.
    async fn unchanged(&mut self, token: u64, began_ms: u64, own: &Dataset) -> Result<(), Deposed> {
        let (dataset, ttl) = (Arc::clone(&self.dataset), self.dataset.settings.ttl);
        loop {
            self.check(token)?;
            let writer = self.node.leadership.writer(token);
            match self.node.store.confirm(writer, dataset.name(), own.revision(), ttl).await {
                Ok(Confirmed::Done) => {
                    self.node.follower.confirm(dataset.name());
                    self.dataset.metrics.refreshed(Outcome::Unchanged);
                    tracing::debug!(dataset = dataset.name(), revision = own.revision(), "nothing new");
                    break;
                }
                Ok(Confirmed::Lost) => {
                    let note = self.note_of(own).cloned().unwrap_or_default();
                    self.publish(token, own.snapshot().clone(), note).await?;
                    break;
                }
                Ok(Confirmed::Refused) => return Err(self.refused(token)),
                Err(error) => self.store_failed(&error).await,
            }
        }
        self.dataset.went_well();
        self.schedule.succeeded(began_ms);
        Ok(())
    }

    /// Publishes, however long it takes until the store answers or this replica leads no more.
    async fn publish(&mut self, token: u64, snapshot: Snapshot, note: Note) -> Result<(), Deposed> {
        let (shared, dataset) = (Arc::clone(&self.node), Arc::clone(&self.dataset));
        let text = serde_json::to_string(&note).unwrap_or_default();
        let before = self.own();
        let above = before.as_ref().map_or(0, |before| before.revision());
        loop {
            self.check(token)?;
            // What is told of it needs not be read back: it is offered first.
            let alone = shared.follower.hold(dataset.name()).await;
            let publication = Publication {
                dataset: dataset.name(),
                data: snapshot.pieces().cloned().collect(),
                note: &text,
                ttl: dataset.settings.ttl,
                above,
            };
            match shared.store.publish(shared.leadership.writer(token), publication).await {
                Ok(Published::As { revision, at_ms }) => {
                    let known = Known { revision, token };
                    shared.follower.offer(Dataset::new(dataset.name(), known, at_ms, snapshot.clone()));
                    drop(alone);
                    self.published(known, note);
                    return self.write_entries(token, before.as_deref()).await;
                }
                Ok(Published::Refused) => return Err(self.refused(token)),
                Err(error) => {
                    drop(alone);
                    self.store_failed(&error).await;
                }
            }
            // It may have been published all the same.
            if let Ok(head) = shared.follower.look(dataset.name()).await
                && head.known.token == token
                && head.known.revision > above
                && head.note == text
            {
                self.published(head.known, note);
                return self.write_entries(token, before.as_deref()).await;
            }
        }
    }

    fn published(&mut self, known: Known, note: Note) {
        self.note = Some((known, note));
        self.dataset.metrics.refreshed(Outcome::Published);
        self.dataset.went_well();
        tracing::info!(
            dataset = self.dataset.name(),
            revision = known.revision,
            token = known.token,
            "published"
        );
    }

    /// Writes entries where the cache lacks some: what changed since `before` where that one was written, or else all.
    async fn write_entries(&mut self, token: u64, before: Option<&Dataset>) -> Result<(), Deposed> {
        let node = Arc::clone(&self.node);
        let (Some(client), Some(own)) = (&node.cache, self.own()) else { return Ok(()) };
        let now_ms = self.now_ms();
        // Entries have a TTL, too: all are written again when half of it is over.
        let half_ttl_ms = self.dataset.settings.ttl.as_millis() as u64 / 2;
        let is_all_due = self.all_written_ms.is_none_or(|written_ms| now_ms >= written_ms + half_ttl_ms);
        let is_waiting = self.entries_again_ms.is_some_and(|again_ms| now_ms < again_ms);
        if is_waiting || (own.revision() == self.cached && !is_all_due) {
            return Ok(());
        }
        let before = before.filter(|before| !is_all_due && before.revision() == self.cached);
        let may_write = || node.leadership.holds(token);
        let writer = EntryWriter { client, dataset: &self.dataset, may_write: &may_write };
        match writer.write(own.snapshot(), before.map(Dataset::snapshot)).await {
            Ok(()) => {}
            Err(CacheError::Deposed) => return Err(Deposed),
            Err(error) => {
                self.entries_again_ms = Some(self.now_ms() + ENTRIES_PAUSE_MS);
                self.all_written_ms = None;
                self.dataset.entries_went(Some(error.to_string()));
                tracing::warn!(dataset = self.dataset.name(), %error, "it is tried again");
                return Ok(());
            }
        }
        self.entries_again_ms = None;
        self.dataset.entries_went(None);
        self.cached = own.revision();
        if before.is_none() {
            self.all_written_ms = Some(now_ms);
        }
        tracing::debug!(
            dataset = self.dataset.name(),
            revision = own.revision(),
            "the cache has all entries"
        );
        // Where this is lost, the next leader writes them once more.
        let marked =
            node.store.mark_cached(node.leadership.writer(token), self.dataset.name(), own.revision());
        if marked.await == Ok(false) { Err(self.refused(token)) } else { Ok(()) }
    }

    fn failed(&mut self, why: &str, retry_after: Option<Duration>) {
        let now_ms = self.now_ms();
        self.schedule.failed(now_ms, retry_after, self.node.random());
        self.dataset.metrics.refreshed(Outcome::Failed);
        self.dataset.went_wrong(why);
        tracing::warn!(
            dataset = self.dataset.name(),
            failures = self.schedule.failures(),
            again_in_ms = self.schedule.next_ms() - now_ms,
            "not refreshed: {why}"
        );
    }

    async fn store_failed(&self, error: &StoreError) {
        self.dataset.went_wrong(&error.to_string());
        tracing::warn!(dataset = self.dataset.name(), %error, "not published");
        sleep(STORE_PAUSE).await;
    }

    fn refused(&self, token: u64) -> Deposed {
        self.dataset.metrics.refreshed(Outcome::Refused);
        tracing::warn!(dataset = self.dataset.name(), token, "refused: another leads");
        self.node.leadership.refused(token);
        Deposed
    }

    fn check(&self, token: u64) -> Result<(), Deposed> {
        if self.node.leadership.holds(token) { Ok(()) } else { Err(Deposed) }
    }

    fn own(&self) -> Option<Arc<Dataset>> {
        self.node.follower.get(self.dataset.name())
    }

    fn note_of(&self, own: &Dataset) -> Option<&Note> {
        self.note.as_ref().filter(|(known, _)| *known == own.known()).map(|(_, note)| note)
    }

    fn now_ms(&self) -> u64 {
        self.node.clock.now_ms()
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
