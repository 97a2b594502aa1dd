//! The IO of a [`Lane`]: connects, sends what has gathered, gives answers to whoever waits for them.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annulus_protocol::hop::CopyState;
use annulus_protocol::hop::wire::{Answer, AnswerHead};
use annulus_service::body::{Budget, Share};
use annulus_service::net::{Clock, Net};
use annulus_service::pool::PoolError;
use annulus_service::stream::Output;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Sleep;

use super::HopError;
use super::cork::Cork;
use super::lane::Lane;

/// How long a connection may take to be made, and a node that did not answer to say that it does again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The pause before a node that is down is tried again: doubled each time, up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// What a read asks for at least.
const READ_BYTES: usize = 16 * 1024;

/// Values up to this size are copied out of the read buffer, which can then be used again at once.
const COPIED_BYTES: usize = 2 * 1024;

/// What a lane needs beside its state.
pub(super) struct Driver<N> {
    pub(super) lane: Arc<Lane>,
    pub(super) net: N,
    pub(super) address: String,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) budget: Budget,
    /// The longest value or roster that an answer may hold.
    pub(super) max_body_bytes: usize,
}

impl<N: Net> Driver<N> {
    /// Serves the lane until cancelled from outside.
    pub(super) async fn drive(self) {
        loop {
            poll_fn(|cx| {
                self.lane.register(cx.waker());
                if self.lane.is_wanted() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let mut down = match self.connect().await {
                Ok(io) => self.serve(io).await,
                Err(why) => Some(why),
            };
            while let Some(why) = down {
                self.lane.broke(&why, true);
                let io = self.wait_for_node().await;
                self.lane.is_up();
                down = self.serve(io).await;
            }
        }
    }

    /// Serves one connection to its end; says why where the node hangs.
    async fn serve(&self, io: N::Io) -> Option<PoolError> {
        let mut connection = Connection {
            driver: self,
            io,
            unsent: Output::default(),
            cork: Cork::default(),
            answers: Answers::default(),
            alarm: Alarm::default(),
        };
        let end = connection.serve().await;
        match end {
            End::Hangs => Some(PoolError::TimedOut),
            End::Broke(why) => {
                self.lane.broke(&PoolError::Broken(why), false);
                None
            }
        }
    }

    async fn connect(&self) -> Result<N::Io, PoolError> {
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.net.dial(&self.address)).await;
        dialled
            .map_err(|_| PoolError::Connect("no answer in time".to_owned()))?
            .map_err(|error| PoolError::Connect(error.to_string()))
    }

    /// Tries until the node answers.
    async fn wait_for_node(&self) -> N::Io {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            if let Ok(mut io) = self.connect().await
                && matches!(tokio::time::timeout(CONNECT_TIMEOUT, greet(&mut io)).await, Ok(Ok(())))
            {
                return io;
            }
        }
    }
}

/// Asks for nothing, to hear the node.
async fn greet<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I) -> std::io::Result<()> {
    io.write_all(b"mn\r\n").await?;
    let mut answer = [0; 4];
    io.read_exact(&mut answer).await?;
    if answer == *b"MN\r\n" { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// How a connection ended.
enum End {
    /// Nothing comes from the node.
    Hangs,
    Broke(String),
}

struct Connection<'a, N: Net> {
    driver: &'a Driver<N>,
    io: N::Io,
    unsent: Output,
    cork: Cork,
    answers: Answers,
    alarm: Alarm,
}

/// Goes off at the earliest deadline.
#[derive(Default)]
struct Alarm(Option<(u64, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Whether it is time to look for calls whose time has run out, the earliest of them at `earliest_us`.
    fn poll(&mut self, cx: &mut Context<'_>, earliest_us: u64, clock: &dyn Clock) -> Poll<()> {
        let sleep = match &mut self.0 {
            // A call that has been answered since leaves the alarm early: it goes off once for nothing, and not for each call.
            Some((set_us, sleep)) if *set_us <= earliest_us => sleep,
            set => {
                let wait = Duration::from_micros(earliest_us.saturating_sub(clock.now_us()));
                &mut set.insert((earliest_us, Box::pin(tokio::time::sleep(wait)))).1
            }
        };
        std::task::ready!(sleep.as_mut().poll(cx));
        self.0 = None;
        Poll::Ready(())
    }
}

impl<N: Net> Connection<'_, N> {
    async fn serve(&mut self) -> End {
        loop {
            if let Err(end) = poll_fn(|cx| self.poll_gathered(cx)).await {
                return end;
            }
            if self.cork.looks_again() {
                tokio::task::yield_now().await;
            }
            let (batch, calls) = self.driver.lane.take_unsent();
            self.cork.sent(calls, self.driver.clock.now_us());
            self.unsent = batch;
        }
    }

    /// Sends and receives until another batch may leave.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let lane = &self.driver.lane;
        lane.register(cx.waker());
        self.poll_read(cx)?;
        self.poll_write(cx)?;
        let clock = &*self.driver.clock;
        while let Some(earliest_us) = lane.earliest_us()
            && self.alarm.poll(cx, earliest_us, clock).is_ready()
        {
            if lane.end_overdue(clock.now_us()) {
                return Poll::Ready(Err(End::Hangs));
            }
        }
        let gathered = lane.gathered();
        if self.unsent.is_empty() && gathered.bytes > 0 && !self.cork.holds(gathered) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, self.unsent.chunk()) {
                Poll::Ready(Ok(0)) => return Err(End::Broke("closed by the node".to_owned())),
                Poll::Ready(Ok(sent)) => self.unsent.advance(sent),
                Poll::Ready(Err(error)) => return Err(End::Broke(error.to_string())),
                Poll::Pending => return Ok(()),
            }
        }
        Ok(())
    }

    /// Gives out what has come.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        loop {
            match poll_read_buf(&mut self.io, cx, &mut self.answers.input) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(End::Broke("closed by the node".to_owned())),
                Poll::Ready(Err(error)) => return Err(End::Broke(error.to_string())),
                Poll::Ready(Ok(_)) => {
                    let now_us = self.driver.clock.now_us();
                    self.driver.lane.heard(now_us);
                    self.cork.heard(now_us);
                    self.answers.give_out(self.driver).map_err(|why| End::Broke(why.to_owned()))?;
                }
            }
        }
    }
}

