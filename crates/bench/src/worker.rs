//! One connection's task: take a job, do it, count it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{self, Instant};
use crate::keys::KeySpace;
use crate::pacer::Pacer;
use crate::parse::Url;
use crate::payload::{Pool, Stamp};
use crate::protocol::{Call, Connection, Effect, ErrorKind, Failure, Operation, Options, Reply};
use crate::source::{Job, Source};
use crate::tally::{Sample, Tally};
use crate::verify::{Ledger, Verdict};

/// How long a worker rests when no master takes its request (connections are refused, or closed at once), so that a
/// dead cluster is not hammered.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(50);

/// What all workers of a run read.
pub(crate) struct Shared {
    pub(crate) urls: Vec<Url>,
    pub(crate) options: Options,
    pub(crate) timeout: Duration,
    pub(crate) keys: KeySpace,
    pub(crate) pool: Pool,
    /// Under `--verify`.
    pub(crate) ledger: Option<Ledger>,
    /// Tells this run's values from those of earlier ones.
    pub(crate) run: u32,
    pub(crate) stop: AtomicBool,
}

/// When the load starts, counts and ends.
#[derive(Clone)]
pub(crate) struct Phase {
    pub(crate) measure_from: Instant,
    /// No request is meant to start from here on.
    pub(crate) until: Option<Instant>,
    /// Measured requests left, in a closed loop that ends by number.
    pub(crate) budget: Option<Arc<AtomicU64>>,
    /// The open loop's.
    pub(crate) pacer: Option<Arc<Pacer>>,
}

pub(crate) struct Worker<C> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) tally: Arc<Mutex<Tally>>,
    pub(crate) source: Source,
    connection: Option<C>,
    /// Which URL to dial; counts on, over all of them.
    url: usize,
    ever_connected: bool,
    writes: u64,
    name: String,
}

impl<C: Connection> Worker<C> {
    pub(crate) fn new(shared: Arc<Shared>, tally: Arc<Mutex<Tally>>, source: Source, index: usize) -> Self {
        let (connection, name) = (None, String::new());
        // Workers that write the same filler at the same time would hide a mix-up of their values.
        let writes = index as u64 * 131;
        Self { shared, tally, source, connection, url: index, ever_connected: false, writes, name }
    }

    /// Works until the phase ends, the source runs dry or the run is stopped.
    pub(crate) async fn run(mut self, phase: Phase) {
        while let Some(start) = self.next_start(&phase).await {
            let counted = start >= phase.measure_from;
            if counted && !phase.take_from_budget() {
                break;
            }
            let Some(job) = self.source.next(&self.shared.keys) else { break };
            let missed = self.perform(job, start, counted, &phase).await;
            if missed && job.fill {
                let fill = Job { operation: Operation::Set, ..job };
                self.perform(fill, clock::now(), counted, &phase).await;
            }
        }
        self.tally.lock().hand_in();
    }

    async fn next_start(&self, phase: &Phase) -> Option<Instant> {
        let stopped = || self.shared.stop.load(Ordering::Relaxed);
        let Some(pacer) = &phase.pacer else {
            let now = clock::now();
            return (!stopped() && phase.until.is_none_or(|until| now < until)).then_some(now);
        };
        let intended = pacer.take().await?;
        // What was due before the end is still sent, but not for ever.
        if stopped() || phase.until.is_some_and(|until| clock::now() > until + self.shared.timeout) {
            pacer.abandon();
            return None;
        }
        Some(intended)
    }

    /// Does one job and counts it. Returns whether it was a read that missed.
    async fn perform(&mut self, job: Job, start: Instant, counted: bool, phase: &Phase) -> bool {
        let mut name = std::mem::take(&mut self.name);
        self.shared.keys.name_into(job.key, &mut name);
        let sample = match job.operation {
            Operation::Get => self.fetch(job.key, &name).await,
            Operation::Set => self.store(job.key, &name, job.size, job.fill).await,
            Operation::Delete => self.remove(job.key, &name).await,
        };
        self.name = name;
        let missed = sample.hit == Some(false);
        let unsent = sample.failure.as_ref().is_some_and(|failure| failure.effect == Effect::Unsent);
        if counted {
            self.tally.lock().record(job.operation, &sample, start, clock::now(), phase.measure_from);
        }
        if unsent {
            tokio::time::sleep(BACK_OFF).await;
        }
        missed
    }

