//! The accept loops of every server of the project.
//!
//! `axum::serve` keeps a connection for as long as its client likes. This one bounds how many there are and how long
//! each may take to send a request, to read an answer, and to do nothing.

pub(crate) mod activity;
mod connection;
mod door;
mod watched_io;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus::process_collector::ProcessCollector;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::Readiness;
use crate::config::ServerSettings;
use crate::net::{Clock, Listener};
use crate::workers::Workers;
use activity::Activity;
use door::Door;
pub use door::Doors;

/// How often connections are looked over; time-outs are late by up to this much.
const SWEEP_INTERVAL: Duration = Duration::from_millis(200);
/// The same during shutdown, which somebody is waiting for.
const SHUTDOWN_SWEEP_INTERVAL: Duration = Duration::from_millis(20);
/// How many late connections are ended in one go, and the pause before the next.
const SWEEP_BATCH: usize = 128;
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// The limits of a server, to be changed while it runs; all but the number of connections.
#[derive(Clone)]
pub struct ServerLimits(Arc<ArcSwap<ServerSettings>>);

impl ServerLimits {
    /// Goes by these times from now on.
    pub fn set(&self, settings: &ServerSettings) {
        self.0.store(Arc::new(settings.clone()));
    }

    fn now(&self) -> Arc<ServerSettings> {
        self.0.load_full()
    }
}

/// A server: accept loops with limits. Cheap to make, runs once.
pub struct Server {
    limits: ServerLimits,
    clock: Arc<dyn Clock>,
    workers: Workers,
    connections: prometheus::IntGauge,
    refused: prometheus::IntCounter,
}

/// What the connections of one server share.
pub(crate) struct Shared {
    open: Mutex<BTreeMap<u64, (Arc<Activity>, AbortHandle)>>,
    accepted: AtomicUsize,
    max_connections: usize,
    workers: Workers,
    coarse: Arc<activity::CoarseClock>,
    closing: Arc<AtomicBool>,
    connections: prometheus::IntGauge,
    refused: prometheus::IntCounter,
}

impl Server {
    /// A server with the limits of `settings`, whose connections are served by `workers` and whose metrics go to `registry`.
    ///
    /// # Errors
    /// Where the registry has these metrics already.
    pub fn new(
        settings: ServerSettings,
        clock: Arc<dyn Clock>,
        workers: Workers,
        registry: &prometheus::Registry,
    ) -> prometheus::Result<Self> {
        let connections = prometheus::IntGauge::new("annulus_connections", "Open connections to this node.")?;
        let refused = prometheus::IntCounter::new(
            "annulus_connections_refused_total",
            "Connections turned away with an error because the node was at its connection limit.",
        )?;
        registry.register(Box::new(connections.clone()))?;
        registry.register(Box::new(refused.clone()))?;
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let limits = ServerLimits(Arc::new(ArcSwap::from_pointee(settings)));
        Ok(Self { limits, clock, workers, connections, refused })
    }

    /// Its limits.
    pub fn limits(&self) -> ServerLimits {
        self.limits.clone()
    }

    /// How many connections were refused because there were too many.
    pub fn refused(&self) -> prometheus::IntCounter {
        self.refused.clone()
    }

    /// Serves at all `doors` until `shutdown`, then lets requests under way finish for at most the grace time.
    ///
    /// At the connection limit a new connection is told so and closed at once. `readiness` is withdrawn with the
    /// shutdown.
    pub async fn run<L: Listener>(self, doors: Doors<L>, readiness: Readiness, shutdown: CancellationToken) {
        let shared = Arc::new(Shared {
            open: Mutex::default(),
            accepted: AtomicUsize::new(0),
            max_connections: self.limits.now().max_connections,
            workers: self.workers.clone(),
            coarse: Arc::new(activity::CoarseClock::new(self.clock.now_ms())),
            closing: Arc::default(),
            connections: self.connections.clone(),
            refused: self.refused.clone(),
        });
        let sweep = tokio::spawn(sweep(Arc::clone(&shared), Arc::clone(&self.clock), self.limits.clone()));
        let mut accepting = JoinSet::new();
        for (listener, door) in doors.open() {
            accepting.spawn(accept(listener, door, Arc::clone(&shared)));
        }
        shutdown.cancelled().await;
        readiness.set_leaving();
        // With its task a listener goes: nobody is accepted who would not be served.
        accepting.shutdown().await;
        self.drain(&shared).await;
        sweep.abort();
    }

