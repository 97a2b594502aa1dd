//! Memcached on this node's own store: a single auxiliary is a memcached.
//!
//! What is written here has versions of this node's own clock and is like any other write to the masters, who read it as
//! octets. In a cluster it reaches the other copies only when a master repairs them, so there clients talk to masters.
//!
//! The CAS unique of an item is the version under which it was first written: a new time to live or a mark makes a new
//! version, because copies have to agree on it, and leaves the unique as it was.

mod figures;
mod item;
mod session;
mod tallies;
mod turn;
mod update;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annulus_protocol::Version;
use annulus_protocol::memcached::stats::Prefixes;
use annulus_protocol::version::HybridClock;
use annulus_service::config::Settings;
use annulus_service::stream::Pump;
use parking_lot::Mutex;
use prometheus::IntCounter;

use self::session::Session;
use self::tallies::{Tallies, Totals};
use crate::Node;
use crate::metrics::Metrics;

/// What a client over the limit of connections is told, as memcached does.
const AT_LIMIT: &[u8] = b"ERROR Too many open connections\r\n";

/// What all clients of memcached share on one node.
pub(crate) struct Front {
    clock: HybridClock,
    /// When everything is to be forgotten, in milliseconds since the Unix epoch; 0: never.
    flush_at_ms: AtomicU64,
    tallies: Tallies,
    prefixes: Prefixes,
    /// What the counters stood at when they were last set to zero.
    zero: Mutex<Totals>,
    connections: AtomicU64,
    connections_ever: AtomicU64,
    /// Connections that the server refused, memcached's or not.
    refused: IntCounter,
    limits: Limits,
}

/// What a client may read of the node's configuration.
struct Limits {
    host: String,
    /// 0: it does not listen for memcached.
    port: AtomicU64,
    connections: usize,
    threads: usize,
}

impl Front {
    /// `seed` makes the versions of this node differ from those of others.
    pub(crate) fn new(
        seed: u64,
        settings: &Settings,
        threads: usize,
        refused: IntCounter,
        metrics: &Metrics,
    ) -> Self {
        Self {
            clock: HybridClock::new(seed),
            flush_at_ms: AtomicU64::new(0),
            tallies: Tallies::new(threads, metrics),
            prefixes: Prefixes::default(),
            zero: Mutex::default(),
            connections: AtomicU64::new(0),
            connections_ever: AtomicU64::new(0),
            refused,
            limits: Limits {
                host: settings.server.host.clone(),
                port: AtomicU64::new(0),
                connections: settings.server.max_connections,
                threads,
            },
        }
    }

    /// The protocol for a listener on this port.
    pub(crate) fn protocol(
        node: &Arc<Node>,
        port: u16,
    ) -> Pump<impl Fn(usize) -> Session + Send + Sync + 'static> {
        node.memcached.limits.port.store(port.into(), Ordering::Relaxed);
        let budget = node.bodies.budget().clone();
        let node = Arc::clone(node);
        Pump::new(move |worker| Session::new(Arc::clone(&node), worker), budget, AT_LIMIT)
    }

    /// A version above all that this node has made and the one that it knows.
    fn version_above(&self, known: u64, now_ms: u64) -> Version {
        self.clock.observe(Version(known));
        self.clock.tick(now_ms)
    }

    /// Forgets everything if it is time to.
    pub(crate) fn flush_if_due(&self, node: &Node, now_ms: u64) {
        let at_ms = self.flush_at_ms.load(Ordering::Acquire);
        if at_ms == 0 || now_ms < at_ms {
            return;
        }
        let taken = self.flush_at_ms.compare_exchange(at_ms, 0, Ordering::AcqRel, Ordering::Acquire);
        if taken.is_ok() {
            self.flush(node, now_ms);
        }
    }

    fn flush(&self, node: &Node, now_ms: u64) {
        node.copies.store().clear(self.clock.tick(now_ms).0);
    }

    /// Hands what was counted over to the node's metrics.
    pub(crate) fn flush_metrics(&self, metrics: &Metrics) {
        self.tallies.flush(metrics);
    }
}
