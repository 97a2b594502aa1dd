//! The hop's end at this node: what masters ask of its copies, carried out as it comes in.

use std::sync::Arc;

use annulus_protocol::Version;
use annulus_protocol::hop::Look;
use annulus_protocol::hop::wire::{
    Request, Scratch, Step, ValueHead, encode_miss, encode_outdated, encode_put_answer, encode_refusal,
};
use annulus_protocol::value::Used;
use annulus_service::metrics::{OperationMetrics, Outcome};
use annulus_service::stream::{Next, Output, Session};
use annulus_service::telemetry::TraceContext;
use annulus_store::{Entry, Found, Lookup, Miss, Role};
use bytes::{Buf as _, BytesMut};

use crate::Node;
use crate::copies::{self, Incoming};
use crate::members::Turned;
use crate::wire::check_version;

/// What a connection over the limit is told.
pub(crate) const AT_LIMIT: &[u8] = b"SERVER_ERROR too many connections; raise server.max_connections\r\n";

/// Answers that may wait to be sent before the next request is carried out.
const MAX_UNSENT_BYTES: usize = 64 * 1024;

/// One master's connection.
pub(crate) struct HopSession {
    node: Arc<Node>,
    scratch: Scratch,
    /// By which epoch the master goes, and which life of this node it means.
    epoch: Option<u64>,
    life: u64,
}

impl HopSession {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, scratch: Scratch::default(), epoch: None, life: 0 }
    }
}

impl Session for HopSession {
    fn advance(&mut self, input: &mut BytesMut, output: &mut Output) -> Next {
        let Self { node, scratch, epoch, life } = self;
        let mut at = 0;
        let mut turn = Turn { node, epoch: *epoch, life: *life, now_us: node.clock.now_us(), output };
        let next = loop {
            if turn.output.len() > MAX_UNSENT_BYTES {
                break Next::Again;
            }
            match Step::read(&input[at..], scratch, node.max_value_bytes) {
                Ok(Step::Request { request, consumed, trace }) => {
                    turn.carry_out(request);
                    if let Some(trace) = trace.and_then(TraceContext::parse) {
                        tracing::debug!(request_id = %trace.request_id(), "answered");
                    }
                    at += consumed;
                }
                Ok(Step::Incomplete { wanted }) => break Next::More { wanted },
                Err(broken) => {
                    tracing::warn!(%broken, "closing a connection of a master, which will connect again");
                    break Next::Close;
                }
            }
        };
        (*epoch, *life) = (turn.epoch, turn.life);
        input.advance(at);
        next
    }
}

/// What came in at once, while it is carried out.
struct Turn<'a> {
    node: &'a Node,
    epoch: Option<u64>,
    life: u64,
    now_us: u64,
    output: &'a mut Output,
}

/// What was found, with the floor that counts in this role.
fn as_it_counts(found: Lookup, role: &dyn Fn() -> Role) -> Lookup {
    match found {
        Lookup::Miss(miss) if !miss.tombstone => {
            Lookup::Miss(Miss { version: miss.version_as(role()), ..miss })
        }
        found => found,
    }
}

/// Why nothing was done.
enum Barred {
    Turned(Turned),
    AnotherLife,
}

