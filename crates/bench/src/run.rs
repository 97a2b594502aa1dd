//! A run from arguments to report.

use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use parking_lot::Mutex;
use tokio::task::{JoinHandle, JoinSet};

use crate::args::{Args, is_memcached_key};
use crate::assemble::{self, Outcome};
use crate::clock::{self, Instant};
use crate::http1::Http1;
use crate::keys::KeySpace;
use crate::memcached::Memcached;
use crate::pacer::Pacer;
use crate::parse::MAX_VALUE_BYTES;
use crate::payload::Pool;
use crate::preload::preload;
use crate::progress::{self, Goal};
use crate::protocol::{Connection, Options, Protocol};
use crate::schedule::Schedule;
use crate::series::Series;
use crate::shared::Shared;
use crate::source::{Source, Synthetic};
use crate::tally::Tally;
use crate::trace::Recording;
use crate::verify::Ledger;
use crate::worker::{Phase, Worker};
use crate::{BenchError, Report};

/// How long workers may take to notice that the run was stopped; requests still under way are then dropped uncounted.
const GRACE: Duration = Duration::from_millis(300);

/// Makes the load that `args` ask for and reports what came of it. When `shutdown` completes the run ends early, and is
/// reported as far as it came.
///
/// # Errors
///
/// [`BenchError`] when the arguments contradict each other, no master answers, the trace cannot be read or keys cannot
/// be preloaded. Once the load runs nothing is an error of the run: failed requests are counted.
pub async fn run(args: &Args, shutdown: impl Future<Output = ()>) -> Result<Report, BenchError> {
    args.check()?;
    match args.effective_protocol() {
        Protocol::Http => run_over::<Http1>(args, shutdown).await,
        Protocol::Memcached => run_over::<Memcached>(args, shutdown).await,
    }
}

async fn run_over<C: Connection>(
    args: &Args,
    shutdown: impl Future<Output = ()>,
) -> Result<Report, BenchError> {
    let mut shutdown = pin!(shutdown);
    let shared = Arc::new(shared(args).await?);
    let _stop = StopWhenDropped(shared.clone());
    let crew = Crew::<C>::new(args, &shared);
    let bar = progress::bar(args.quiet);
    let workers = tokio::select! {
        () = &mut shutdown => None,
        workers = prepare(args, &shared, crew.workers, &bar) => Some(workers?),
    };
    let phase = phase(args, &shared);
    let started_at_unix_ms = clock::unix_ms() + args.effective_warm_up().as_millis() as u64;
    let pacing = phase.pacer.clone().map(|pacer| {
        let (shared, takers) = (shared.clone(), args.effective_connections() as usize);
        tokio::task::spawn_blocking(move || pacer.run(takers, &shared.stop))
    });
    let interrupted = match workers {
        None => true,
        Some(workers) => {
            let watch = progress::watch(&bar, &crew.tallies, goal(args, &shared), phase.measure_from);
            tokio::select! {
                interrupted = work(workers, &phase, &shared, shutdown) => interrupted,
                () = watch => unreachable!("the progress bar watches for ever"),
            }
        }
    };
    shared.stop.store(true, Ordering::Relaxed);
    bar.finish_and_clear();
    let lateness_us = lateness(pacing).await;
    for tally in &crew.tallies {
        tally.lock().hand_in();
    }
    let tallies: Vec<_> = crew.tallies.iter().map(|tally| tally.lock()).collect();
    let tallies: Vec<&Tally> = tallies.iter().map(|tally| &**tally).collect();
    let measured_s = measured(&phase, &tallies, interrupted).as_secs_f64();
    let not_sent = phase.pacer.as_ref().filter(|_| !interrupted);
    let outcome = Outcome {
        started_at_unix_ms,
        interrupted,
        measured_s,
        not_sent: not_sent.map_or(0, |pacer| pacer.unsent(args.effective_warm_up())),
        lateness_us,
        series: std::mem::take(&mut *crew.series.lock()).finish(measured_s),
        trace: match &shared.keys {
            KeySpace::Recorded(recording) => Some(recording),
            KeySpace::Numbered { .. } => None,
        },
    };
    Ok(assemble::report(args, &tallies, outcome))
}

/// Stops what goes on in threads of its own, where whoever makes the run lets go of it before its end.
struct StopWhenDropped(Arc<Shared>);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

async fn shared(args: &Args) -> Result<Shared, BenchError> {
    let keys = match args.trace.clone() {
        Some(path) => {
            let limit = args.limit;
            let load = tokio::task::spawn_blocking(move || Recording::load(&path, limit));
            KeySpace::Recorded(load.await.expect("reading a trace does not panic")?)
        }
        None => KeySpace::Numbered { prefix: args.key_prefix.clone(), count: args.keys },
    };
    let max_bytes = match &keys {
        KeySpace::Recorded(recording) => {
            check_names(args, recording)?;
            recording.max_size
        }
        KeySpace::Numbered { .. } => args.value_size.max_bytes(),
    };
    Ok(Shared {
        urls: args.url.clone(),
        options: Options {
            ttl_s: args.effective_ttl_s(),
            flags: args.flags,
            interface: args.interface,
            keep_bodies: args.verify,
        },
        timeout: args.timeout,
        pipeline: args.pipeline as usize,
        pool: Pool::new(max_bytes),
        ledger: args.verify.then(|| Ledger::new(keys.len(), args.effective_ttl_s().is_some())),
        keys,
        run: RandomState::new().hash_one(args.seed) as u32,
        stop: AtomicBool::new(false),
    })
}

