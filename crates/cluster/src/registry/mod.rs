//! The registry: where the roster is kept and leases are held, raw. What is done with them is the [`Keeper`]'s.

mod absences;
mod home;
mod keeper;
mod memory;
pub(crate) mod redis;
mod text;

use std::time::Duration;

use crate::Roster;

pub use self::home::{Answer, Home, HomeRegistry, LONGEST_WAIT, Letter, Question, Wire, WireError};
pub use self::keeper::{Keeper, KeeperSettings};
pub use self::memory::{MemoryRegistry, SteadyClock};
pub use self::redis::{RedisRegistry, RedisSettings};

/// Why a registry did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The settings make no registry.
    #[error("{0}")]
    Settings(String),
    /// It does not answer, or answers with an error.
    #[error("{0}")]
    Unreachable(String),
    /// It holds something that no Annulus wrote.
    #[error("the value of {key} is not ours: {why}; delete that key, the nodes write it again")]
    Garbled {
        /// Where it lies.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The home of one roster, and of one lease a node. Every operation ends within a few seconds.
pub trait Registry: Send + Sync + 'static {
    /// The roster; `None` where there is none yet.
    fn load(&self) -> impl Future<Output = Result<Option<Roster>, RegistryError>> + Send;

    /// Puts `next` in the place of the roster of this revision, `None`: of none at all, in one step, and tells everybody
    /// of it. `false`: something else is there.
    fn replace(
        &self,
        expected_revision: Option<u64>,
        next: &Roster,
    ) -> impl Future<Output = Result<bool, RegistryError>> + Send;

    /// Takes or renews the lease of a name for one life. `false`: a later life holds it.
    fn renew(
        &self,
        name: &str,
        incarnation: u64,
        ttl: Duration,
    ) -> impl Future<Output = Result<bool, RegistryError>> + Send;

    /// For each name the life that holds its lease.
    fn holders(&self, names: &[&str])
    -> impl Future<Output = Result<Vec<Option<u64>>, RegistryError>> + Send;

    /// Frees a lease, where this very life holds it.
    fn release(&self, name: &str, incarnation: u64)
    -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Resolves once the roster may have changed since this was called (not: since it was first polled). It may miss
    /// changes, so whoever waits polls besides. To be called inside a tokio runtime.
    fn changed(&self) -> impl Future<Output = ()> + Send + 'static;
}