impl Turn<'_> {
    fn carry_out(&mut self, request: Request<'_>) {
        let metrics = &self.node.metrics;
        match request {
            Request::Enter { epoch, life } => (self.epoch, self.life) = (Some(epoch), life),
            Request::Noop => self.output.tail().extend_from_slice(b"MN\r\n"),
            Request::Flush { version } => self.flush(version),
            Request::Get { key, look } => {
                let outcome = self.get(key, look);
                self.count(&metrics.get, outcome);
            }
            Request::Promise { key, ballot } => {
                let outcome = self.promise(key, ballot);
                self.count(&metrics.promise, outcome);
            }
            Request::Put { key, head, value } => {
                let incoming = Incoming {
                    version: head.version,
                    value,
                    content_type: head.content_type,
                    flags: head.flags,
                    marks: head.marks,
                    origin: head.origin,
                    ttl_left_ms: head.ttl_left_ms,
                    condition: head.condition,
                    fetched: head.fetched,
                };
                let outcome = self.put(key, &incoming);
                self.count(if value.is_some() { &metrics.put } else { &metrics.delete }, outcome);
            }
        }
    }

    fn count(&mut self, operation: &OperationMetrics, outcome: Outcome) {
        let now_us = self.node.clock.now_us();
        operation.observe(outcome, now_us - self.now_us);
        self.now_us = now_us;
    }

    /// Does something with a key in one step, if the master goes by the same roster and means this life. The role in which this
    /// node does it is worked out for whoever asks: it takes a look at the ring.
    fn admitted<T>(&self, hash: u64, work: impl FnOnce(&dyn Fn() -> Role, u64) -> T) -> Result<T, Barred> {
        let now_ms = self.now_us / 1000;
        let Some(members) = &self.node.members else { return Ok(work(&|| Role::Owner, now_ms)) };
        let admitted = members.admit(self.epoch, hash).map_err(Barred::Turned)?;
        if self.life != 0 && admitted.incarnation() != self.life {
            return Err(Barred::AnotherLife);
        }
        Ok(work(&|| admitted.role(hash), now_ms))
    }

    fn get(&mut self, key: &[u8], look: Look) -> Outcome {
        let hash = annulus_ring::key_hash(key);
        let store = self.node.copies.store();
        let show = |found: Found<'_>| ((found.to_lookup(), found.last_use()), look != Look::Aside);
        let read = self.admitted(hash, |role, now_ms| {
            let (found, last_use) = store.read(key, hash, now_ms, show);
            (as_it_counts(found, role), last_use)
        });
        match read {
            Ok((found, last_use)) => {
                self.node.metrics.count_lookup(&found);
                let used = Used { before: last_use.fetched(), idle_s: last_use.idle_s() };
                self.state(found, (look != Look::Plain).then_some(used))
            }
            Err(barred) => self.turn_away(&barred),
        }
    }

    fn promise(&mut self, key: &[u8], ballot: Version) -> Outcome {
        let hash = annulus_ring::key_hash(key);
        if let Err(why) = check_version(ballot, self.now_us / 1000) {
            return self.fail(why);
        }
        let copies = &self.node.copies;
        let promised = self.admitted(hash, |role, now_ms| {
            let found = copies.promise(key, hash, ballot, role(), now_ms)?;
            Ok(as_it_counts(found, role))
        });
        match promised {
            Ok(Ok(found)) => {
                self.state(found, None);
                Outcome::Ok
            }
            Ok(Err(refusal)) => {
                encode_refusal(self.output.tail(), &refusal);
                Outcome::Rejected
            }
            Err(barred) => self.turn_away(&barred),
        }
    }

    fn put(&mut self, key: &[u8], incoming: &Incoming<'_>) -> Outcome {
        let hash = annulus_ring::key_hash(key);
        if let Err(why) = check_version(incoming.version, self.now_us / 1000) {
            return self.fail(why);
        }
        let copies = &self.node.copies;
        match self.admitted(hash, |role, now_ms| copies.put(key, hash, incoming, role(), now_ms)) {
            Ok(answer) => {
                encode_put_answer(self.output.tail(), &answer);
                answer.map_or(Outcome::Rejected, |_| Outcome::Ok)
            }
            Err(barred) => self.turn_away(&barred),
        }
    }

    fn flush(&mut self, version: Version) {
        if let Err(why) = check_version(version, self.now_us / 1000) {
            self.fail(why);
            return;
        }
        let dropped = self.node.copies.store().clear(version.0);
        tracing::info!(dropped, %version, "flushed: everything up to this version is forgotten");
        self.output.tail().extend_from_slice(b"HD\r\n");
    }

    fn state(&mut self, found: Lookup, used: Option<Used>) -> Outcome {
        match found {
            Lookup::Hit(entry) => {
                self.value(entry, used);
                Outcome::Ok
            }
            Lookup::Miss(miss) => {
                let reason = copies::miss_reason(miss.reason);
                encode_miss(self.output.tail(), Version(miss.version), reason, miss.tombstone);
                Outcome::Miss
            }
        }
    }

    fn value(&mut self, entry: Entry, used: Option<Used>) {
        let now_ms = self.now_us / 1000;
        let head = ValueHead {
            length: entry.value().len(),
            version: Version(entry.version()),
            origin: entry.origin().map(Version),
            ttl_left_ms: entry.deadline_ms().map(|deadline| deadline.saturating_sub(now_ms)),
            flags: entry.flags(),
            marks: entry.marks(),
            used,
            content_type: copies::content_type(&entry),
        };
        head.encode(self.output.tail());
        if copies::is_copied(&entry) {
            self.output.tail().extend_from_slice(entry.value());
        } else {
            self.output.share(copies::value_of(entry));
        }
        self.output.tail().extend_from_slice(b"\r\n");
    }

    fn turn_away(&mut self, barred: &Barred) -> Outcome {
        let tail = self.output.tail();
        match barred {
            Barred::AnotherLife => tail.extend_from_slice(b"XA\r\n"),
            Barred::Turned(Turned::Behind) => tail.extend_from_slice(b"XB\r\n"),
            Barred::Turned(Turned::Loading) => tail.extend_from_slice(b"XL\r\n"),
            Barred::Turned(Turned::Outdated(roster)) => match serde_json::to_vec(&**roster) {
                Ok(json) => encode_outdated(tail, &json),
                Err(_) => tail.extend_from_slice(b"XL\r\n"),
            },
        }
        Outcome::Rejected
    }

    fn fail(&mut self, why: &str) -> Outcome {
        let tail = self.output.tail();
        tail.extend_from_slice(b"SERVER_ERROR ");
        tail.extend_from_slice(why.as_bytes());
        tail.extend_from_slice(b"\r\n");
        Outcome::Rejected
    }
}
