//! memcached's text protocol: all requests of a batch in one write, their answers matched in order.

mod answers;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use self::answers::{Answer, Answers, Step};
use crate::alarm::Alarm;
use crate::batch::{Batch, Found};
use crate::clock::{self, Instant};
use crate::parse::Url;
use crate::protocol::{Call, Connection, Effect, ErrorKind, Failure, Operation, Options};

/// Received at once, unless a longer value has to be kept as a whole.
const INPUT_BYTES: usize = 64 << 10;
/// Longer times to live are read as a date (protocol.txt, "Expiration times").
const MAX_RELATIVE_S: u64 = 60 * 60 * 24 * 30;
/// As much as is shown of what was not understood.
const SHOWN_BYTES: usize = 60;

const MORE_ANSWERS: &str = "more answers than requests came";

pub(crate) struct Memcached {
    stream: TcpStream,
    alarm: Alarm,
    flags: u32,
    ttl_s: Option<u64>,
    output: Vec<u8>,
    /// How much of the output has gone out.
    sent: usize,
    input: Vec<u8>,
    /// What part of the input was received and is not done with.
    from: usize,
    to: usize,
    answers: Answers,
    /// The request whose answer is due.
    next: usize,
}

impl Connection for Memcached {
    async fn open(url: &Url, options: &Options, deadline: Instant) -> Result<Self, Failure> {
        let refused = |reason: String| {
            let detail = format!("{url}: {reason}");
            Failure { kind: ErrorKind::Connect, detail, effect: Effect::Unsent }
        };
        let stream = timeout_at(deadline, TcpStream::connect(url.dial())).await;
        let stream = stream
            .map_err(|_| refused("no answer in time".to_owned()))?
            .map_err(|error| refused(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            stream,
            alarm: Alarm::new(deadline),
            flags: options.flags,
            ttl_s: options.ttl_s,
            output: Vec::new(),
            sent: 0,
            input: vec![0; INPUT_BYTES],
            from: 0,
            to: 0,
            answers: Answers::new(options.keep_bodies),
            next: 0,
        })
    }

    async fn exchange(&mut self, batch: &mut Batch, deadline: Instant) -> Result<(), Failure> {
        self.write_down(batch);
        let mut is_first = true;
        poll_fn(|context| {
            if std::mem::take(&mut is_first)
                && let Err(failure) = self.look_for_the_end(context)
            {
                return Poll::Ready(Err(failure));
            }
            if let Poll::Ready(outcome) = self.poll_exchange(batch, context) {
                return Poll::Ready(outcome);
            }
            ready!(self.alarm.poll(context, deadline));
            Poll::Ready(Err(self.broken(ErrorKind::Timeout, String::new())))
        })
        .await
    }
}

impl Memcached {
    /// Puts the requests into the output.
    fn write_down(&mut self, batch: &Batch) {
        self.output.clear();
        (self.sent, self.next) = (0, 0);
        for request in 0..batch.len() {
            match batch.call(request) {
                Call::Get { keys } => {
                    self.output.extend_from_slice(b"get");
                    for key in keys.iter() {
                        self.output.push(b' ');
                        self.output.extend_from_slice(key.as_bytes());
                    }
                }
                Call::Put { key, value } | Call::Post { key, value } => {
                    let expires = self.ttl_s.map_or(0, exptime);
                    let head = format!("set {key} {} {expires} {}\r\n", self.flags, value.len());
                    self.output.extend_from_slice(head.as_bytes());
                    self.output.extend_from_slice(value);
                }
                Call::Delete { key } => {
                    self.output.extend_from_slice(b"delete ");
                    self.output.extend_from_slice(key.as_bytes());
                }
            }
            self.output.extend_from_slice(b"\r\n");
        }
    }

