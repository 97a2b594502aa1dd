//! What came in at once, while it is carried out.

use annulus_protocol::hop::MissReason;
use annulus_protocol::memcached::stats::VERSION_LINE;
use annulus_protocol::memcached::{
    Action, Change, Hit, KeyScratch, Keys, Now, Outcome, Request, Store as Put, Update, VALUE_END, Wants,
    WireKey,
};
use annulus_service::metrics::Outcome as Metric;
use annulus_service::stream::Output;
use annulus_store::{Condition, Entry, Found, Lookup, Miss, PutError, Use, Write};

use super::figures;
use super::item::item;
use super::tallies::{Operation, Tally};
use super::update::{decide, outcome};
use crate::{Node, copies};

/// Answers that may wait to be sent before anything else is carried out.
const MAX_UNSENT_BYTES: usize = 64 * 1024;

/// How often a write is tried whose version turns out too old.
const ATTEMPTS: usize = 8;

/// What is said where that was not enough: a master swaps the key over and over.
const CONTENDED: Outcome<'static> = Outcome::Failed("the key is being changed by a master; try again");

/// Whether a request has been answered.
pub(super) enum Ended {
    Whole,
    /// The rest has to wait until what there is has been sent.
    InPart,
    /// And the connection ends.
    Quit,
}

/// The requests that came in at once, by one time.
pub(super) struct Turn<'a> {
    node: &'a Node,
    output: &'a mut Output,
    scratch: &'a mut Vec<u8>,
    key: &'a mut KeyScratch,
    tally: Tally,
    started_us: u64,
    now: Now,
    /// What the output held before.
    output_bytes: usize,
}