fn poll_read_buf<I: AsyncRead + Unpin>(
    io: &mut I,
    cx: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<std::io::Result<usize>> {
    if input.capacity() - input.len() < READ_BYTES / 2 {
        input.reserve(READ_BYTES);
    }
    tokio_util::io::poll_read_buf(Pin::new(io), cx, input)
}

/// What has come of the answers.
#[derive(Default)]
struct Answers {
    input: BytesMut,
    /// The line of an answer whose bytes have not all come, with its share of the budget; without one they are passed over.
    begun: Option<(AnswerHead, Option<Share>)>,
}

impl Answers {
    /// Gives every answer that has come whole to whoever waits for it.
    fn give_out<N>(&mut self, driver: &Driver<N>) -> Result<(), &'static str> {
        loop {
            let Some((head, share)) = self.begin(driver)? else { return Ok(()) };
            let wanted = head.body_bytes();
            if self.input.len() < wanted {
                self.input.reserve(wanted - self.input.len());
                self.begun = Some((head, share));
                return Ok(());
            }
            let answer = self.finish(head, share)?;
            if !driver.lane.answer(answer) {
                return Err("an answer that nobody asked for");
            }
        }
    }

    /// The line of the next answer; `None` where it has not come.
    fn begin<N>(&mut self, driver: &Driver<N>) -> Result<Option<(AnswerHead, Option<Share>)>, &'static str> {
        if let Some(begun) = self.begun.take() {
            return Ok(Some(begun));
        }
        let read = AnswerHead::read(&self.input).map_err(|broken| broken.0)?;
        let Some((head, next_at)) = read else { return Ok(None) };
        if head.body_bytes() > driver.max_body_bytes + 2 {
            return Err("an answer over the limit");
        }
        self.input.advance(next_at);
        let share = driver.budget.try_take(head.body_bytes());
        Ok(Some((head, share)))
    }

    fn finish(
        &mut self,
        head: AnswerHead,
        share: Option<Share>,
    ) -> Result<Result<Answer, HopError>, &'static str> {
        let length = match &head {
            AnswerHead::Whole(_) => 0,
            AnswerHead::Value { length, .. } | AnswerHead::Outdated { length } => *length,
        };
        if let AnswerHead::Whole(answer) = head {
            return Ok(Ok(answer));
        }
        if &self.input[length..length + 2] != b"\r\n" {
            return Err("an answer that does not end where it should");
        }
        let bytes = match share {
            None => {
                self.input.advance(length + 2);
                return Ok(Err(HopError::Busy));
            }
            Some(_) if length <= COPIED_BYTES => {
                let bytes = Bytes::copy_from_slice(&self.input[..length]);
                self.input.advance(length);
                bytes
            }
            Some(share) => share.attach(self.input.split_to(length).freeze()),
        };
        self.input.advance(2);
        Ok(Ok(match head {
            AnswerHead::Value { mut value, .. } => {
                value.content.bytes = bytes;
                Answer::State(CopyState::Value(value))
            }
            _ => Answer::Outdated(bytes),
        }))
    }
}