    async fn drain(&self, shared: &Shared) {
        shared.closing.store(true, Ordering::Release);
        let end_ms = self.clock.now_ms() + self.limits.now().shutdown_grace.as_millis() as u64;
        loop {
            let now_ms = self.clock.now_ms();
            let left = shared.close_idle(now_ms, now_ms >= end_ms);
            if now_ms >= end_ms && left.busy > 0 {
                tracing::warn!(
                    connections = left.busy,
                    "closed with requests under way: the grace time is over"
                );
            }
            if now_ms >= end_ms || left.busy + left.waiting == 0 {
                return;
            }
            tokio::time::sleep(SHUTDOWN_SWEEP_INTERVAL).await;
        }
    }
}

async fn accept<L: Listener>(mut listener: L, door: Door<L::Io>, shared: Arc<Shared>) {
    loop {
        let accepted = listener.accept().await;
        let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
        if shared.open.lock().len() >= shared.max_connections {
            shared.refused.inc();
            let answer = door.at_limit();
            shared.workers.spawn(number, async move {
                if let Ok(io) = L::open(accepted) {
                    connection::refuse(io, answer).await;
                }
            });
            continue;
        }
        shared.spawn::<L>(number, accepted, &door);
    }
}

impl Shared {
    /// Serves a connection on the next worker in turn.
    fn spawn<L: Listener>(self: &Arc<Self>, number: usize, accepted: L::Accepted, door: &Door<L::Io>) {
        let worker = number % self.workers.count();
        let activity = Arc::new(door.activity(&self.coarse));
        let guest = door.guest(worker, &activity, &self.closing);
        let id = number as u64;
        // Held over the spawn, so that the connection cannot end before it is in the table.
        let mut open = self.open.lock();
        let registered = Registered { shared: Arc::clone(self), id };
        let task = self.workers.spawn(worker, async move {
            let _registered = registered;
            if let Ok(io) = L::open(accepted) {
                guest.serve(io).await;
            }
        });
        open.insert(id, (activity, task.abort_handle()));
        self.connections.inc();
    }

    fn overdue(&self, now_ms: u64, settings: &ServerSettings) -> Vec<AbortHandle> {
        let open = self.open.lock();
        let overdue = open.values().filter(|(activity, _)| activity.is_overdue(now_ms, settings));
        overdue.map(|(_, task)| task.clone()).collect()
    }

    /// Closes connections that have no request under way and will hardly bring one, or all of them.
    fn close_idle(&self, now_ms: u64, all: bool) -> Left {
        let open = self.open.lock();
        let mut left = Left::default();
        for (activity, task) in open.values() {
            let (is_busy, is_waiting) = (activity.is_busy(), activity.may_bring_more(now_ms));
            left.busy += usize::from(is_busy);
            left.waiting += usize::from(is_waiting);
            if all || !(is_busy || is_waiting) {
                task.abort();
            }
        }
        left
    }
}

/// The connections of a server that stops.
#[derive(Default)]
struct Left {
    /// Those with a request under way.
    busy: usize,
    /// Those that may bring one more.
    waiting: usize,
}

/// Ends connections that are late. Many at once go a few at a time, so that requests of others come between.
async fn sweep(shared: Arc<Shared>, clock: Arc<dyn Clock>, limits: ServerLimits) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        shared.coarse.set(clock.now_ms());
        for some in shared.overdue(shared.coarse.now_ms(), &limits.now()).chunks(SWEEP_BATCH) {
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
