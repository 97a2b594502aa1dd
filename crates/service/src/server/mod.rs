//! The accept loop of every HTTP server of the project.
//!
//! `axum::serve` keeps a connection for as long as its client likes. This one bounds how many there are and how long
//! each may take to send a header, to read an answer, and to do nothing.

mod activity;
mod connection;
mod watched_io;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use parking_lot::Mutex;
use prometheus::process_collector::ProcessCollector;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::Readiness;
use crate::config::ServerSettings;
use crate::net::{Clock, Listener};
use activity::Activity;

/// How often connections are looked over; time-outs are late by up to this much.
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);
/// The same during shutdown, which somebody is waiting for.
const SHUTDOWN_SWEEP_INTERVAL: Duration = Duration::from_millis(20);
/// How many late connections are ended in one go, and the pause before the next.
const SWEEP_BATCH: usize = 128;
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// A server: an accept loop with limits. Cheap to make, runs once.
pub struct Server {
    settings: ServerSettings,
    clock: Arc<dyn Clock>,
    connections: prometheus::IntGauge,
    refused: prometheus::IntCounter,
}

/// What the connections of one server share.
struct Shared {
    open: Mutex<BTreeMap<u64, (Arc<Activity>, AbortHandle)>>,
    closing: AtomicBool,
    connections: prometheus::IntGauge,
}

impl Server {
    /// A server with the limits of `settings`, whose metrics go to `registry`.
    ///
    /// # Errors
    /// Where the registry has these metrics already.
    pub fn new(
        settings: ServerSettings,
        clock: Arc<dyn Clock>,
        registry: &prometheus::Registry,
    ) -> prometheus::Result<Self> {
        let connections =
            prometheus::IntGauge::new("annulus_connections", "Open HTTP connections to this node.")?;
        let refused = prometheus::IntCounter::new(
            "annulus_connections_refused_total",
            "HTTP connections answered 503 because the node was at its connection limit.",
        )?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(Self { settings, clock, connections, refused })
    }

    /// Serves `app` on `listener` until `shutdown`, then lets requests under way finish for at most the grace time.
    ///
    /// At the connection limit a new connection is answered 503 and closed at once. `readiness` is withdrawn with the
    /// shutdown.
    pub async fn run<L: Listener>(
        self,
        mut listener: L,
        app: Router,
        readiness: Readiness,
        shutdown: CancellationToken,
    ) {
        let shared = Arc::new(Shared {
            open: Mutex::default(),
            closing: AtomicBool::new(false),
            connections: self.connections.clone(),
        });
        let coarse = Arc::new(activity::CoarseClock::new(self.clock.now_ms()));
        let sweep = tokio::spawn(sweep(
            Arc::clone(&shared),
            Arc::clone(&coarse),
            Arc::clone(&self.clock),
            self.settings.clone(),
        ));
        let mut next_id = 0_u64;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                io = listener.accept() => {
                    if shared.open.lock().len() >= self.settings.max_connections {
                        self.refused.inc();
                        tokio::spawn(connection::refuse(io));
                        continue;
                    }
                    next_id += 1;
                    shared.spawn(next_id, io, app.clone(), Arc::clone(&coarse));
                }
            }
        }
        readiness.set_leaving();
        drop(listener);
        self.drain(&shared).await;
        sweep.abort();
    }

    async fn drain(&self, shared: &Shared) {
        shared.closing.store(true, Ordering::Release);
        let end_ms = self.clock.now_ms() + self.settings.shutdown_grace.as_millis() as u64;
        loop {
            let late = self.clock.now_ms() >= end_ms;
            let left = shared.close_idle(late);
            if left == 0 {
                return;
            }
            if late {
                tracing::warn!(connections = left, "closed with requests under way: the grace time is over");
                return;
            }
            tokio::time::sleep(SHUTDOWN_SWEEP_INTERVAL).await;
        }
    }
}

impl Shared {
    fn spawn<I>(self: &Arc<Self>, id: u64, io: I, app: Router, coarse: Arc<activity::CoarseClock>)
    where
        I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::new(coarse));
        // Held over the spawn, so that the connection cannot end before it is in the table.
        let mut open = self.open.lock();
        let guard = Registered { shared: Arc::clone(self), id };
        let task = tokio::spawn({
            let activity = Arc::clone(&activity);
            async move { connection::serve(io, app, &activity, &guard.shared.closing).await }
        });
        open.insert(id, (activity, task.abort_handle()));
        self.connections.inc();
    }

    fn overdue(&self, now_ms: u64, settings: &ServerSettings) -> Vec<AbortHandle> {
        let open = self.open.lock();
        let overdue = open.values().filter(|(activity, _)| activity.is_overdue(now_ms, settings));
        overdue.map(|(_, task)| task.clone()).collect()
    }

    /// Closes connections without a request under way, or all of them; returns how many were under way.
    fn close_idle(&self, all: bool) -> usize {
        let open = self.open.lock();
        let mut busy = 0;
        for (activity, task) in open.values() {
            let is_busy = activity.is_busy();
            busy += usize::from(is_busy);
            if all || !is_busy {
                task.abort();
            }
        }
        busy
    }
}

/// Ends connections that are late. Many at once go a few at a time, so that requests of others come between.
async fn sweep(
    shared: Arc<Shared>,
    coarse: Arc<activity::CoarseClock>,
    clock: Arc<dyn Clock>,
    settings: ServerSettings,
) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        coarse.set(clock.now_ms());
        for some in shared.overdue(coarse.now_ms(), &settings).chunks(SWEEP_BATCH) {
            some.iter().for_each(AbortHandle::abort);
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
    }
}

/// Takes a connection out of the table when its task ends, however it ends.
struct Registered {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.open.lock().remove(&self.id);
        self.shared.connections.dec();
    }
}
