//! The home's registry, as other processes reach it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::{Answer, Letter, Question, Wire, WireError};
use crate::Roster;
use crate::discovery::Snapshots;
use crate::registry::memory::next_change;
use crate::registry::{Registry, RegistryError};

/// Between two looks for a home that does not answer.
const PAUSE: Duration = Duration::from_millis(200);

/// The registry that the home keeps, wherever that is at the moment.
pub struct HomeRegistry {
    link: Arc<Link>,
    changes: watch::Sender<()>,
    waiter: OnceLock<Waiter>,
}

struct Link {
    wire: Arc<dyn Wire>,
    snapshots: Snapshots,
    life: AtomicU64,
}

/// Waits for changes until dropped.
struct Waiter(AbortHandle);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HomeRegistry {
    /// Finds the home by `snapshots` and asks it over `wire`.
    pub fn new(wire: Arc<dyn Wire>, snapshots: Snapshots) -> Self {
        let link = Arc::new(Link { wire, snapshots, life: AtomicU64::new(0) });
        Self { link, changes: watch::Sender::new(()), waiter: OnceLock::new() }
    }
}

/// Asks one process, once more where it is in another life than was thought.
pub(super) async fn ask(
    wire: &dyn Wire,
    name: &str,
    address: &str,
    life: &AtomicU64,
    question: &Question,
) -> Result<Answer, WireError> {
    let letter = |life| Letter { life, question: question.clone() };
    match wire.ask(name, address, &letter(life.load(Ordering::Relaxed))).await? {
        Answer::OtherLife(now) => {
            life.store(now, Ordering::Relaxed);
            wire.ask(name, address, &letter(now)).await
        }
        answer => Ok(answer),
    }
}

impl Link {
    async fn ask(&self, question: Question) -> Result<Answer, RegistryError> {
        let told = self.snapshots.borrow().clone().map_err(RegistryError::Unreachable)?;
        let Some(home) = told.home() else {
            return Err(RegistryError::Unreachable("there is no pod yet that runs".to_owned()));
        };
        let failed = |why: &dyn fmt::Display| {
            RegistryError::Unreachable(format!(
                "pod {home}, which keeps the members: {why}; it is tried again"
            ))
        };
        let Some(address) = told.pod(&home).and_then(|pod| pod.address.as_deref()) else {
            return Err(failed(&"it has no address yet"));
        };
        match ask(&*self.wire, &home, address, &self.life, &question).await {
            Ok(Answer::NotHome(why)) => Err(failed(&why)),
            Ok(answer) => Ok(answer),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn unexpected(answer: &Answer) -> RegistryError {
    RegistryError::Unreachable(format!("an answer to another question: {answer:?}"))
}

impl Registry for HomeRegistry {
    async fn load(&self) -> Result<Option<Roster>, RegistryError> {
        match self.link.ask(Question::Load).await? {
            Answer::Roster(roster) => Ok(roster.map(|roster| *roster)),
            other => Err(unexpected(&other)),
        }
    }

    async fn replace(&self, expected_revision: Option<u64>, next: &Roster) -> Result<bool, RegistryError> {
        let next = Box::new(next.clone());
        match self.link.ask(Question::Replace { expected_revision, next }).await? {
            Answer::Done(done) => Ok(done),
            other => Err(unexpected(&other)),
        }
    }

    async fn renew(&self, name: &str, incarnation: u64, ttl: Duration) -> Result<bool, RegistryError> {
        let (name, ttl_ms) = (name.to_owned(), ttl.as_millis() as u64);
        match self.link.ask(Question::Renew { name, incarnation, ttl_ms }).await? {
            Answer::Done(done) => Ok(done),
            other => Err(unexpected(&other)),
        }
    }

    async fn holders(&self, names: &[&str]) -> Result<Vec<Option<u64>>, RegistryError> {
        let question = Question::Holders { names: names.iter().map(ToString::to_string).collect() };
        match self.link.ask(question).await? {
            Answer::Holders(holders) if holders.len() == names.len() => Ok(holders),
            other => Err(unexpected(&other)),
        }
    }

    async fn release(&self, name: &str, incarnation: u64) -> Result<(), RegistryError> {
        let name = name.to_owned();
        match self.link.ask(Question::Release { name, incarnation }).await? {
            Answer::Released => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        let change = next_change(&self.changes);
        self.waiter.get_or_init(|| {
            let waiting = wait_for_changes(Arc::clone(&self.link), self.changes.clone());
            Waiter(tokio::spawn(waiting).abort_handle())
        });
        change
    }
}

/// Tells of each other revision, and of each home that is found again.
async fn wait_for_changes(link: Arc<Link>, changes: watch::Sender<()>) {
    let mut last = None;
    loop {
        let told = link.ask(Question::Wait { revision: last.flatten() }).await;
        if let Ok(Answer::Revision(revision)) = told {
            if last.replace(revision) != Some(revision) {
                changes.send_replace(());
            }
        } else {
            last = None;
            sleep(PAUSE).await;
        }
    }
}

impl fmt::Debug for HomeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HomeRegistry").finish_non_exhaustive()
    }
}
