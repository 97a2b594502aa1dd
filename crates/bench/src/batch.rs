//! Requests that are made in one go, and what became of them. One batch serves a worker for the whole run, so that a
//! request allocates nothing.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Instant;
use crate::payload::{Origin, Stamp};
use crate::protocol::{Call, Effect, ErrorKind, Failure, Operation};
use crate::shared::Shared;
use crate::source::Job;
use crate::tally::Sample;
use crate::verify::{ReadTicket, Verdict};

pub(crate) struct Batch {
    shared: Arc<Shared>,
    /// The names of all keys, one behind the other.
    names: String,
    keys: Vec<KeyUse>,
    requests: Vec<Planned>,
    name: String,
    writes: u64,
}

/// A key of a request.
#[derive(Debug)]
struct KeyUse {
    index: u32,
    name: Range<usize>,
    /// What was known when the read began; under `--verify`.
    ticket: Option<ReadTicket>,
    is_found: bool,
}

/// A request and its outcome.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) operation: Operation,
    /// When it was meant to start.
    pub(crate) start: Instant,
    /// When it was answered or had failed.
    pub(crate) end: Instant,
    /// Whether it belongs to the measured part of the run.
    pub(crate) counted: bool,
    pub(crate) sample: Sample,
    keys: Range<usize>,
    size: usize,
    fill: bool,
    value: Bytes,
    /// Of a write or delete in the ledger; under `--verify`.
    sequence: u64,
    is_answered: bool,
    /// Where to look first for the key of the next value that comes.
    cursor: usize,
}

/// The keys of a get.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    text: &'a str,
    keys: &'a [KeyUse],
}

/// A value as it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    /// The value, where the connection keeps it.
    pub(crate) body: &'a [u8],
    /// Its length, kept or not.
    pub(crate) bytes: u64,
    /// Where the protocol has them.
    pub(crate) flags: Option<u32>,
}

impl<'a> Names<'a> {
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a str> {
        self.keys.iter().map(move |key| &self.text[key.name.clone()])
    }

    pub(crate) fn first(self) -> &'a str {
        self.iter().next().unwrap_or_default()
    }
}

impl Batch {
    /// An empty one; workers that write the same filler at the same time would hide a mix-up of their values, hence
    /// the `worker`'s number.
    pub(crate) fn new(shared: Arc<Shared>, worker: usize) -> Self {
        let (names, keys, requests, name) = (String::new(), Vec::new(), Vec::new(), String::new());
        Self { shared, names, keys, requests, name, writes: worker as u64 * 131 }
    }

    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.keys.clear();
        self.requests.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    pub(crate) fn requests(&self) -> &[Planned] {
        &self.requests
    }

    /// Adds a request for `keys`; from here on it counts as under way.
    pub(crate) fn push(&mut self, job: Job, keys: &[u32], start: Instant, counted: bool) {
        let from = self.keys.len();
        for index in keys {
            self.shared.keys.name_into(*index, &mut self.name);
            let name = self.names.len()..self.names.len() + self.name.len();
            self.names.push_str(&self.name);
            let reads = self.shared.ledger.as_ref().filter(|_| job.operation == Operation::Get);
            let ticket = reads.map(|ledger| ledger.begin_read(*index));
            self.keys.push(KeyUse { index: *index, name, ticket, is_found: false });
        }
        let mut planned = Planned {
            operation: job.operation,
            start,
            end: start,
            counted,
            sample: Sample::default(),
            keys: from..self.keys.len(),
            size: job.size,
            fill: job.fill,
            value: Bytes::new(),
            sequence: 0,
            is_answered: false,
            cursor: from,
        };
        self.begin(&mut planned);
        self.requests.push(planned);
    }

