//! One connection's task: plan a batch of requests, make them, count them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::batch::Batch;
use crate::clock::{self, Instant};
use crate::pacer::Pacer;
use crate::protocol::{Connection, Effect, ErrorKind, Failure};
use crate::shared::Shared;
use crate::source::Source;
use crate::tally::Tally;

/// How long a worker rests when no server takes its requests (connections are refused, or closed at once), so that a
/// dead cluster is not hammered.
pub(crate) const BACK_OFF: Duration = Duration::from_millis(50);

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
    pub(crate) batch: Batch,
    connection: Option<C>,
    /// Which URL to dial; counts on, over all of them.
    url: usize,
    ever_connected: bool,
    /// The keys of the request being planned.
    drawn: Vec<u32>,
}

impl<C: Connection> Worker<C> {
    pub(crate) fn new(shared: Arc<Shared>, tally: Arc<Mutex<Tally>>, source: Source, index: usize) -> Self {
        let batch = Batch::new(shared.clone(), index);
        let (connection, drawn) = (None, Vec::new());
        Self { shared, tally, source, batch, connection, url: index, ever_connected: false, drawn }
    }

    /// Works until the phase ends, the source runs dry or the run is stopped.
    pub(crate) async fn run(mut self, phase: Phase) {
        while self.plan(&phase).await {
            self.perform(&phase).await;
            if self.batch.become_fills(clock::now()) {
                self.perform(&phase).await;
            }
        }
        self.tally.lock().hand_in();
    }

    /// Makes the batch of what is to be sent next. False where nothing is any more.
    async fn plan(&mut self, phase: &Phase) -> bool {
        self.batch.clear();
        let mut start = self.next_start(phase).await;
        while let Some(at) = start {
            let counted = at >= phase.measure_from;
            if counted && !phase.take_from_budget() {
                break;
            }
            let Some(job) = self.source.next(&self.shared.keys, &mut self.drawn) else { break };
            self.batch.push(job, &self.drawn, at, counted);
            if self.batch.len() == self.shared.pipeline {
                break;
            }
            start = match &phase.pacer {
                // In a closed loop, they all start together.
                None => Some(at),
                Some(pacer) => pacer.try_take().and_then(|intended| self.in_time(intended, phase, pacer)),
            };
        }
        !self.batch.is_empty()
    }

    async fn next_start(&self, phase: &Phase) -> Option<Instant> {
        let Some(pacer) = &phase.pacer else {
            let now = clock::now();
            return (!self.is_stopped() && phase.until.is_none_or(|until| now < until)).then_some(now);
        };
        let intended = pacer.take().await?;
        self.in_time(intended, phase, pacer)
    }

    /// What was due before the end is still sent, but not for ever.
    fn in_time(&self, intended: Instant, phase: &Phase, pacer: &Pacer) -> Option<Instant> {
        if self.is_stopped() || phase.until.is_some_and(|until| clock::now() > until + self.shared.timeout) {
            pacer.abandon();
            return None;
        }
        Some(intended)
    }

    fn is_stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    /// Makes the batch's requests and counts them.
    async fn perform(&mut self, phase: &Phase) {
        self.exchange().await;
        self.count(phase.measure_from);
        let unsent = |failure: &Failure| failure.effect == Effect::Unsent;
        if self.batch.requests().iter().any(|request| request.sample.failure.as_ref().is_some_and(unsent)) {
            tokio::time::sleep(BACK_OFF).await;
        }
    }

    fn count(&self, since: Instant) {
        let mut tally = self.tally.lock();
        for request in self.batch.requests().iter().filter(|request| request.counted) {
            tally.record(request.operation, &request.sample, request.start, request.end, since);
        }
    }

    /// Makes the batch's requests, on a new connection where there is none. What was not sent is sent once more: that a
    /// server closed an idle connection is no error.
    pub(crate) async fn exchange(&mut self) {
        let deadline = clock::now() + self.shared.timeout;
        let mut again = true;
        loop {
            if self.connection.is_none()
                && let Err(failure) = self.connect(deadline).await
            {
                return self.batch.fail_rest(&failure, clock::now());
            }
            let Some(connection) = &mut self.connection else { continue };
            let Err(failure) = connection.exchange(&mut self.batch, deadline).await else { return };
            self.connection = None;
            self.url += 1;
            if again && failure.effect == Effect::Unsent && !self.batch.is_begun() {
                again = false;
                continue;
            }
            return self.batch.fail_rest(&failure, clock::now());
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
