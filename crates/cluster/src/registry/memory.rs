//! A registry inside the process: for `annulus dev`, for tests and for the simulation.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Registry, RegistryError};
use crate::Roster;

/// Milliseconds that never go back, from whatever start.
pub type SteadyClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A registry inside the process. A clone is another handle on the same one.
#[derive(Clone)]
pub struct MemoryRegistry {
    clock: SteadyClock,
    state: Arc<Mutex<State>>,
    changes: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    roster: Option<Roster>,
    leases: HashMap<String, Lease>,
}

struct Lease {
    incarnation: u64,
    ends_at_ms: u64,
}

impl MemoryRegistry {
    /// An empty one, whose leases end by `clock`.
    pub fn new(clock: SteadyClock) -> Self {
        Self { clock, state: Arc::default(), changes: watch::Sender::new(()) }
    }

    /// Forgets everything, as a registry does that keeps nothing on disk and starts again.
    pub fn wipe(&self) {
        *self.state.lock() = State::default();
        self.changes.send_replace(());
    }

    /// Puts `roster` in the place of whatever is there. Leases stay.
    pub(super) fn put(&self, roster: Option<Roster>) {
        self.state.lock().roster = roster;
        self.changes.send_replace(());
    }

    /// Who holds the lease at this time.
    fn holder(&self, state: &State, name: &str) -> Option<u64> {
        let lease = state.leases.get(name)?;
        (lease.ends_at_ms > (self.clock)()).then_some(lease.incarnation)
    }
}

impl Registry for MemoryRegistry {
    async fn load(&self) -> Result<Option<Roster>, RegistryError> {
        Ok(self.state.lock().roster.clone())
    }

    async fn replace(&self, expected_revision: Option<u64>, next: &Roster) -> Result<bool, RegistryError> {
        let mut state = self.state.lock();
        if state.roster.as_ref().map(Roster::revision) != expected_revision {
            return Ok(false);
        }
        state.roster = Some(next.clone());
        drop(state);
        self.changes.send_replace(());
        Ok(true)
    }

    async fn renew(&self, name: &str, incarnation: u64, ttl: Duration) -> Result<bool, RegistryError> {
        let mut state = self.state.lock();
        if self.holder(&state, name).is_some_and(|holder| holder > incarnation) {
            return Ok(false);
        }
        let ends_at_ms = (self.clock)().saturating_add(ttl.as_millis() as u64);
        state.leases.insert(name.to_owned(), Lease { incarnation, ends_at_ms });
        Ok(true)
    }

    async fn holders(&self, names: &[&str]) -> Result<Vec<Option<u64>>, RegistryError> {
        let mut state = self.state.lock();
        let now_ms = (self.clock)();
        state.leases.retain(|_, lease| lease.ends_at_ms > now_ms);
        Ok(names.iter().map(|name| self.holder(&state, name)).collect())
    }

    async fn release(&self, name: &str, incarnation: u64) -> Result<(), RegistryError> {
        let mut state = self.state.lock();
        if self.holder(&state, name) == Some(incarnation) {
            state.leases.remove(name);
        }
        Ok(())
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        next_change(&self.changes)
    }
}

impl fmt::Debug for MemoryRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryRegistry").finish_non_exhaustive()
    }
}

/// The next change from now on; none ever where the registry is gone.
pub(super) fn next_change(changes: &watch::Sender<()>) -> impl Future<Output = ()> + Send + 'static {
    let mut changes = changes.subscribe();
    async move {
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