/// What a look at a key came to.
enum Seen {
    Shown,
    /// It is shown without a copy.
    Large(Entry, Use),
    /// The look changes something.
    Changes,
    Miss(Miss),
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        node: &'a Node,
        output: &'a mut Output,
        scratch: &'a mut Vec<u8>,
        key: &'a mut KeyScratch,
    ) -> Self {
        let started_us = node.clock.now_us();
        let now = Now { unix_ms: started_us / 1000 };
        node.memcached.flush_if_due(node, now.unix_ms);
        let output_bytes = output.len();
        Self { node, output, scratch, key, tally: Tally::default(), started_us, now, output_bytes }
    }

    /// Counts what was done, with so many bytes of input.
    pub(super) fn end(mut self, worker: usize, bytes_read: usize) {
        self.tally.bytes_read = bytes_read as u64;
        self.tally.bytes_written = (self.output.len() - self.output_bytes) as u64;
        let micros = self.node.clock.now_us() - self.started_us;
        self.node.memcached.tallies.add(worker, &self.tally, micros);
    }

    /// Whether the answers so far have to be sent first.
    pub(super) fn is_full(&self) -> bool {
        self.output.len() > MAX_UNSENT_BYTES
    }

    pub(super) fn answer(&mut self, bytes: &[u8]) {
        self.output.tail().extend_from_slice(bytes);
    }

    /// Carries a request out. Of its keys, the first `answered` have been answered already.
    pub(super) fn carry_out(&mut self, request: &Request<'_>, answered: &mut usize) -> Ended {
        let wants = &request.wants;
        match request.action {
            Action::Read(keys) => {
                return self.each(keys, wants, answered, |turn, key| {
                    turn.show(key, wants, &Update::Show);
                });
            }
            Action::ReadTouch { keys, exptime } => {
                let update = Update::Touch { exptime, shows: true };
                return self.each(keys, wants, answered, |turn, key| turn.change(key, &update, Some(wants)));
            }
            Action::MetaRead { key, update, .. } => self.show(key, wants, &update),
            Action::Debug { key } => self.show(key, wants, &Update::Peek),
            Action::Store(store) if store.is_unconditional() => self.set(&store, wants),
            Action::Store(store) => self.change(store.key, &Update::Store(store), Some(wants)),
            Action::Update { key, update } => self.change(key, &update, Some(wants)),
            Action::Delete { key } => self.change(key, &Update::DELETE, Some(wants)),
            Action::FlushAll { at } => {
                figures::flush_all(self.node, at, self.now);
                self.say(b"", wants, &Outcome::Done);
            }
            Action::Stats(topic) => figures::stats(self.node, topic, self.now, self.output.tail()),
            Action::Version => self.answer(VERSION_LINE.as_bytes()),
            Action::Noop => wants.render(b"", &Outcome::Done, self.output.tail()),
            Action::Quit => return Ended::Quit,
            Action::Answer(bytes) => self.answer(bytes),
        }
        Ended::Whole
    }

    /// Does something with each key, until the answers have to be sent.
    fn each(
        &mut self,
        keys: Keys<'_>,
        wants: &Wants,
        answered: &mut usize,
        mut work: impl FnMut(&mut Self, WireKey<'_>),
    ) -> Ended {
        for key in keys.iter().skip(*answered) {
            if self.is_full() {
                return Ended::InPart;
            }
            work(self, key);
            *answered += 1;
        }
        *answered = 0;
        wants.render_end(self.output.tail());
        Ended::Whole
    }

    /// Counts and says what came of a request.
    fn say(&mut self, key: &[u8], wants: &Wants, outcome: &Outcome<'_>) {
        self.tally.counts.count(wants, outcome);
        self.node.memcached.prefixes.count(wants, key, outcome);
        wants.render(key, outcome, self.output.tail());
    }

    /// Shows an item in place, if the request changes nothing of it.
    fn show(&mut self, key: WireKey<'_>, wants: &Wants, update: &Update<'_>) {
        let Self { node, output, key: scratch, tally, now, .. } = self;
        let bytes = key.bytes(scratch);
        let hash = annulus_ring::key_hash(bytes);
        let seen = node.copies.store().read(bytes, hash, now.unix_ms, |found| {
            let item = item(&found, now.unix_ms);
            let verdict = update.apply(item.as_ref(), *now);
            if verdict.change != Change::Keep {
                return (Seen::Changes, false);
            }
            tally.counts.count(wants, &verdict.outcome);
            node.memcached.prefixes.count(wants, bytes, &verdict.outcome);
            let seen = match found {
                Found::Hit { entry, last_use } if wants.shows_value() && !copies::is_copied(entry) => {
                    Seen::Large(entry.clone(), last_use)
                }
                found => {
                    wants.render(bytes, &verdict.outcome, output.tail());
                    match found {
                        Found::Hit { .. } => Seen::Shown,
                        Found::Miss(miss) => Seen::Miss(miss),
                    }
                }
            };
            (seen, verdict.used)
        });
        match seen {
            Seen::Shown => self.count_hit(),
            Seen::Large(entry, last_use) => {
                let found = Found::Hit { entry: &entry, last_use };
                if let Some(item) = item(&found, now.unix_ms) {
                    wants.render_head(bytes, &Outcome::Hit(Hit::from(item)), output.tail());
                }
                output.share(copies::value_of(entry));
                output.tail().extend_from_slice(VALUE_END);
                self.count_hit();
            }
            Seen::Changes => self.change(key, update, Some(wants)),
            Seen::Miss(miss) => {
                tally.miss(miss.reason);
                tally.count(Operation::Get, Metric::Miss);
                if copies::miss_reason(miss.reason) == MissReason::Expired {
                    tally.counts.get_expired += 1;
                }
            }
        }
    }

    fn count_hit(&mut self) {
        self.tally.hit();
        self.tally.count(Operation::Get, Metric::Ok);
    }

    /// Stores a value over whatever is there.
    fn set(&mut self, store: &Put<'_>, wants: &Wants) {
        let ttl = store.exptime.ttl(self.now);
        if ttl.is_over() {
            return self.change(store.key, &Update::Store(*store), Some(wants));
        }
        let bytes = store.key.bytes(self.key);
        let hash = annulus_ring::key_hash(bytes);
        let (front, now_ms) = (&self.node.memcached, self.now.unix_ms);
        let mut write = Write {
            flags: store.flags,
            deadline_ms: ttl.left_ms().map(|left| now_ms.saturating_add(left)),
            origin: store.new_cas,
            marks: store.marks.with_cas(store.new_cas).0,
            ..Write::value(0, store.value)
        };
        let (mut known, mut outcome) = (0, CONTENDED);
        for _ in 0..ATTEMPTS {
            write.version = front.version_above(known, now_ms).0;
            match self.node.copies.store().put(bytes, hash, &write, Condition::Always, now_ms) {
                Ok(_) => {
                    let cas = store.new_cas.unwrap_or(write.version);
                    outcome = Outcome::Stored { cas, value_bytes: store.value.len() };
                    break;
                }
                Err(PutError::Refused { version, .. } | PutError::Promised { ballot: version }) => {
                    known = version;
                }
                Err(PutError::TooLarge { .. }) => {
                    outcome = Outcome::TooLarge;
                    break;
                }
                Err(PutError::ConditionFailed { .. } | PutError::Busy) => {}
            }
        }
        self.tally.stored += u64::from(matches!(outcome, Outcome::Stored { .. }));
        self.tally.count(Operation::Put, ended(&outcome));
        self.tally.counts.count(wants, &outcome);
        front.prefixes.count(wants, bytes, &outcome);
        wants.render(bytes, &outcome, self.output.tail());
        if outcome == Outcome::TooLarge {
            // The old value must not be taken for the new one.
            self.change(store.key, &Update::DELETE, None);
        }
    }

    /// Does what depends on what is there. Nobody wants to hear of it where there is no `wants`.
    pub(super) fn change(&mut self, key: WireKey<'_>, update: &Update<'_>, wants: Option<&Wants>) {
        let Self { node, output, scratch, key: decoded, tally, now, .. } = self;
        let bytes = key.bytes(decoded);
        let hash = annulus_ring::key_hash(bytes);
        let front = &node.memcached;
        let mut promised = 0;
        let mut tried = Err(PutError::Busy);
        for _ in 0..ATTEMPTS {
            tried = node.copies.store().update(bytes, hash, now.unix_ms, scratch, |found, scratch| {
                let above = |known: u64| front.version_above(known.max(promised), now.unix_ms).0;
                decide(update, found, *now, scratch, above)
            });
            match tried {
                Err(PutError::Refused { version, .. } | PutError::Promised { ballot: version }) => {
                    promised = version;
                }
                _ => break,
            }
        }
        let outcome = match &tried {
            Ok(updated) => outcome(update, updated.found(), updated.written, *now),
            Err(PutError::TooLarge { .. }) => update.too_large(),
            Err(_) => CONTENDED,
        };
        let Some(wants) = wants else { return };
        tally.stored += u64::from(matches!(outcome, Outcome::Stored { .. } | Outcome::Number(_)));
        tally.counts.count(wants, &outcome);
        front.prefixes.count(wants, bytes, &outcome);
        let before = tried.as_ref().ok().map(|updated| &updated.before);
        match before {
            Some(Lookup::Hit(entry)) if wants.shows_value() && !copies::is_copied(entry) => {
                if wants.render_head(bytes, &outcome, output.tail()).is_some() {
                    output.share(copies::value_of(entry.clone()));
                    output.tail().extend_from_slice(VALUE_END);
                }
            }
            _ => wants.render(bytes, &outcome, output.tail()),
        }
        match update {
            Update::Get { .. } | Update::Touch { shows: true, .. } => {
                tally.count(Operation::Get, ended(&outcome));
                if let Some(before) = before {
                    tally.look(before);
                }
            }
            Update::Delete(_) => tally.count(Operation::Delete, ended(&outcome)),
            _ => tally.count(Operation::Put, ended(&outcome)),
        }
    }
}

/// The outcome as the node's metrics have it.
fn ended(outcome: &Outcome<'_>) -> Metric {
    match outcome {
        Outcome::NotFound => Metric::Miss,
        Outcome::NotStored | Outcome::Exists | Outcome::NotANumber | Outcome::TooLarge => Metric::Rejected,
        Outcome::NoMemory | Outcome::Failed(_) => Metric::Unavailable,
        _ => Metric::Ok,
    }
}