    async fn fetch(&mut self, key: u32, name: &str) -> Sample {
        let ticket = self.shared.ledger.as_ref().map(|ledger| ledger.begin_read(key));
        let answer = self.exchange(&Call::Get { key: name }).await;
        let mut sample =
            Sample { hit: answer.as_ref().ok().map(|reply| *reply == Reply::Hit), ..Sample::default() };
        let Some(connection) = &self.connection else {
            sample.failure = answer.err();
            return sample;
        };
        sample.failure = answer.err();
        if sample.hit == Some(true) {
            sample.read_bytes = connection.body_bytes();
        }
        if let (Some(ledger), Some(ticket), Some(hit)) = (&self.shared.ledger, ticket, sample.hit) {
            if hit {
                let origin = self.shared.pool.origin(connection.body(), self.shared.run, name);
                let kind = match ledger.judge(key, ticket, origin) {
                    Verdict::Right => return sample,
                    Verdict::Corrupt => ErrorKind::Corrupt,
                    Verdict::Stale => ErrorKind::Stale,
                };
                let detail = format!("key {name} answered with {origin:?}");
                sample.failure = Some(Failure { kind, detail, effect: Effect::None });
            } else {
                sample.lost = ledger.is_lost(key, ticket);
            }
        }
        sample
    }

    pub(crate) async fn store(&mut self, key: u32, name: &str, size: usize, as_document: bool) -> Sample {
        let shared = self.shared.clone();
        let sequence = shared.ledger.as_ref().map(|ledger| ledger.begin_write(key));
        let value = if let Some(sequence) = sequence {
            shared.pool.stamped(size, Stamp { run: shared.run, key: name, sequence })
        } else {
            self.writes += 1;
            shared.pool.value(size, self.writes)
        };
        let call = if as_document { Call::Post { key: name, value } } else { Call::Put { key: name, value } };
        let answer = self.exchange(&call).await;
        if let (Some(ledger), Some(sequence)) = (&shared.ledger, sequence) {
            match &answer {
                Ok(_) => ledger.write_acknowledged(key, sequence),
                Err(failure) if failure.effect == Effect::Unknown => {}
                Err(_) => ledger.write_refused(key, sequence),
            }
        }
        let written_bytes = if answer.is_ok() { size as u64 } else { 0 };
        Sample { written_bytes, failure: answer.err(), ..Sample::default() }
    }

    async fn remove(&mut self, key: u32, name: &str) -> Sample {
        let start = self.shared.ledger.as_ref().map(|ledger| ledger.begin_delete(key));
        let answer = self.exchange(&Call::Delete { key: name }).await;
        if let (Some(ledger), Some(start)) = (&self.shared.ledger, start) {
            match &answer {
                Ok(_) => ledger.delete_acknowledged(key, start),
                Err(failure) if failure.effect == Effect::Unknown => {}
                Err(_) => ledger.delete_refused(key),
            }
        }
        Sample { failure: answer.err(), ..Sample::default() }
    }

    /// Makes a call, on a new connection where there is none. What was not sent is sent once more: that a server closed
    /// an idle connection is no error.
    async fn exchange(&mut self, call: &Call<'_>) -> Result<Reply, Failure> {
        let deadline = clock::now() + self.shared.timeout;
        let mut again = true;
        loop {
            if self.connection.is_none() {
                self.connect(deadline).await?;
            }
            let Some(connection) = &mut self.connection else { continue };
            let answer = connection.call(call, deadline).await;
            if let Err(failure) = &answer
                && !matches!(failure.kind, ErrorKind::Status(_))
            {
                self.connection = None;
                self.url += 1;
                if again && failure.effect == Effect::Unsent {
                    again = false;
                    continue;
                }
            }
            return answer;
        }
    }

    /// Connects to the first URL that accepts, from the worker's current one on.
    pub(crate) async fn connect(&mut self, deadline: Instant) -> Result<(), Failure> {
        let mut failure = None;
        for _ in 0..self.shared.urls.len() {
            let url = &self.shared.urls[self.url % self.shared.urls.len()];
            match C::open(url, &self.shared.options, deadline).await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    self.tally.lock().reconnects += u64::from(self.ever_connected);
                    self.ever_connected = true;
                    return Ok(());
                }
                Err(refused) => failure = Some(refused),
            }
            self.url += 1;
        }
        let none =
            || Failure { kind: ErrorKind::Connect, detail: "no URL".to_owned(), effect: Effect::Unsent };
        Err(failure.unwrap_or_else(none))
    }
}

impl Phase {
    fn take_from_budget(&self) -> bool {
        let Some(budget) = &self.budget else { return true };
        budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}
