//! The hop from a master to an auxiliary, as one small trait, so that its transport can be replaced.

pub mod http;
mod metrics;

use std::time::Duration;

use annulus_cluster::Roster;
use annulus_protocol::hop::{CopyState, CopyWrite, Refusal, Taken};
use annulus_protocol::rest::{Health, Operation};
use annulus_protocol::{Key, Version};
use annulus_service::pool::PoolError;
use annulus_service::telemetry::TraceContext;
use bytes::Bytes;
use futures_util::future::BoxFuture;

/// What goes with every call: how long it may take, and which request it belongs to.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// The most that the answer may take.
    pub timeout: Duration,
    /// The trace that the call is a step of.
    pub trace: TraceContext,
}

/// Asks auxiliaries, each known by its index in one placement, about their copies.
///
/// Contract: a call ends within its time-out; dropping its future gives it up; an error means that nothing is known of
/// whether the auxiliary did what was asked.
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

    /// Asks how the node is.
    fn health(&self, node: usize, call: Call) -> BoxFuture<'_, Result<Health, HopError>>;

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
    /// No connection could be made.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke under the call.
    #[error("the connection broke: {0}")]
    Broken(String),
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
        matches!(self, Self::Connect(_) | Self::Outdated(_))
    }

    /// Whether it speaks against the node: this master's own limits do not, and neither does a life that is loading.
    pub fn is_of_the_node(&self) -> bool {
        !matches!(self, Self::Busy | Self::AnotherLife | Self::Outdated(_))
    }
}

impl From<PoolError> for HopError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Connect(why) => Self::Connect(why),
            PoolError::TimedOut => Self::TimedOut,
            PoolError::Broken(why) => Self::Broken(why),
        }
    }
}
