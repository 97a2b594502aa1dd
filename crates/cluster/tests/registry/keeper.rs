//! What a keeper does on a registry that fails, and the static list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use annulus_cluster::{
    Authority, AuthorityError, Keeper, KeeperSettings, MemoryRegistry, Node, Registry, RegistryError, Roster,
    StaticAuthority,
};
use futures_util::FutureExt;

use crate::world::{LAYOUT, LONG, Memory, World, beat, form, names};

/// A registry that can be away, or in which somebody else is always quicker.
#[derive(Clone)]
struct Flaky {
    inner: MemoryRegistry,
    is_away: Arc<AtomicBool>,
    is_busy: Arc<AtomicBool>,
}

impl Flaky {
    async fn start() -> Self {
        Self { inner: Memory::start().await.registry(), is_away: Arc::default(), is_busy: Arc::default() }
    }

    fn keeper(&self) -> Keeper<Self> {
        Keeper::new(self.clone(), KeeperSettings { lease_ttl: LONG, layout: LAYOUT })
    }

    fn answers(&self) -> Result<(), RegistryError> {
        let is_away = self.is_away.load(Ordering::SeqCst);
        if is_away { Err(RegistryError::Unreachable("away".to_owned())) } else { Ok(()) }
    }
}

impl Registry for Flaky {
    async fn load(&self) -> Result<Option<Roster>, RegistryError> {
        self.answers()?;
        self.inner.load().await
    }

    async fn replace(&self, expected_revision: Option<u64>, next: &Roster) -> Result<bool, RegistryError> {
        self.answers()?;
        Ok(!self.is_busy.load(Ordering::SeqCst) && self.inner.replace(expected_revision, next).await?)
    }

    async fn renew(&self, name: &str, incarnation: u64, ttl: Duration) -> Result<bool, RegistryError> {
        self.answers()?;
        self.inner.renew(name, incarnation, ttl).await
    }

    async fn holders(&self, names: &[&str]) -> Result<Vec<Option<u64>>, RegistryError> {
        self.answers()?;
        self.inner.holders(names).await
    }

    async fn release(&self, name: &str, incarnation: u64) -> Result<(), RegistryError> {
        self.answers()?;
        self.inner.release(name, incarnation).await
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.changed()
    }
}

#[tokio::test]
async fn an_error_forgets_what_was_observed_and_nobody_leaves_for_an_outage() {
    let registry = Flaky::start().await;
    let keeper = registry.keeper();
    form(&keeper, &["a", "b"]).await;
    keeper.release("b", 1).await.unwrap();
    let ttl_ms = LONG.as_millis() as u64;
    for now_ms in (0..=ttl_ms).step_by(1_000) {
        assert_eq!(keeper.sweep(now_ms).await, Ok(vec![]));
    }
    registry.is_away.store(true, Ordering::SeqCst);
    assert_eq!(keeper.sweep(ttl_ms + 1_000).await, Err(AuthorityError::Unreachable("away".to_owned())));
    registry.is_away.store(false, Ordering::SeqCst);
    for now_ms in (ttl_ms + 2_000..=2 * ttl_ms + 2_000).step_by(1_000) {
        assert_eq!(keeper.sweep(now_ms).await, Ok(vec![]), "{now_ms}");
    }
    assert_eq!(keeper.sweep(2 * ttl_ms + 3_000).await, Ok(vec!["b".to_owned()]));
}

#[tokio::test]
async fn where_others_are_always_quicker_it_gives_up_and_the_lease_is_renewed_all_the_same() {
    let registry = Flaky::start().await;
    let keeper = registry.keeper();
    let known = form(&keeper, &["a", "b"]).await;
    keeper.release("a", 1).await.unwrap();
    registry.is_busy.store(true, Ordering::SeqCst);
    assert_eq!(keeper.beat(beat("a", 2, 0), None).await, Err(AuthorityError::Contended));
    assert_eq!(keeper.retire("a").await, Err(AuthorityError::Contended));
    assert_eq!(registry.inner.holders(&["a"]).await, Ok(vec![Some(2)]));
    registry.inner.wipe();
    assert_eq!(keeper.roster(Some(known)).await, Err(AuthorityError::Contended));
}

#[tokio::test]
async fn a_static_list_never_changes_and_says_how_it_is_changed() {
    let nodes = ["a", "b"].map(|name| Node::new(name, format!("{name}:1")));
    let authority: Arc<dyn Authority> = Arc::new(StaticAuthority::new(nodes, LAYOUT));
    let roster = authority.beat(beat("z", 9, 9), None).await.unwrap();
    assert_eq!((names(&roster), roster.is_settled()), (vec!["a", "b"], true));
    assert_eq!(authority.roster(Some(Arc::clone(&roster))).await.as_ref(), Ok(&roster));
    let error = authority.retire("a").await.unwrap_err().to_string();
    assert!(error.contains("static list") && error.contains("cluster.auxiliaries"), "{error}");
    assert_eq!(authority.retire("z").await, Err(AuthorityError::NotFound));
    assert_eq!(authority.release("a", 1).await, Ok(()));
    assert_eq!(authority.sweep(0).await, Ok(vec![]));
    assert_eq!(authority.changed().now_or_never(), None);
}
