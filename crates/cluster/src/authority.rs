//! The authority on membership, as masters and auxiliaries see it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::discovery::DiscoveryCounts;
use crate::registry::RegistryError;
use crate::{Beat, BeatError, Layout, Node, NodeError, Roster};

/// Why the authority did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityError {
    /// It knows better than the beat.
    #[error(transparent)]
    Beat(#[from] BeatError),
    /// The beat is of no valid node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// It cannot be asked, or what it has cannot be used. The last roster stays.
    #[error("{0}")]
    Unreachable(String),
    /// Others changed the roster each time.
    #[error("too many nodes change the membership at once: try again in a moment")]
    Contended,
    /// There is no member of this name.
    #[error("no such node is a member")]
    NotFound,
    /// One change at a time.
    #[error("another change has to settle first; try again")]
    Unsettled,
    /// There is nobody to hand over to.
    #[error("it is the last node, with nobody to hand its keys to: add another first, or stop its process")]
    Last,
    /// The members are a list that only whoever runs the cluster changes.
    #[error(
        "membership is a static list: take the node off cluster.auxiliaries of every master and auxiliary and restart \
         them, or let Redis keep the membership"
    )]
    StaticList,
    /// Kubernetes wants this node: it would come back at once.
    #[error("Kubernetes says who the members are: {0}")]
    Wanted(String),
    /// Kubernetes has no pod of this node's name.
    #[error(
        "Kubernetes knows no pod called {0} that cluster.kubernetes.label_selector selects: set auxiliary.name \
         (ANNULUS_AUXILIARY__NAME) to the pod's name, and the selector to labels of the auxiliaries' pods"
    )]
    NoPod(String),
}

impl From<RegistryError> for AuthorityError {
    fn from(error: RegistryError) -> Self {
        Self::Unreachable(error.to_string())
    }
}

/// Who says who is a member. Every call ends within 10 s, and may be dropped at any time.
pub trait Authority: Send + Sync + 'static {
    /// Takes what a node says of itself, renews its lease, and answers with the newest roster. `known` is the last roster
    /// that the caller has seen: where the authority has lost it, it is put back.
    ///
    /// # Errors
    /// Most of all [`AuthorityError::Beat`]: this life has no business any more, and its lease is not renewed.
    fn beat(
        &self,
        beat: Beat,
        known: Option<Arc<Roster>>,
    ) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>>;

    /// The newest roster, `known` itself where it is that; an empty one where no cluster has formed.
    ///
    /// # Errors
    /// Where the authority cannot be asked.
    fn roster(&self, known: Option<Arc<Roster>>) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>>;

    /// Lets a member hand everything over and go; one that does so already may be named again.
    ///
    /// # Errors
    /// [`NotFound`](AuthorityError::NotFound), [`Unsettled`](AuthorityError::Unsettled), [`Last`](AuthorityError::Last),
    /// [`StaticList`](AuthorityError::StaticList).
    fn retire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Roster>, AuthorityError>>;

    /// Gives the lease of this life back, as the last thing that a process does.
    ///
    /// # Errors
    /// Where the authority cannot be asked; the lease then ends by itself.
    fn release<'a>(&'a self, name: &'a str, incarnation: u64) -> BoxFuture<'a, Result<(), AuthorityError>>;

    /// Takes out a member whose lease was missing for a whole lease TTL by this authority's own observation, and answers
    /// with the names of those it took out. To be called about once a second with a steady clock; an error or a gap of more
    /// than 3 s (or half a TTL) forgets what was observed, and where all leases are missing nobody is taken out.
    ///
    /// # Errors
    /// Where the authority cannot be asked.
    fn sweep(&self, now_ms: u64) -> BoxFuture<'_, Result<Vec<String>, AuthorityError>>;

    /// Resolves once the roster may have changed since this was called, so call it before [`roster`](Self::roster) and wait
    /// for it afterwards. It may miss changes: poll besides. To be called inside a tokio runtime.
    fn changed(&self) -> BoxFuture<'static, ()>;

    /// The nonce of the beat under way, where the authority asks the node back whether it is where it says: the node
    /// answers only while it waits for just that. Other authorities have none.
    fn asks_back_for(&self) -> Option<[u8; 16]> {
        None
    }

    /// What has been learned of the members from elsewhere, for metrics; `None` where nothing is.
    fn discovery(&self) -> Option<DiscoveryCounts> {
        None
    }
}

/// The authority where the members are a list: everybody is a member for ever, in whatever life.
#[derive(Clone, Debug)]
pub struct StaticAuthority {
    roster: Arc<Roster>,
}

impl StaticAuthority {
    /// These nodes, sorted by name, as [`View`](crate::View) checks them.
    pub fn new(nodes: impl IntoIterator<Item = Node>, layout: Layout) -> Self {
        Self { roster: Arc::new(Roster::fixed(nodes, layout)) }
    }

    fn answer(&self) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(std::future::ready(Ok(Arc::clone(&self.roster))))
    }
}

impl From<Roster> for StaticAuthority {
    fn from(roster: Roster) -> Self {
        Self { roster: Arc::new(roster) }
    }
}

impl Authority for StaticAuthority {
    fn beat(&self, _: Beat, _: Option<Arc<Roster>>) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        self.answer()
    }

    fn roster(&self, _: Option<Arc<Roster>>) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        self.answer()
    }

    fn retire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Roster>, AuthorityError>> {
        let is_member = self.roster.find(name).is_some();
        let error = if is_member { AuthorityError::StaticList } else { AuthorityError::NotFound };
        Box::pin(std::future::ready(Err(error)))
    }

    fn release<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn sweep(&self, _: u64) -> BoxFuture<'_, Result<Vec<String>, AuthorityError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}
