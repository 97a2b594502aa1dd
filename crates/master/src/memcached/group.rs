//! Requests that are carried out together.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use annulus_protocol::Problem;
use annulus_protocol::hop::{CopyState, Look};
use annulus_protocol::memcached::stats::{Counts, Prefixes, VERSION_LINE};
use annulus_protocol::memcached::{Action, Change, KeyScratch, Outcome, Request, Update, Wants, WireKey};
use annulus_service::metrics::{OperationMetrics, Outcome as Ended};
use annulus_service::stream::{Link, Output};
use annulus_service::telemetry::TraceContext;
use bytes::Bytes;
use futures_util::future::{join, join_all};
use tokio::io::AsyncWrite;

use super::item::{Said, item};
use super::reads::{Wanted, read_all};
use super::writes;
use crate::coordinator::Context;
use crate::routes::At;

/// Requests of one group, and keys that it reads.
const MAX_JOBS: usize = 256;
const MAX_KEYS: usize = 256;

/// Answers that may gather before they are sent.
const MAX_UNSENT_BYTES: usize = 256 * 1024;

/// By how much a request's time is cut, so that an error is out before the deadline.
const SLACK: Duration = Duration::from_millis(20);

/// Requests whose answers do not depend on each other.
pub(super) struct Group<'b> {
    at: &'b At,
    jobs: Vec<Job<'b>>,
    /// What is read, job by job.
    keys: Vec<Wanted<'b>>,
    /// How it is read: all of it alike.
    look: Look,
    /// What is written.
    written: Vec<Wanted<'b>>,
    /// Where the bytes of a large value can be shared from.
    frame: Option<&'b Bytes>,
}

enum Job<'b> {
    Answer(&'static [u8]),
    /// `get`: so many of the group's keys.
    Read {
        wants: Wants,
        keys: usize,
    },
    /// `mg`: one of the group's keys.
    MetaRead {
        wants: Wants,
        update: Update<'b>,
    },
    /// `me`: as well.
    Debug {
        wants: Wants,
    },
    /// What changes one key; nobody wants to hear of a key that has to go.
    Write {
        wants: Option<Wants>,
        key: Wanted<'b>,
        action: Action<'b>,
    },
    /// `gat`: what changes several keys, and is alone in its group.
    TouchMany {
        wants: Wants,
        keys: Vec<Wanted<'b>>,
        update: Update<'b>,
    },
}

/// How `mg` and `me` read.
fn look_of(wants: &Wants, update: &Update<'_>) -> Look {
    match update {
        Update::Peek | Update::Get { bump: false, .. } => Look::Aside,
        _ if wants.shows_use() => Look::ShowsUse,
        _ => Look::Plain,
    }
}

impl<'b> Group<'b> {
    pub(super) fn new(at: &'b At) -> Self {
        Self { at, jobs: Vec::new(), keys: Vec::new(), look: Look::Plain, written: Vec::new(), frame: None }
    }

