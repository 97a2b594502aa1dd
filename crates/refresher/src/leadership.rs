//! The shell round the lease: makes the calls that it asks for, and tells who must know.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::fenced::{Claim, FencedStore, Writer};
use annulus_cluster::lease::{Action, Answer, Call, Lease, LeaseSettings, Loss};
use annulus_service::net::Clock;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How long a replica that shuts down waits for the lease to be given back. Otherwise it ends by itself.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);
/// The longest sleep; the lease says itself when it is due before.
const LONGEST_SLEEP_MS: u64 = 60_000;

/// Who leads, as this replica knows it.
pub(crate) struct Leadership {
    id: String,
    lease: Mutex<Lease>,
    ttl: Duration,
    /// The token of the term in which this replica leads.
    terms: watch::Sender<Option<u64>>,
    changed: Notify,
    store: Arc<dyn FencedStore>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
}

type Pending<'a> = BoxFuture<'a, (Call, Answer)>;

impl Leadership {
    pub(crate) fn new(
        id: String,
        settings: LeaseSettings,
        store: Arc<dyn FencedStore>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            id,
            lease: Mutex::new(Lease::new(settings)),
            ttl: settings.ttl,
            terms: watch::Sender::new(None),
            changed: Notify::new(),
            store,
            clock,
            metrics,
        }
    }

    /// Whether this replica leads now, in this term. To be asked right before anything that only the leader does.
    pub(crate) fn holds(&self, token: u64) -> bool {
        self.lease.lock().term(self.clock.now_ms()).is_some_and(|term| term.token == token)
    }

    /// Whether this replica leads now.
    pub(crate) fn leads(&self) -> bool {
        self.lease.lock().term(self.clock.now_ms()).is_some()
    }

    /// The terms in which this replica leads, as they begin and end.
    pub(crate) fn terms(&self) -> watch::Receiver<Option<u64>> {
        self.terms.subscribe()
    }

    /// Who writes in this term.
    pub(crate) fn writer(&self, token: u64) -> Writer<'_> {
        Writer { id: &self.id, token }
    }

    /// The store refused something that was written in this term.
    pub(crate) fn refused(&self, token: u64) {
        let actions = self.lease.lock().refused(self.clock.now_ms(), token);
        self.apply(actions);
        self.changed.notify_one();
    }

    /// A term that somebody was in.
    pub(crate) fn heard_of(&self, token: u64) {
        self.lease.lock().heard_of(token);
    }

    /// Takes part in the election until `shutdown`, then gives the lease back.
    pub(crate) async fn run(&self, shutdown: CancellationToken) {
        let mut pending: Option<Pending<'_>> = None;
        while !shutdown.is_cancelled() {
            let actions = self.lease.lock().tick(self.clock.now_ms());
            pending = self.apply(actions).or(pending);
            let pause_ms = {
                let next_ms = self.lease.lock().next_ms();
                next_ms.saturating_sub(self.clock.now_ms()).min(LONGEST_SLEEP_MS)
            };
            let answered = async {
                match &mut pending {
                    Some(call) => call.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = self.changed.notified() => {}
                (call, answer) = answered => {
                    let actions = self.lease.lock().answered(self.clock.now_ms(), call, answer);
                    pending = self.apply(actions);
                }
                () = sleep(Duration::from_millis(pause_ms)) => {}
            }
        }
        // A call that is under way could still be granted after the lease was given back: it goes first.
        let end = async {
            let resigned = self.lease.lock().resign(self.clock.now_ms());
            if let Some(call) = pending {
                call.await;
            }
            if resigned.contains(&Action::Release) && self.store.release(&self.id).await.is_ok() {
                tracing::debug!("the lease is given back");
            }
            resigned
        };
        let resigned = timeout(RELEASE_LIMIT, end).await.unwrap_or_default();
        self.apply(resigned);
    }

    /// Tells of a term that began or ended, and makes a call where one is asked for.
    fn apply(&self, actions: Vec<Action>) -> Option<Pending<'_>> {
        let mut call = None;
        for action in actions {
            match action {
                Action::Acquire { call: id, known_token } => call = Some(self.acquire(id, known_token)),
                Action::Renew { call: id, token } => call = Some(self.renew(id, token)),
                // Made where it is waited for.
                Action::Release => {}
                Action::Lead { token } => {
                    tracing::info!(token, id = self.id, "this replica leads");
                    self.metrics.elected.inc();
                    self.terms.send_replace(Some(token));
                }
                Action::Follow { token, why } => {
                    if why == Loss::Resigned {
                        tracing::info!(token, "this replica leads no more: {}", why.as_str());
                    } else {
                        tracing::warn!(token, "this replica leads no more: {}", why.as_str());
                    }
                    self.metrics.deposed.inc();
                    self.terms.send_replace(None);
                }
            }
        }
        call
    }

    fn acquire(&self, call: Call, known_token: u64) -> Pending<'_> {
        Box::pin(async move {
            let answer = match self.store.acquire(&self.id, known_token, self.ttl).await {
                Ok(Claim::Granted { token }) => Answer::Granted { token },
                Ok(Claim::Held { left }) => Answer::Held { left },
                Err(error) => {
                    tracing::debug!(%error, "cannot ask for the lease");
                    Answer::Unknown
                }
            };
            (call, answer)
        })
    }

    fn renew(&self, call: Call, token: u64) -> Pending<'_> {
        Box::pin(async move {
            let answer = match self.store.renew(self.writer(token), self.ttl).await {
                Ok(true) => Answer::Renewed,
                Ok(false) => Answer::NotHeld,
                Err(error) => {
                    tracing::warn!(%error, "cannot renew the lease");
                    Answer::Unknown
                }
            };
            (call, answer)
        })
    }
}
