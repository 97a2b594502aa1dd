//! What a protocol must do to be loaded: dial, and answer a batch of requests. HTTP and memcached are the two there are.

use std::fmt;
use std::future::Future;

use bytes::Bytes;

use crate::batch::{Batch, Names};
use crate::clock::Instant;
use crate::interface::Interface;
use crate::parse::Url;

/// What the servers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// The REST interface, with one request in flight a connection.
    Http,
    /// memcached's text protocol, with as many in flight as `--pipeline` says.
    Memcached,
}

impl Protocol {
    /// What a URL of it starts with.
    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Memcached => "memcached",
        }
    }
}

/// What a request does; also its index into per-operation tallies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Set,
    Delete,
}

/// One request, with its keys unescaped.
#[derive(Debug)]
pub(crate) enum Call<'a> {
    Get {
        keys: Names<'a>,
    },
    /// Store raw bytes.
    Put {
        key: &'a str,
        value: &'a Bytes,
    },
    /// Store as a cache user of the JSON interface does, where there is one; the value must be printable ASCII without
    /// `"` and `\`.
    Post {
        key: &'a str,
        value: &'a Bytes,
    },
    Delete {
        key: &'a str,
    },
}

impl Call<'_> {
    pub(crate) fn operation(&self) -> Operation {
        match self {
            Self::Get { .. } => Operation::Get,
            Self::Put { .. } | Self::Post { .. } => Operation::Set,
            Self::Delete { .. } => Operation::Delete,
        }
    }
}

/// Why a request has no answer of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ErrorKind {
    /// HTTP's, neither a success nor a miss.
    Status(u16),
    /// memcached's `ERROR`: no such command.
    UnknownCommand,
    /// memcached's `CLIENT_ERROR`.
    ClientError,
    /// memcached's `SERVER_ERROR`.
    ServerError,
    /// memcached's `NOT_STORED`.
    NotStored,
    /// An answer that is not the protocol's, or not to what was asked.
    Malformed,
    /// No server accepted a connection.
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
        !matches!(self, Self::Malformed | Self::Connect | Self::Closed | Self::Body | Self::NotSent)
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Status(status) => return write!(f, "status {status}"),
            Self::UnknownCommand => "ERROR",
            Self::ClientError => "CLIENT_ERROR",
            Self::ServerError => "SERVER_ERROR",
            Self::NotStored => "NOT_STORED",
            Self::Malformed => "malformed",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Body => "body",
            Self::Corrupt => "corrupt",
            Self::Stale => "stale",
            Self::NotSent => "not sent",
        };
        f.write_str(text)
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
    /// Client flags of written values; memcached's only.
    pub(crate) flags: u32,
    /// HTTP's only.
    pub(crate) interface: Interface,
    /// Keep the bodies of values, to check them.
    pub(crate) keep_bodies: bool,
}

/// One connection, with one batch in flight.
pub(crate) trait Connection: Sized + Send + Sync + 'static {
    /// Connects, by `deadline` at the latest.
    fn open(
        url: &Url,
        options: &Options,
        deadline: Instant,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Makes all requests of `batch` and gives it each answer, in order. After a failure the connection must be dropped,
    /// and those without an answer failed with it.
    fn exchange(
        &mut self,
        batch: &mut Batch,
        deadline: Instant,
    ) -> impl Future<Output = Result<(), Failure>> + Send;
}