    /// The same, for a request that lies in these bytes: a value is shared with them, not copied.
    pub(super) fn sharing(self, frame: &'b Bytes) -> Self {
        Self { frame: Some(frame), ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Adds what the parser has answered already, and a key that has to go.
    pub(super) fn add_answer(&mut self, answer: &'static [u8], forget: Option<WireKey<'b>>) {
        if let Some(key) = forget {
            self.jobs.push(Job::Write { wants: None, key: bytes_of(key), action: Action::Noop });
        }
        self.jobs.push(Job::Answer(answer));
    }

    /// Adds a request. False where it has to wait until the group has been carried out.
    pub(super) fn add(&mut self, request: &Request<'b>) -> bool {
        if self.jobs.len() >= MAX_JOBS {
            return false;
        }
        let wants = request.wants;
        match request.action {
            Action::Read(keys) => {
                let before = self.keys.len();
                self.keys.extend(keys.iter().map(bytes_of));
                let count = self.keys.len() - before;
                let is_alone = self.jobs.is_empty();
                if !is_alone
                    && (self.keys.len() > MAX_KEYS
                        || self.writes_any(before)
                        || !self.reads(before, Look::Plain))
                {
                    self.keys.truncate(before);
                    return false;
                }
                self.jobs.push(Job::Read { wants, keys: count });
            }
            Action::MetaRead { key, update, .. } => {
                return self.add_read(key, look_of(&wants, &update), Job::MetaRead { wants, update });
            }
            Action::Debug { key } => return self.add_read(key, Look::Aside, Job::Debug { wants }),
            Action::Store(store) => return self.add_write(store.key, wants, request.action),
            Action::Update { key, .. } | Action::Delete { key } => {
                return self.add_write(key, wants, request.action);
            }
            Action::ReadTouch { keys, exptime } => {
                if !self.jobs.is_empty() {
                    return false;
                }
                let keys: Vec<_> = keys.iter().map(bytes_of).collect();
                // Whatever it may be, it does not fit beside this.
                self.written.clone_from(&keys);
                let update = Update::Touch { exptime, shows: true };
                self.jobs.push(Job::TouchMany { wants, keys, update });
            }
            Action::Version => self.jobs.push(Job::Answer(VERSION_LINE.as_bytes())),
            Action::Noop => self.jobs.push(Job::Answer(b"MN\r\n")),
            Action::Answer(bytes) => self.jobs.push(Job::Answer(bytes)),
            // These stand alone.
            Action::FlushAll { .. } | Action::Stats(_) | Action::Quit => return self.jobs.is_empty(),
        }
        true
    }

    fn add_read(&mut self, key: WireKey<'b>, look: Look, job: Job<'b>) -> bool {
        let before = self.keys.len();
        self.keys.push(bytes_of(key));
        if self.keys.len() > MAX_KEYS || self.writes_any(before) || !self.reads(before, look) {
            self.keys.pop();
            return false;
        }
        self.jobs.push(job);
        true
    }

    fn add_write(&mut self, key: WireKey<'b>, wants: Wants, action: Action<'b>) -> bool {
        let key = bytes_of(key);
        if self.written.contains(&key) || self.keys.contains(&key) {
            return false;
        }
        self.written.push(key.clone());
        self.jobs.push(Job::Write { wants: Some(wants), key, action });
        true
    }

    /// Whether the group, which had so many keys before, reads like this.
    fn reads(&mut self, before: usize, look: Look) -> bool {
        if before == 0 {
            self.look = look;
        }
        self.look == look
    }

    /// Whether any of the keys from `first` on is written by the group.
    fn writes_any(&self, first: usize) -> bool {
        !self.written.is_empty() && self.keys[first..].iter().any(|key| self.written.contains(key))
    }

    /// Carries all of it out and adds the answers in order.
    pub(super) async fn carry_out<I>(self, io: &mut I, output: &mut Output, link: &Link) -> io::Result<()>
    where
        I: AsyncWrite + Unpin + Send,
    {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let started_us = self.at.clock.now_us();
        let context = self.context(started_us);
        let writes = self.jobs.iter().filter_map(|job| match job {
            Job::Write { key, action, .. } => Some(self.write(key, *action, &context)),
            _ => None,
        });
        let (states, said) = join(
            read_all(self.at, self.keys.get(..MAX_KEYS).unwrap_or(&self.keys), &context),
            join_all(writes),
        )
        .await;
        let mut answers = Answers {
            group: &self,
            context,
            started_us,
            states: states.into_iter(),
            said: said.into_iter(),
            keys: 0,
        };
        let mut sink =
            Sink { io, output, link, counts: Counts::default(), prefixes: &self.at.tallies.prefixes };
        for job in &self.jobs {
            answers.give(job, &mut sink).await?;
            sink.relieve().await?;
        }
        self.at.tallies.add(self.at.worker, sink.counts);
        Ok(())
    }

    fn context(&self, now_us: u64) -> Context {
        let policy = self.at.policy.load();
        let time = policy.limits.deadline.saturating_sub(SLACK);
        Context {
            deadline_us: now_us + time.as_micros() as u64,
            worker: self.at.worker,
            trace: TraceContext::start(&self.at.trace_ids),
            consistency: policy.consistency,
            insists: false,
            look: self.look,
        }
    }

    async fn write(&self, key: &[u8], action: Action<'b>, context: &Context) -> Said {
        let key = match writes::key(key) {
            Ok(key) => key,
            Err(problem) => return Said::failed(&problem),
        };
        match action {
            Action::Store(store) if store.is_unconditional() => {
                let bytes = match self.frame {
                    Some(frame) => frame.slice_ref(store.value),
                    None => Bytes::copy_from_slice(store.value),
                };
                writes::store(self.at, &key, &store, bytes, context).await
            }
            Action::Delete { .. } | Action::Noop => writes::delete(self.at, &key, context).await,
            other => match other.update() {
                Some((_, update)) => writes::update(self.at, &key, &update, context).await,
                None => Said::plain(Outcome::NotFound),
            },
        }
    }
}

/// A key in bytes of its own only where it came in base64.
fn bytes_of(key: WireKey<'_>) -> Wanted<'_> {
    if key.is_binary() {
        Cow::Owned(key.bytes(&mut KeyScratch::default()).to_vec())
    } else {
        Cow::Borrowed(key.wire())
    }
}

/// Where answers go.
struct Sink<'s, I> {
    io: &'s mut I,
    output: &'s mut Output,
    link: &'s Link,
    counts: Counts,
    prefixes: &'s Prefixes,
}

impl<I: AsyncWrite + Unpin + Send> Sink<'_, I> {
    /// Adds the answer to one key, and counts it.
    fn tell(&mut self, said: &Said, wants: &Wants, key: &[u8]) {
        said.tally(wants, &mut self.counts);
        said.tally_prefix(wants, key, self.prefixes);
        said.render(wants, key, self.output);
    }

    /// Counts a key of which `get` says nothing.
    fn missed(&mut self, wants: &Wants, key: &[u8]) {
        self.counts.count(wants, &Outcome::NotFound);
        self.prefixes.count(wants, key, &Outcome::NotFound);
    }

    /// Sends what has gathered, if it is much.
    async fn relieve(&mut self) -> io::Result<()> {
        if self.output.len() > MAX_UNSENT_BYTES {
            self.output.write_to(self.io, self.link).await
        } else {
            Ok(())
        }
    }
}

/// What came of a group, given out job by job.
struct Answers<'g, 'b> {
    group: &'g Group<'b>,
    context: Context,
    started_us: u64,
    states: std::vec::IntoIter<Result<CopyState, Problem>>,
    said: std::vec::IntoIter<Said>,
    /// Keys given out.
    keys: usize,
}

impl Answers<'_, '_> {
    async fn give<I>(&mut self, job: &Job<'_>, sink: &mut Sink<'_, I>) -> io::Result<()>
    where
        I: AsyncWrite + Unpin + Send,
    {
        let at = self.group.at;
        match job {
            Job::Answer(bytes) => sink.output.tail().extend_from_slice(bytes),
            Job::Read { wants, keys } => self.read(wants, *keys, sink).await?,
            Job::MetaRead { wants, update } => self.meta_read(wants, update, sink).await,
            Job::Debug { wants } => self.meta_read(wants, &Update::Peek, sink).await,
            Job::Write { wants, key, action } => {
                let operation = match action {
                    Action::Delete { .. } | Action::Noop => &at.metrics.delete,
                    _ => &at.metrics.put,
                };
                let Some(said) = self.said.next() else { return Ok(()) };
                self.count(operation, said.ended());
                if let Some(wants) = wants {
                    sink.tell(&said, wants, key);
                }
            }
            Job::TouchMany { wants, keys, update } => {
                for key in keys {
                    let said = match writes::key(key) {
                        Ok(key) => writes::update(at, &key, update, &self.context).await,
                        Err(problem) => Said::failed(&problem),
                    };
                    self.count(&at.metrics.put, said.ended());
                    sink.tell(&said, wants, key);
                    sink.relieve().await?;
                }
                wants.render_end(sink.output.tail());
            }
        }
        Ok(())
    }