/// Sees that the protocol has room for what a trace holds.
fn check_names(args: &Args, recording: &Recording) -> Result<(), BenchError> {
    if args.effective_protocol() != Protocol::Memcached {
        return Ok(());
    }
    if let Some(name) = recording.keys.iter().find(|name| !is_memcached_key(name)) {
        let reason = "has control characters, which no memcached key may";
        return Err(BenchError::Arguments(format!("the trace's key {name:?} {reason}")));
    }
    if args.pipeline as usize * recording.max_size > MAX_VALUE_BYTES {
        let reason = "--pipeline times the trace's largest value is over 64Mi";
        return Err(BenchError::Arguments(reason.to_owned()));
    }
    Ok(())
}

struct Crew<C> {
    workers: Vec<Worker<C>>,
    tallies: Vec<Arc<Mutex<Tally>>>,
    series: Arc<Mutex<Series>>,
}

impl<C: Connection> Crew<C> {
    fn new(args: &Args, shared: &Arc<Shared>) -> Self {
        let series = Arc::new(Mutex::new(Series::default()));
        let cursor = Arc::new(AtomicUsize::new(0));
        let (mut workers, mut tallies) = (Vec::new(), Vec::new());
        for index in 0..args.effective_connections() {
            let source = match &shared.keys {
                KeySpace::Recorded(_) => Source::Replay(cursor.clone()),
                KeySpace::Numbered { .. } => Source::Synthetic(Synthetic::new(args, index)),
            };
            let tally = Arc::new(Mutex::new(Tally::new(series.clone())));
            workers.push(Worker::new(shared.clone(), tally.clone(), source, index as usize));
            tallies.push(tally);
        }
        Self { workers, tallies, series }
    }
}

/// Sees that some master answers, connects, and stores the keys where that was asked for.
async fn prepare<C: Connection>(
    args: &Args,
    shared: &Arc<Shared>,
    mut workers: Vec<Worker<C>>,
    bar: &ProgressBar,
) -> Result<Vec<Worker<C>>, BenchError> {
    let deadline = clock::now() + shared.timeout;
    for (index, worker) in workers.iter_mut().enumerate() {
        let connected = worker.connect(deadline).await;
        if let (0, Err(failure)) = (index, connected) {
            return Err(BenchError::Unreachable { urls: args.url_list(), reason: failure.detail });
        }
    }
    if !args.preload {
        return Ok(workers);
    }
    let stored = Arc::new(AtomicU32::new(0));
    tokio::select! {
        workers = preload(workers, args.keys, &stored) => workers,
        () = progress::watch_preload(bar, args.keys, &stored) => unreachable!("the progress bar watches for ever"),
    }
}

fn phase(args: &Args, shared: &Shared) -> Phase {
    let start = clock::now();
    let warm_up = args.effective_warm_up();
    let length = args.effective_duration().map(|duration| warm_up + duration);
    let pacer = args.rate.map(|rate| {
        let schedule = Schedule::new(rate);
        let by_time = length.map_or(u64::MAX, |length| schedule.before(length));
        let by_number = match (&shared.keys, args.requests) {
            (KeySpace::Recorded(recording), _) => recording.requests.len() as u64,
            (_, Some(requests)) => schedule.before(warm_up).saturating_add(requests),
            _ => u64::MAX,
        };
        Arc::new(Pacer::new(schedule, start, by_time.min(by_number)))
    });
    Phase {
        measure_from: start + warm_up,
        until: length.map(|length| start + length),
        budget: args.requests.map(|requests| Arc::new(AtomicU64::new(requests))),
        pacer,
    }
}

fn goal(args: &Args, shared: &Shared) -> Goal {
    match (args.requests, &shared.keys, args.effective_duration()) {
        (Some(requests), ..) => Goal::Requests(requests),
        (None, _, Some(duration)) => Goal::Time(duration),
        (None, KeySpace::Recorded(recording), None) => Goal::Reads(recording.requests.len() as u64),
        (None, KeySpace::Numbered { .. }, None) => Goal::Requests(u64::MAX),
    }
}

/// Lets the workers work. Returns whether they were interrupted.
async fn work<C: Connection>(
    workers: Vec<Worker<C>>,
    phase: &Phase,
    shared: &Shared,
    shutdown: impl Future<Output = ()>,
) -> bool {
    let mut tasks = JoinSet::new();
    for worker in workers {
        tasks.spawn(worker.run(phase.clone()));
    }
    let all_done = async |tasks: &mut JoinSet<()>| {
        while let Some(task) = tasks.join_next().await {
            task.expect("a worker does not panic");
        }
    };
    tokio::select! {
        () = all_done(&mut tasks) => return false,
        () = shutdown => {}
    }
    shared.stop.store(true, Ordering::Relaxed);
    let _all_noticed = tokio::time::timeout(GRACE, all_done(&mut tasks)).await.is_ok();
    tasks.shutdown().await;
    true
}

/// From the start of measuring to the last answer, or to the end that was set where a closed loop's answers came later.
fn measured(phase: &Phase, tallies: &[&Tally], interrupted: bool) -> Duration {
    let last: Option<Instant> = tallies.iter().filter_map(|tally| tally.last_end).max();
    let end = match phase.until {
        Some(until) if !interrupted && phase.pacer.is_none() && phase.budget.is_none() => {
            last.map(|end| end.min(until))
        }
        _ => last,
    };
    end.map_or(Duration::ZERO, |end| end.saturating_duration_since(phase.measure_from))
}

async fn lateness(pacing: Option<JoinHandle<Histogram<u64>>>) -> Option<Histogram<u64>> {
    Some(pacing?.await.expect("the pacer does not panic"))
}
