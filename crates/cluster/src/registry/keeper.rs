//! The authority on top of a registry.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::absences::Absences;
use super::{Registry, RegistryError};
use crate::{Authority, AuthorityError, Beat, Layout, Roster};

/// How often a change is tried where others are quicker.
const ATTEMPTS: u32 = 32;

/// How long anything takes at most.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What a keeper goes by.
#[derive(Clone, Copy, Debug)]
pub struct KeeperSettings {
    /// How long a lease lasts. Nodes beat and masters sweep at least three times as often.
    pub lease_ttl: Duration,
    /// The layout of a cluster that has yet to form; one that exists keeps its own.
    pub layout: Layout,
}

/// Keeps the roster of a [`Registry`]. It holds nothing itself but what it has observed of leases, so each node has one.
#[derive(Debug)]
pub struct Keeper<R> {
    registry: R,
    settings: KeeperSettings,
    absences: Mutex<Absences>,
    /// Views that are formed from now on have at least this epoch.
    epoch_floor: AtomicU64,
}

/// A roster that may be changed, and what stands in the registry for it.
struct Stored {
    revision: Option<u64>,
    roster: Arc<Roster>,
}

impl<R: Registry> Keeper<R> {
    /// A keeper of what is in `registry`.
    pub fn new(registry: R, settings: KeeperSettings) -> Self {
        Self { registry, settings, absences: Mutex::default(), epoch_floor: AtomicU64::new(0) }
    }

    /// Views that are formed from now on have at least this epoch.
    pub(crate) fn raise_epochs_to(&self, floor: u64) {
        self.epoch_floor.fetch_max(floor, Ordering::Relaxed);
    }

    /// Puts `next` in the place of `before`, whose revision in the registry is `expected`; `None`: somebody else was quicker.
    async fn store(
        &self,
        expected: Option<u64>,
        before: &Roster,
        next: Roster,
    ) -> Result<Option<Arc<Roster>>, RegistryError> {
        let next = next.with_epoch_from(self.epoch_floor.load(Ordering::Relaxed), before);
        Ok(self.registry.replace(expected, &next).await?.then(|| Arc::new(next)))
    }

    /// The newest roster there is. Where the registry was wiped or came back older than `known`, that is put back first, or
    /// all would leave the ring only to register again. `None`: somebody else was quicker.
    async fn newest(&self, known: Option<&Arc<Roster>>) -> Result<Option<Stored>, RegistryError> {
        let stored = self.registry.load().await?;
        let revision = stored.as_ref().map(Roster::revision);
        if let Some(known) = known
            && known.revision() > revision.unwrap_or(0)
        {
            let is_back = self.registry.replace(revision, known).await?;
            let stored = Stored { revision: Some(known.revision()), roster: Arc::clone(known) };
            return Ok(is_back.then_some(stored));
        }
        let roster = match (stored, known) {
            (Some(stored), Some(known)) if stored == **known => Arc::clone(known),
            (Some(stored), _) => Arc::new(stored),
            (None, _) => Arc::new(Roster::new(self.settings.layout)),
        };
        Ok(Some(Stored { revision, roster }))
    }

    async fn beat(&self, beat: Beat, known: Option<Arc<Roster>>) -> Result<Arc<Roster>, AuthorityError> {
        beat.seat.node.check()?;
        let name = &beat.seat.node.name;
        let mut has_renewed = false;
        for attempt in 0..ATTEMPTS {
            if let Some(stored) = self.newest(known.as_ref()).await? {
                let next = stored.roster.beat(&beat)?;
                if !has_renewed {
                    self.registry.renew(name, beat.seat.incarnation, self.settings.lease_ttl).await?;
                    has_renewed = true;
                }
                let Some(next) = next else { return Ok(stored.roster) };
                if let Some(next) = self.store(stored.revision, &stored.roster, next).await? {
                    return Ok(next);
                }
            }
            sleep(pause(name, attempt)).await;
        }
        Err(AuthorityError::Contended)
    }

