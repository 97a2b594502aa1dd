//! One end of a simulated connection, as the system of its host keeps it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use tokio::io::ReadBuf;

use super::wire::HostId;

/// How many segments may be sent before the other side reads one.
const WINDOW: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Opening,
    Open,
    /// Refused or reset.
    Broken,
    /// Nobody has this end any more.
    Closed,
}

/// One end of a connection.
pub(super) struct End {
    pub(super) host: HostId,
    pub(super) state: State,
    /// Whether this side has ended what it sends.
    pub(super) is_shut: bool,
    /// When the last segment that was sent to it arrives.
    pub(super) last_us: u64,
    inbox: VecDeque<Bytes>,
    /// Segments that were sent to it and that it has not read, lost ones included.
    unread: usize,
    /// Whether the other side has ended what it sends, and all of that has arrived.
    is_ended: bool,
    /// Whether a segment to it was lost.
    has_gap: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl End {
    pub(super) fn new(host: HostId) -> Self {
        Self {
            host,
            state: State::Opening,
            is_shut: false,
            last_us: 0,
            inbox: VecDeque::new(),
            unread: 0,
            is_ended: false,
            has_gap: false,
            reader: None,
            writer: None,
        }
    }

    /// Whether a connection that was dialled is open.
    pub(super) fn poll_open(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self.state {
            State::Opening => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Open => Poll::Ready(Ok(())),
            State::Broken | State::Closed => Poll::Ready(Err(ErrorKind::ConnectionRefused.into())),
        }
    }

    /// Reads what has arrived; what came before a reset is read as well.
    pub(super) fn poll_read(&mut self, buf: &mut ReadBuf<'_>, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if let Some(bytes) = self.inbox.front_mut() {
            let taken = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..taken]);
            bytes.advance(taken);
            if bytes.is_empty() {
                self.inbox.pop_front();
                self.unread -= 1;
            }
            return Poll::Ready(Ok(()));
        }
        match self.state {
            State::Closed => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            _ if self.is_ended => Poll::Ready(Ok(())),
            State::Broken => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            State::Opening | State::Open => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Whether this side may send.
    pub(super) fn can_send(&self) -> bool {
        self.state == State::Open && !self.is_shut
    }

    /// Takes note that one more segment is sent to it, where it can take one.
    pub(super) fn take_credit(&mut self) -> bool {
        let has_room = self.unread < WINDOW;
        self.unread += usize::from(has_room);
        has_room
    }

    /// Wakes `waker` once the other side has read something.
    pub(super) fn wait_for_credit(&mut self, waker: &Waker) {
        self.writer = Some(waker.clone());
    }

    /// The other side has read something.
    pub(super) fn has_credit(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    /// Bytes arrive. Behind a gap they stay unseen.
    pub(super) fn arrive(&mut self, bytes: Bytes) {
        if !self.has_gap {
            self.inbox.push_back(bytes);
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// The end of what the other side sends arrives.
    pub(super) fn arrive_end(&mut self) {
        if !self.has_gap {
            self.is_ended = true;
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Something that was sent to it is lost.
    pub(super) fn miss(&mut self) {
        self.has_gap = true;
    }

    /// The connection is open from now on.
    pub(super) fn open(&mut self) {
        if self.state == State::Opening {
            self.state = State::Open;
            self.wake();
        }
    }

    /// The connection is refused or reset.
    pub(super) fn break_off(&mut self) {
        if self.state != State::Closed {
            self.state = State::Broken;
        }
        self.wake();
    }

    /// Gives it up; says whether anything had arrived that was not read.
    pub(super) fn close(&mut self) -> bool {
        self.state = State::Closed;
        self.wake();
        !std::mem::take(&mut self.inbox).is_empty()
    }

    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }
}