    fn count(&self, operation: &OperationMetrics, ended: Ended) {
        operation.observe(ended, self.group.at.clock.now_us() - self.started_us);
    }

    /// The next key with its state; those beyond a group's bound are read now.
    async fn next(&mut self) -> (&[u8], Result<CopyState, Problem>) {
        if self.states.len() == 0 {
            let rest = &self.group.keys[self.keys..];
            let some = rest.get(..MAX_KEYS).unwrap_or(rest);
            self.states = read_all(self.group.at, some, &self.context).await.into_iter();
        }
        let key = &*self.group.keys[self.keys];
        self.keys += 1;
        let state = self.states.next().unwrap_or_else(|| Err(writes::no_answer()));
        let metrics = &self.group.at.metrics;
        match &state {
            Ok(CopyState::Value(_)) => metrics.hits.inc(),
            Ok(CopyState::Miss { reason, .. }) => metrics.misses[*reason as usize].inc(),
            Err(_) => {}
        }
        (key, state)
    }

    /// Keys that could not be read are left out of an answer that shows others; where none could be, it is an error.
    async fn read<I>(&mut self, wants: &Wants, keys: usize, sink: &mut Sink<'_, I>) -> io::Result<()>
    where
        I: AsyncWrite + Unpin + Send,
    {
        let (mut failures, mut failure) = (0, None);
        for _ in 0..keys {
            let (key, state) = self.next().await;
            match state {
                Ok(CopyState::Value(stored)) => {
                    sink.tell(&shown(&stored), wants, key);
                    sink.relieve().await?;
                }
                Ok(CopyState::Miss { .. }) => sink.missed(wants, key),
                Err(problem) => {
                    failures += 1;
                    failure.get_or_insert(problem);
                }
            }
        }
        match failure {
            Some(problem) if failures == keys => {
                let said = Said::failed(&problem);
                self.count(&self.group.at.metrics.get, said.ended());
                said.render(wants, b"", sink.output);
            }
            _ => {
                self.count(&self.group.at.metrics.get, Ended::Ok);
                wants.render_end(sink.output.tail());
            }
        }
        Ok(())
    }

    async fn meta_read<I>(&mut self, wants: &Wants, update: &Update<'_>, sink: &mut Sink<'_, I>)
    where
        I: AsyncWrite + Unpin + Send,
    {
        let now = writes::now(self.group.at);
        let at = self.group.at;
        let context = self.context;
        let (key, state) = self.next().await;
        let said = match &state {
            Ok(state) => {
                let stored = match state {
                    CopyState::Value(stored) => Some(stored),
                    CopyState::Miss { .. } => None,
                };
                let item = stored.map(item);
                let verdict = update.apply(item.as_ref(), now);
                match (verdict.change, writes::key(key)) {
                    (Change::Keep, _) | (_, Err(_)) => {
                        let value = stored.map(|stored| stored.content.bytes.clone()).unwrap_or_default();
                        Said::new(verdict.outcome, value)
                    }
                    (_, Ok(key)) => {
                        let said = writes::update(at, &key, update, &context).await;
                        stored.iter().fold(said, |said, stored| said.with_use(stored.used))
                    }
                }
            }
            Err(problem) => Said::failed(problem),
        };
        sink.tell(&said, wants, key);
        let ended = said.ended();
        self.count(&at.metrics.get, ended);
    }
}

/// An entry that is shown as it is.
fn shown(stored: &annulus_protocol::value::StoredValue) -> Said {
    Said::new(Outcome::Hit(item(stored).into()), stored.content.bytes.clone())
}