    /// A connection closed while idle must show before a request is given to it, and so must answers to nothing.
    fn look_for_the_end(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        match self.poll_receive(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(1..)) => Err(malformed(MORE_ANSWERS)),
            Poll::Ready(Ok(0)) => {
                Err(self.broken(ErrorKind::Closed, "the server closed the connection".to_owned()))
            }
            Poll::Ready(Err(error)) => Err(self.broken(ErrorKind::Closed, error.to_string())),
        }
    }

    /// Sends and receives at once: a server that does not get rid of its answers takes no more requests.
    fn poll_exchange(&mut self, batch: &mut Batch, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if let Err(error) = self.send(context) {
            return Poll::Ready(Err(self.broken(ErrorKind::Closed, error.to_string())));
        }
        loop {
            let received = ready!(self.poll_receive(context));
            let now = clock::now();
            match received {
                Ok(0) => return Poll::Ready(Err(self.cut_off(batch, "the server closed the connection"))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(self.cut_off(batch, &error.to_string()))),
            }
            self.read_answers(batch, now)?;
            if self.next == batch.len() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn send(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.sent < self.output.len() {
            match Pin::new(&mut self.stream).poll_write(context, &self.output[self.sent..])? {
                Poll::Ready(sent) => self.sent += sent,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.input[self.to..]);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut room))?;
        let received = room.filled().len();
        self.to += received;
        Poll::Ready(Ok(received))
    }

    /// Gives the batch all answers that have come, and makes room for more.
    fn read_answers(&mut self, batch: &mut Batch, now: Instant) -> Result<(), Failure> {
        while self.next < batch.len() && self.from < self.to {
            let input = &self.input[self.from..self.to];
            let Ok(step) = self.answers.next(input) else {
                let shown = String::from_utf8_lossy(&input[..input.len().min(SHOWN_BYTES)]);
                let hint = "see whether --url names a memcached port";
                return Err(malformed(&format!("{shown:?} is no answer of memcached's: {hint}")));
            };
            match step {
                Step::Answer(answer, taken) => {
                    self.from += taken;
                    let is_last = self.next + 1 == batch.len() && !matches!(answer, Answer::Value { .. });
                    if is_last && (self.from < self.to || self.sent < self.output.len()) {
                        return Err(malformed(MORE_ANSWERS));
                    }
                    if !take(batch, self.next, answer, now) {
                        let asked = batch.call(self.next).operation();
                        return Err(malformed(&format!("{asked:?} was answered by {}", shown(answer))));
                    }
                    self.next += usize::from(!matches!(answer, Answer::Value { .. }));
                }
                Step::More { done, room } => {
                    self.from += done;
                    self.make_room(room);
                    return Ok(());
                }
            }
        }
        self.make_room(0);
        Ok(())
    }

    /// Sees that what is left of the input, and what follows it, fit in one piece of `room` bytes.
    fn make_room(&mut self, room: usize) {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        if self.from + room > self.input.len() || self.to == self.input.len() {
            self.input.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            let length = self.input.len().max(room);
            self.input.resize(length, 0);
        }
    }

    /// Nothing was sent, or nobody knows what became of it.
    fn broken(&self, kind: ErrorKind, detail: String) -> Failure {
        let effect = if self.sent == 0 { Effect::Unsent } else { Effect::Unknown };
        Failure { kind, detail, effect }
    }

    /// The connection ended before an answer or within it.
    fn cut_off(&self, batch: &Batch, detail: &str) -> Failure {
        let is_within =
            self.from < self.to || !self.answers.is_between() || batch.requests()[self.next].sample.hits > 0;
        self.broken(if is_within { ErrorKind::Body } else { ErrorKind::Closed }, detail.to_owned())
    }
}

/// The server is understood no more, so nobody knows what it did.
fn malformed(detail: &str) -> Failure {
    Failure { kind: ErrorKind::Malformed, detail: detail.to_owned(), effect: Effect::Unknown }
}

/// When a value written now expires, as `set` takes it.
fn exptime(ttl_s: u64) -> u64 {
    if ttl_s <= MAX_RELATIVE_S { ttl_s } else { clock::unix_ms() / 1000 + ttl_s }
}

/// Gives the batch an answer to `request`. False where it is none to what was asked.
fn take(batch: &mut Batch, request: usize, answer: Answer<'_>, now: Instant) -> bool {
    let failure =
        |kind, text, effect| Err(Failure { kind, detail: String::from_utf8_lossy(text).into(), effect });
    let outcome = match (batch.call(request).operation(), answer) {
        (Operation::Get, Answer::Value { key, flags, body, bytes }) => {
            return batch.found(request, key, Found { body, bytes, flags: Some(flags) });
        }
        (Operation::Get, Answer::End)
        | (Operation::Set, Answer::Stored)
        | (Operation::Delete, Answer::Deleted | Answer::NotFound) => Ok(()),
        (Operation::Set, Answer::NotStored) => failure(ErrorKind::NotStored, b"", Effect::None),
        (_, Answer::UnknownCommand) => failure(ErrorKind::UnknownCommand, b"", Effect::None),
        (_, Answer::ClientError(text)) => failure(ErrorKind::ClientError, text, Effect::None),
        (_, Answer::ServerError(text)) => failure(ErrorKind::ServerError, text, Effect::Unknown),
        _ => return false,
    };
    batch.answered(request, outcome, now);
    true
}

/// An answer that does not fit, for people.
fn shown(answer: Answer<'_>) -> String {
    match answer {
        Answer::Value { key, .. } => {
            format!("the value of {:?}, which was not asked for", String::from_utf8_lossy(key))
        }
        other => format!("{other:?}"),
    }
}
