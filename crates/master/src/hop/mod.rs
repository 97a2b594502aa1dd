//! The hop from a master to an auxiliary, as one small trait, so that its transport can be replaced.

pub mod batch;
mod cork;
mod drive;
mod lane;
pub mod meta;
mod metrics;

use std::time::Duration;

use annulus_cluster::Roster;
use annulus_protocol::hop::{CopyState, CopyWrite, Look, Refusal, Taken};
use annulus_protocol::rest::{Health, Operation};
use annulus_protocol::{Key, Version};
use annulus_service::pool::PoolError;
use annulus_service::telemetry::TraceContext;
use bytes::Bytes;
use futures_util::future::BoxFuture;

use batch::Slot;

/// What goes with every call: until when it may take, and on whose connection it goes.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// When the answer is of no more use, in microseconds of the master's clock.
    pub deadline_us: u64,
    /// The worker that makes it.
    pub worker: usize,
    /// The trace that the call is a step of. It travels where whoever began it records it.
    pub trace: TraceContext,
    /// How a copy is read.
    pub look: Look,
}

/// Asks auxiliaries, each known by its index in one placement, about their copies.
///
/// Contract: a call ends within some milliseconds of its deadline; dropping its future gives it up; an error means that
/// nothing is known of whether the auxiliary did what was asked, unless [`HopError::is_unsent`]. Calls of one worker to one node
/// arrive there in the order in which they were made.
pub trait Hop: Send + Sync + 'static {
    /// Reads a copy.
    fn get<'a>(&'a self, node: usize, key: &'a Key, call: Call)
    -> BoxFuture<'a, Result<CopyState, HopError>>;

    /// Writes a copy.
    fn put<'a>(
        &'a self,
        node: usize,
        key: &'a Key,
        write: &'a CopyWrite,
        call: Call,
    ) -> BoxFuture<'a, Result<Result<Taken, Refusal>, HopError>>;

    /// Asks for the promise to refuse everything below `ballot`; answers with the copy as it is.
    fn promise<'a>(
        &'a self,
        node: usize,
        key: &'a Key,
        ballot: Version,
        call: Call,
    ) -> BoxFuture<'a, Result<Result<CopyState, Refusal>, HopError>>;

    /// Has the node forget everything at or below a version.
    fn flush(&self, node: usize, version: Version, call: Call) -> BoxFuture<'_, Result<(), HopError>>;

    /// Asks for a copy; the answer goes into the slot as it comes, and whoever waits for it makes sense of it.
    fn start_get(&self, node: usize, key: &[u8], call: Call, to: Slot);

    /// Counts calls of a batch that one node has answered, and the time that they took together.
    fn count_answered(&self, node: usize, calls: u64, micros: u64);

    /// Counts a call of a batch that failed, or that was given up.
    fn count_failed(&self, node: usize, error: Option<&HopError>);

    /// Asks how the node is.
    fn health(&self, node: usize, timeout: Duration) -> BoxFuture<'_, Result<Health, HopError>>;

    /// Tells the node to do something that concerns all it holds; gives the status and the JSON of its answer.
    fn order(
        &self,
        node: usize,
        operation: Operation,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<(u16, Bytes), HopError>>;
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// No whole answer came.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// This master has too many calls to the node under way already, or is out of memory for its answer.
    #[error("too many calls under way")]
    Busy,
    /// The node goes by a later roster, and did nothing.
    #[error("the node goes by a later roster")]
    Outdated(Box<Roster>),
    /// Another life of the node answers than the one that the roster names.
    #[error("the node has started again, and has not joined again yet")]
    AnotherLife,
    /// The answer is not one that an auxiliary gives.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

impl HopError {
    /// Whether the node certainly never saw the call.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Pool(PoolError::Connect(_)) | Self::Outdated(_))
    }

    /// Whether it speaks against the node: this master's own limits do not, and neither does a life that is loading.
    pub fn is_of_the_node(&self) -> bool {
        !matches!(self, Self::Busy | Self::AnotherLife | Self::Outdated(_))
    }
}
