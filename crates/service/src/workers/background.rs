//! A runtime for what no client should wait for.
//!
//! One thread at a time drives it. The first is of the system's idle class (`SCHED_IDLE` in sched(7)): whoever else wants its
//! core gets it at once, where a thread of lower priority may be let finish its slice of some milliseconds. But where others
//! want all cores all the time, it hardly runs. The second thread looks whether that is so, and then drives the runtime for
//! a while, with a priority by which it gets a tenth of a core.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How much lower than others' the priority of the second thread is, in the system's steps.
const LOW_NICE: i32 = 10;

/// How the second thread goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Between two looks at the first.
    pub(super) look: Duration,
    /// How long it drives.
    pub(super) drive: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { look: Duration::from_secs(1), drive: Duration::from_secs(10) }
    }
}

/// Starts it; its threads end after `stop`.
///
/// # Errors
/// What the operating system says.
pub(super) fn start(stop: CancellationToken, times: Times) -> io::Result<Handle> {
    let background = Arc::new(Background {
        runtime: Builder::new_current_thread().enable_all().build()?,
        stop,
        turn: Mutex::new(Turn::First),
        turned: Condvar::new(),
        let_go: Notify::new(),
    });
    let handle = background.runtime.handle().clone();
    let first = std::thread::Builder::new().name("background".to_owned());
    first.spawn(move || background.drive_first(times))?;
    Ok(handle)
}

struct Background {
    runtime: Runtime,
    stop: CancellationToken,
    turn: Mutex<Turn>,
    turned: Condvar,
    /// Tells the first thread to let go of the runtime.
    let_go: Notify,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Second,
}

impl Background {
    /// Drives until the end, except when it is the other's turn.
    fn drive_first(self: Arc<Self>, times: Times) {
        if self.start_second(times).is_none() {
            // Nobody would notice that this thread is starved.
            step_back();
            return self.runtime.block_on(self.stop.cancelled());
        }
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        if set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy).is_err() {
            step_back();
        }
        while !self.stop.is_cancelled() {
            self.runtime.block_on(async {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = self.let_go.notified() => {}
                }
            });
            let mut turn = self.turn.lock();
            self.turned.wait_while(&mut turn, |turn| *turn == Turn::Second);
        }
    }

    /// To be called by the first thread before it steps behind all others, because a thread begins in the class of the one that
    /// starts it. `None` where the system does not tell how long a thread waits.
    fn start_second(self: &Arc<Self>, times: Times) -> Option<()> {
        let first = own_schedstat()?;
        let background = Arc::clone(self);
        let second = std::thread::Builder::new().name("background-low".to_owned());
        second.spawn(move || background.drive_second(&first, times)).ok()?;
        Some(())
    }

    /// Looks whether the first thread gets a core, and drives for a while where it does not.
    fn drive_second(&self, first: &Path, times: Times) {
        step_back();
        while !self.stop.is_cancelled() {
            let before = Cores::of(first);
            std::thread::sleep(times.look);
            if !Cores::of(first).is_starved(before, times.look) {
                continue;
            }
            tracing::debug!("all cores are taken: the background gets a share of one");
            *self.turn.lock() = Turn::Second;
            self.let_go.notify_one();
            // This waits until the first has let go.
            self.runtime.block_on(async {
                let _ = tokio::time::timeout(times.drive, self.stop.cancelled()).await;
            });
            *self.turn.lock() = Turn::First;
            self.turned.notify_one();
        }
    }
}

/// Lowers this thread's priority.
fn step_back() {
    // Refused: it runs like all others, which costs latency and nothing else.
    let _ = rustix::process::nice(LOW_NICE);
}

/// Where the system tells how long this thread ran and waited, if it does.
fn own_schedstat() -> Option<PathBuf> {
    let path = Path::new("/proc").join(std::fs::read_link("/proc/thread-self").ok()?).join("schedstat");
    // Brings its times up to date: a system that does not count shows 0 for ever.
    std::thread::yield_now();
    (Cores::of(&path).ran > Duration::ZERO).then_some(path)
}

/// How long a thread ran, and how long it waited for a core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cores {
    ran: Duration,
    waited: Duration,
}

impl Cores {
    fn of(schedstat: &Path) -> Self {
        std::fs::read_to_string(schedstat).ok().and_then(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// From nanoseconds on a core, nanoseconds of waiting for one, and how often it ran.
    fn parse(schedstat: &str) -> Option<Self> {
        let mut figures = schedstat.split_ascii_whitespace().map(|figure| figure.parse().ok());
        let mut next = || Some(Duration::from_nanos(figures.next()??));
        Some(Self { ran: next()?, waited: next()? })
    }

    /// Whether it wanted a core for half of the time, and then got it for less than a tenth.
    fn is_starved(self, before: Self, between: Duration) -> bool {
        let ran = self.ran.saturating_sub(before.ran);
        let waited = self.waited.saturating_sub(before.waited);
        waited > between / 2 && waited > 9 * ran
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::give_way;
    use super::*;

    const TIMES: Times = Times { look: Duration::from_millis(100), drive: Duration::from_millis(200) };

    #[test]
    fn a_thread_is_starved_that_waits_for_nine_tenths_of_the_time() {
        let cores = |ran, waited| Cores::parse(&format!("{ran} {waited} 77\n")).unwrap();
        let second = Duration::from_secs(1);
        let before = cores(5_000_000_000u64, 1_000_000_000u64);
        assert!(cores(5_090_000_000, 1_900_000_000).is_starved(before, second));
        assert!(!cores(5_110_000_000, 1_900_000_000).is_starved(before, second), "it gets enough");
        assert!(!cores(5_000_000_000, 1_400_000_000).is_starved(before, second), "it wants little");
        assert!(!Cores::default().is_starved(before, second));
        assert_eq!(Cores::parse("5 \n"), None);
    }

    #[test]
    fn it_runs_behind_all_others_and_with_a_share_of_its_own_where_they_take_all_cores() {
        let (stop, ended) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let handle = start(stop.clone(), TIMES).unwrap();
        let runtime = Builder::new_current_thread().build().unwrap();
        let is_idle = || {
            let policy = handle.spawn(async { thread_priority::thread_schedule_policy() });
            let policy = runtime.block_on(policy).unwrap().unwrap();
            policy == ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle)
        };
        assert!(is_idle());

        // A task that always wants a core, and others that want them all.
        let working = handle.spawn(async {
            loop {
                give_way().await;
            }
        });
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let others: Vec<_> = (0..2 * cores)
            .map(|_| {
                let ended = Arc::clone(&ended);
                std::thread::spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        while is_idle() {}

        ended.store(true, Ordering::Relaxed);
        for other in others {
            other.join().unwrap();
        }
        while !is_idle() {}
        working.abort();
        stop.cancel();
    }
}