    /// Request `request` as it goes out.
    pub(crate) fn call(&self, request: usize) -> Call<'_> {
        let planned = &self.requests[request];
        let keys = Names { text: &self.names, keys: &self.keys[planned.keys.clone()] };
        let (key, value) = (keys.first(), &planned.value);
        match planned.operation {
            Operation::Get => Call::Get { keys },
            Operation::Set if planned.fill => Call::Post { key, value },
            Operation::Set => Call::Put { key, value },
            Operation::Delete => Call::Delete { key },
        }
    }

    /// The value of key `name` came for `request`. False where that key was not asked for, or came already.
    pub(crate) fn found(&mut self, request: usize, name: &[u8], found: Found<'_>) -> bool {
        let planned = &mut self.requests[request];
        let (first, last) = (planned.keys.start, planned.keys.end);
        // Values come in the order of their keys, or of the servers behind a router: the next is never far.
        let mut places = (planned.cursor..last).chain(first..planned.cursor);
        let is_it = |key: &KeyUse| !key.is_found && self.names.as_bytes()[key.name.clone()] == *name;
        let Some(place) = places.find(|place| is_it(&self.keys[*place])) else { return false };
        planned.cursor = place + 1;
        self.take(request, place, found);
        true
    }

    /// The value of the only key of `request` came.
    pub(crate) fn found_only(&mut self, request: usize, found: Found<'_>) {
        self.take(request, self.requests[request].keys.start, found);
    }

    /// `request` was answered to its end, at `now`.
    pub(crate) fn answered(&mut self, request: usize, outcome: Result<(), Failure>, now: Instant) {
        let planned = &mut self.requests[request];
        planned.is_answered = true;
        planned.end = now;
        match (planned.operation, outcome.is_ok()) {
            (Operation::Get, true) => {
                for key in &self.keys[planned.keys.clone()] {
                    planned.sample.misses += u64::from(!key.is_found);
                    if let (false, Some(ledger), Some(ticket)) =
                        (key.is_found, &self.shared.ledger, key.ticket)
                    {
                        planned.sample.lost += u64::from(ledger.is_lost(key.index, ticket));
                    }
                }
            }
            (Operation::Set, true) => planned.sample.written_bytes = planned.size as u64,
            _ => {}
        }
        if let Some(ledger) = &self.shared.ledger {
            let key = self.keys[planned.keys.start].index;
            let effect = outcome.as_ref().err().map(|failure| failure.effect);
            match (planned.operation, effect) {
                (Operation::Get, _) | (_, Some(Effect::Unknown)) => {}
                (Operation::Set, None) => ledger.write_acknowledged(key, planned.sequence),
                (Operation::Set, Some(_)) => ledger.write_refused(key, planned.sequence),
                (Operation::Delete, None) => ledger.delete_acknowledged(key, planned.sequence),
                (Operation::Delete, Some(_)) => ledger.delete_refused(key),
            }
        }
        if let Err(failure) = outcome {
            planned.sample.failure = Some(failure);
        }
    }

    /// All that have no answer failed, at `now`.
    pub(crate) fn fail_rest(&mut self, failure: &Failure, now: Instant) {
        for request in 0..self.requests.len() {
            if !self.requests[request].is_answered {
                self.answered(request, Err(failure.clone()), now);
            }
        }
    }

    /// Whether some request was answered, or is being answered.
    pub(crate) fn is_begun(&self) -> bool {
        self.requests.iter().any(|planned| planned.is_answered || planned.sample.hits > 0)
    }

    /// Becomes the writes that follow the reads of a replay that missed. False where there are none.
    pub(crate) fn become_fills(&mut self, now: Instant) -> bool {
        let missed = |planned: &&Planned| planned.fill && planned.sample.misses > 0;
        let fills = self.requests.iter().filter(missed).map(|planned| {
            let job = Job { operation: Operation::Set, size: planned.size, fill: true };
            (job, self.keys[planned.keys.start].index, planned.counted)
        });
        let fills: Vec<_> = fills.collect();
        self.clear();
        for (job, key, counted) in &fills {
            self.push(*job, &[*key], now, *counted);
        }
        !fills.is_empty()
    }

    /// Announces a write or delete to the ledger, and makes the value to write.
    fn begin(&mut self, planned: &mut Planned) {
        let key = &self.keys[planned.keys.start];
        let ledger = self.shared.ledger.as_ref();
        match (planned.operation, ledger) {
            (Operation::Set, Some(ledger)) => {
                planned.sequence = ledger.begin_write(key.index);
                let name = &self.names[key.name.clone()];
                let stamp = Stamp { run: self.shared.run, key: name, sequence: planned.sequence };
                planned.value = self.shared.pool.stamped(planned.size, stamp);
            }
            (Operation::Set, None) => {
                self.writes += 1;
                planned.value = self.shared.pool.value(planned.size, self.writes);
            }
            (Operation::Delete, Some(ledger)) => planned.sequence = ledger.begin_delete(key.index),
            (Operation::Delete, None) | (Operation::Get, _) => {}
        }
    }

    fn take(&mut self, request: usize, place: usize, found: Found<'_>) {
        self.keys[place].is_found = true;
        let failure = self.judge(place, found);
        let sample = &mut self.requests[request].sample;
        sample.hits += 1;
        sample.read_bytes += found.bytes;
        if let Some(failure) = failure {
            sample.failure.get_or_insert(failure);
        }
    }

    /// What is wrong with a value, as far as is asked to look.
    fn judge(&self, place: usize, found: Found<'_>) -> Option<Failure> {
        let key = &self.keys[place];
        let (ledger, ticket) = (self.shared.ledger.as_ref()?, key.ticket?);
        let name = &self.names[key.name.clone()];
        let origin = self.shared.pool.origin(found.body, self.shared.run, name);
        let wanted = self.shared.options.flags;
        let (kind, detail) = match ledger.judge(key.index, ticket, origin) {
            Verdict::Corrupt => (ErrorKind::Corrupt, format!("key {name} answered with {origin:?}")),
            Verdict::Stale => (ErrorKind::Stale, format!("key {name} answered with {origin:?}")),
            Verdict::Right => {
                let is_ours = matches!(origin, Origin::Ours { .. });
                let flags = found.flags.filter(|flags| is_ours && *flags != wanted)?;
                (ErrorKind::Corrupt, format!("key {name} answered with flags {flags} instead of {wanted}"))
            }
        };
        Some(Failure { kind, detail, effect: Effect::None })
    }
}
