//! One direction of one connection.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf as _, Bytes};
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{ByteCounters, Direction, Faults, Peer};

/// How many bytes are read at once.
const READ_BYTES: usize = 16 * 1024;
/// How many bytes are held back before the sender has to wait.
const HELD_BYTES: usize = 64 * 1024;

/// The connection ends with a reset on both sides.
pub(super) struct Broken;

/// Carries bytes, and the end of them, from one side to the other when the faults let them pass.
pub(super) struct Lane<'a> {
    direction: Direction,
    peer: &'a Peer,
    faults: watch::Receiver<Faults>,
    resets: u64,
    counters: &'a ByteCounters,
    /// Whether either side takes no more bytes. The other lane carries the news, behind what the side had said before.
    unwritable: &'a AtomicBool,
    held: VecDeque<Piece>,
    held_bytes: usize,
    ended: bool,
}

/// Something to carry, and when it came.
struct Piece {
    came: Instant,
    what: What,
}

enum What {
    Bytes(Bytes),
    Close,
    Reset,
}

impl<'a> Lane<'a> {
    pub(super) fn new(
        direction: Direction,
        peer: &'a Peer,
        faults: watch::Receiver<Faults>,
        resets: u64,
        counters: &'a ByteCounters,
        unwritable: &'a AtomicBool,
    ) -> Self {
        let held = VecDeque::new();
        Self { direction, peer, faults, resets, counters, unwritable, held, held_bytes: 0, ended: false }
    }

    /// Runs until the sender's end has reached the receiver or there is nobody to carry bytes to.
    pub(super) async fn run(mut self, from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Broken> {
        loop {
            let due = self.due();
            let writable = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
                to.writable().await
            };
            tokio::select! {
                changed = self.faults.changed() => changed.map_err(|_| Broken)?,
                _ = from.readable(), if !self.ended && self.held_bytes < HELD_BYTES => self.take(&from),
                _ = writable => match self.deliver(&to)? {
                    Delivered::Some => {}
                    Delivered::All => return to.shutdown().await.map_err(|_| Broken),
                    Delivered::Never => return Ok(()),
                },
            }
        }
    }

    /// When the next piece may cross; `None` while there is none or it may not.
    fn due(&mut self) -> Option<Instant> {
        let faults = self.faults.borrow_and_update();
        let next = self.held.front().filter(|_| faults.passes(self.direction, self.peer))?;
        next.came.checked_add(faults.way(self.direction, self.peer).delay)
    }

    /// Takes what the sender has for us at the moment.
    fn take(&mut self, from: &ReadHalf<'_>) {
        let mut buffer = [0; READ_BYTES];
        let what = match from.try_read(&mut buffer) {
            Ok(0) if self.unwritable.load(Ordering::Acquire) => What::Reset,
            Ok(0) => What::Close,
            Ok(read) => What::Bytes(Bytes::copy_from_slice(&buffer[..read])),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => What::Reset,
        };
        if let What::Bytes(bytes) = &what {
            self.held_bytes += bytes.len();
            self.counters.received.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        } else {
            self.ended = true;
        }
        self.held.push_back(Piece { came: Instant::now(), what });
    }

    /// Lets as much of the next piece cross as the receiver takes, unless a fault has come in between.
    fn deliver(&mut self, to: &WriteHalf<'_>) -> Result<Delivered, Broken> {
        // Held until the end: a fault that is being set waits, and nothing crosses once it is.
        let faults = self.faults.borrow();
        if faults.resets != self.resets {
            return Err(Broken);
        }
        let delay = faults.way(self.direction, self.peer).delay;
        let may_cross = faults.passes(self.direction, self.peer)
            && self.held.front().is_some_and(|next| next.came.elapsed() >= delay);
        if !may_cross {
            return Ok(Delivered::Some);
        }
        match self.held.front_mut().map(|next| &mut next.what) {
            Some(What::Bytes(bytes)) => match to.try_write(bytes) {
                Ok(written) => {
                    bytes.advance(written);
                    self.held_bytes -= written;
                    self.counters.delivered.fetch_add(written as u64, Ordering::AcqRel);
                    if bytes.is_empty() {
                        self.held.pop_front();
                    }
                    Ok(Delivered::Some)
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Delivered::Some),
                Err(_) => {
                    self.unwritable.store(true, Ordering::Release);
                    Ok(Delivered::Never)
                }
            },
            Some(What::Close) => Ok(Delivered::All),
            Some(What::Reset) => Err(Broken),
            None => Ok(Delivered::Some),
        }
    }
}

/// How far a lane got.
enum Delivered {
    /// There may be more.
    Some,
    /// The sender has said all, and it has crossed.
    All,
    /// The receiver takes no more.
    Never,
}
