//! What a protocol must do to be loaded: dial, and answer one call at a time. HTTP is the one there is; memcached fits
//! behind the same trait.

use std::fmt;
use std::future::Future;

use bytes::Bytes;

use crate::clock::Instant;
use crate::parse::Url;

/// What a request does; also its index into per-operation tallies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
    Delete,
}

/// One request, with its key unescaped.
#[derive(Debug)]
pub(crate) enum Call<'a> {
    Get {
        key: &'a str,
    },
    /// Store raw bytes.
    Put {
        key: &'a str,
        value: Bytes,
    },
    /// Store as a cache user of the JSON interface does; the value must be printable ASCII without `"` and `\`.
    Post {
        key: &'a str,
        value: Bytes,
    },
    Delete {
        key: &'a str,
    },
}

/// The answers that are no errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A value; [`Connection::body`] has it, where the connection was opened to keep it.
    Hit,
    Miss,
    /// Stored, or deleted, whether there was something to delete or not.
    Done,
}

/// Why a request has no answer of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ErrorKind {
    Status(u16),
    /// No master accepted a connection.
    Connect,
    Timeout,
    /// The connection broke before the answer's head.
    Closed,
    /// The connection broke within the answer's body.
    Body,
    Corrupt,
    Stale,
    /// Due in the open loop, but no connection became free in time.
    NotSent,
}

impl ErrorKind {
    /// Whether the time it took says how long the system takes to answer.
    pub(crate) fn has_latency(self) -> bool {
        matches!(self, Self::Status(_) | Self::Timeout | Self::Corrupt | Self::Stale)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Connect => f.write_str("connect"),
            Self::Timeout => f.write_str("timeout"),
            Self::Closed => f.write_str("closed"),
            Self::Body => f.write_str("body"),
            Self::Corrupt => f.write_str("corrupt"),
            Self::Stale => f.write_str("stale"),
            Self::NotSent => f.write_str("not sent"),
        }
    }
}

/// What a failed request may have done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing, and no byte of it was sent: it may be sent again on another connection.
    Unsent,
    /// Nothing: it was refused.
    None,
    /// Perhaps all it should.
    Unknown,
}

#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) detail: String,
    pub(crate) effect: Effect,
}

/// How requests are to be made, the same for all connections.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) ttl_s: Option<u64>,
    /// Keep the bodies of values, to check them.
    pub(crate) keep_bodies: bool,
}

/// One connection, with one request in flight.
pub(crate) trait Connection: Sized + Send + Sync + 'static {
    /// Connects, by `deadline` at the latest.
    fn open(
        url: &Url,
        options: &Options,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Makes one request and reads its answer to the end. After a failure other than [`ErrorKind::Status`] the
    /// connection must be dropped.
    fn call(
        &mut self,
        call: &Call<'_>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reply, Failure>> + Send;

    /// The last answer's body, where it was kept.
    fn body(&self) -> &[u8];

    /// The length of the last answer's body, kept or not.
    fn body_bytes(&self) -> u64;
}
