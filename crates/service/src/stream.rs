//! Protocols that are no HTTP: how a server hands a connection over, and a pump for those whose requests are answered at
//! once.

mod output;
mod pump;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use futures_core::future::BoxFuture;

pub use output::Output;
pub use pump::{Next, Pump, Room, Session};

use crate::server::activity::{Activity, Phase};

/// Serves connections of one protocol.
pub trait Protocol<I>: Send + Sync + 'static {
    /// Serves a connection to its end. `head` has been read from it already.
    fn serve(&self, io: I, head: BytesMut, link: Link) -> BoxFuture<'static, ()>;

    /// What a client over the limit of connections is told before its connection is closed.
    fn at_limit(&self) -> &'static [u8];
}

/// A connection's tie to its server, by which the server knows what it is doing and since when.
pub struct Link {
    /// The worker that serves it.
    pub worker: usize,
    pub(crate) activity: Arc<Activity>,
    pub(crate) closing: Arc<AtomicBool>,
}

impl Link {
    /// Nothing is under way: the client may take as long as it likes to send more.
    pub fn idle(&self) {
        self.activity.enter(Phase::Idle);
    }

    /// A part of a request has come: the rest has to follow.
    pub fn receiving(&self) {
        self.activity.enter(Phase::Header);
    }

    /// Requests are being carried out; they bound themselves.
    pub fn handling(&self) {
        self.activity.enter(Phase::Handling);
    }

    /// Answers are on their way out, and the client has taken some just now.
    pub fn sending(&self) {
        self.activity.enter(Phase::Writing);
    }

    /// Whether the server wants to stop: what is under way is finished, nothing more is read.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}
