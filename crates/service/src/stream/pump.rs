//! Reads, answers, writes: for protocols whose requests are carried out at once.

use std::io;

use bytes::BytesMut;
use futures_core::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Link, Output, Protocol};
use crate::body::{Budget, Share};

/// What a read asks for at least and, once a client has filled that, at most.
const FIRST_READ_BYTES: usize = 2 * 1024;
const MAX_READ_BYTES: usize = 64 * 1024;

/// What a session wants once it has done what it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More input. A value that is on its way says how many bytes it still takes, so that room is made for them at once;
    /// they must be within the limit that the session sets itself.
    More {
        /// Bytes still to come; 0 where nobody knows.
        wanted: usize,
    },
    /// To go on with the input that is there, once what it has answered so far is sent.
    Again,
    /// To end the connection, once what it has answered is sent.
    Close,
}

/// One connection's side of a protocol whose requests are carried out at once: bytes in, bytes out.
pub trait Session: Send + 'static {
    /// Carries out what is complete of `input`, takes it off the front, and adds the answers to `output`.
    fn advance(&mut self, input: &mut BytesMut, output: &mut Output) -> Next;
}

/// Serves each connection with a session of its own.
pub struct Pump<F> {
    begin: F,
    budget: Budget,
    at_limit: &'static [u8],
}

impl<F> Pump<F> {
    /// Sessions made by `begin`, which is told the worker's number. Values on their way in draw on `budget`.
    pub fn new(begin: F, budget: Budget, at_limit: &'static [u8]) -> Self {
        Self { begin, budget, at_limit }
    }
}

impl<I, F, S> Protocol<I> for Pump<F>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(usize) -> S + Send + Sync + 'static,
    S: Session,
{
    fn serve(&self, mut io: I, head: BytesMut, link: Link) -> BoxFuture<'static, ()> {
        let session = (self.begin)(link.worker);
        let budget = self.budget.clone();
        Box::pin(async move {
            // An error means that the client is gone: there is nobody to tell.
            let _ = run(&mut io, head, session, &budget, &link).await;
            let _ = io.shutdown().await;
        })
    }

    fn at_limit(&self) -> &'static [u8] {
        self.at_limit
    }
}

async fn run<I, S>(
    io: &mut I,
    mut input: BytesMut,
    mut session: S,
    budget: &Budget,
    link: &Link,
) -> io::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Session,
{
    let mut output = Output::default();
    let mut room = Room::default();
    loop {
        link.handling();
        let next = session.advance(&mut input, &mut output);
        output.write_to(io, link).await?;
        match next {
            Next::Close => return Ok(()),
            Next::Again => tokio::task::yield_now().await,
            Next::More { wanted } => {
                if link.is_closing() && input.is_empty() {
                    return Ok(());
                }
                room.make(&mut input, wanted, budget, link).await;
                if !room.read(io, &mut input).await? {
                    return Ok(());
                }
            }
        }
    }
}

/// The room that a connection reads into.
pub struct Room {
    read_bytes: usize,
    /// Of the budget, for a large value on its way.
    share: Share,
    shared_bytes: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { read_bytes: FIRST_READ_BYTES, share: Share::default(), shared_bytes: 0 }
    }
}

impl Room {
    /// Makes room for the next read. A large value waits for its share of the budget, and is not read meanwhile.
    pub async fn make(&mut self, input: &mut BytesMut, wanted: usize, budget: &Budget, link: &Link) {
        if input.is_empty() {
            if input.capacity() > MAX_READ_BYTES {
                *input = BytesMut::new();
            }
            link.idle();
        } else {
            link.receiving();
        }
        if wanted == 0 && self.shared_bytes > 0 {
            (self.share, self.shared_bytes) = (Share::default(), 0);
        }
        let whole = input.len() + wanted;
        if wanted > 0 && whole > self.shared_bytes {
            self.share = budget.wait_for(whole).await;
            self.shared_bytes = whole;
        }
        let spare = input.capacity() - input.len();
        if wanted > spare || spare < self.read_bytes / 2 {
            input.reserve(wanted.max(self.read_bytes));
        }
    }

    /// Reads once; false at the end of the stream.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn read<I: AsyncRead + Unpin>(&mut self, io: &mut I, input: &mut BytesMut) -> io::Result<bool> {
        let read = io.read_buf(input).await?;
        if input.len() == input.capacity() {
            self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
        }
        Ok(read > 0)
    }
}