    async fn roster(&self, known: Option<Arc<Roster>>) -> Result<Arc<Roster>, AuthorityError> {
        for attempt in 0..ATTEMPTS {
            if let Some(stored) = self.newest(known.as_ref()).await? {
                return Ok(stored.roster);
            }
            sleep(pause("", attempt)).await;
        }
        Err(AuthorityError::Contended)
    }

    async fn retire(&self, name: &str) -> Result<Arc<Roster>, AuthorityError> {
        for attempt in 0..ATTEMPTS {
            let Some(roster) = self.registry.load().await? else { return Err(AuthorityError::NotFound) };
            let member = roster.find(name).ok_or(AuthorityError::NotFound)?;
            if member.is_going() {
                return Ok(Arc::new(roster));
            }
            let Some(next) = roster.retire(name) else {
                let is_last = roster.members().len() == 1;
                return Err(if is_last { AuthorityError::Last } else { AuthorityError::Unsettled });
            };
            if let Some(next) = self.store(Some(roster.revision()), &roster, next).await? {
                return Ok(next);
            }
            sleep(pause(name, attempt)).await;
        }
        Err(AuthorityError::Contended)
    }

    /// As [`Authority::sweep`], but for those who are `spared`: they count as if they had their leases.
    pub(crate) async fn sweep_but(
        &self,
        now_ms: u64,
        spared: impl Fn(&str) -> bool,
    ) -> Result<Vec<String>, AuthorityError> {
        // Where a sweep is under way, this one has nothing to add.
        let Ok(mut kept) = self.absences.try_lock() else { return Ok(Vec::new()) };
        // Taken out, and put back only where all went well: an error, or a caller who goes away, forgets everything.
        let mut absences = std::mem::take(&mut *kept);
        let Some(roster) = self.registry.load().await? else { return Ok(Vec::new()) };
        let names: Vec<&str> = roster.members().iter().map(|member| member.seat.node.name.as_str()).collect();
        let mut holders = self.registry.holders(&names).await?;
        for (holder, _) in holders.iter_mut().zip(&names).filter(|(_, name)| spared(name)) {
            *holder = Some(u64::MAX);
        }
        let dead = absences.observe(now_ms, &roster, &holders, self.settings.lease_ttl);
        let mut expired = Vec::new();
        if let Some(dead) = dead
            && let Some(next) = roster.expire(&dead.node.name, dead.incarnation)
            && self.store(Some(roster.revision()), &roster, next).await?.is_some()
        {
            expired.push(dead.node.name);
        }
        *kept = absences;
        Ok(expired)
    }
}

impl<R: Registry> Authority for Keeper<R> {
    fn beat(
        &self,
        beat: Beat,
        known: Option<Arc<Roster>>,
    ) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(in_time(self.beat(beat, known)))
    }

    fn roster(&self, known: Option<Arc<Roster>>) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(in_time(self.roster(known)))
    }

    fn retire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(in_time(self.retire(name)))
    }

    fn release<'a>(&'a self, name: &'a str, incarnation: u64) -> BoxFuture<'a, Result<(), AuthorityError>> {
        let release = self.registry.release(name, incarnation);
        Box::pin(in_time(async move { Ok(release.await?) }))
    }

    fn sweep(&self, now_ms: u64) -> BoxFuture<'_, Result<Vec<String>, AuthorityError>> {
        Box::pin(in_time(self.sweep_but(now_ms, |_| false)))
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        Box::pin(self.registry.changed())
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, AuthorityError>>) -> Result<T, AuthorityError> {
    timeout(TIME_LIMIT, work).await.unwrap_or_else(|_| {
        let why = format!("the membership registry took longer than {TIME_LIMIT:?}; it is tried again");
        Err(AuthorityError::Unreachable(why))
    })
}

/// How long to wait before another attempt: longer each time, and for each node something else.
fn pause(name: &str, attempt: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (name, attempt).hash(&mut hasher);
    Duration::from_millis(1 + hasher.finish() % (4 << attempt.min(4)))
}
