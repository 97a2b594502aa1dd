//! What a connection is doing and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::ServerSettings;

/// How long after its last request a connection may bring another one although the server is about to stop.
const LAST_REQUEST_LIMIT: Duration = Duration::from_secs(1);

/// The time as of the last sweep: connections stamp themselves with it for the cost of a load.
pub(crate) struct CoarseClock(AtomicU64);

impl CoarseClock {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self(AtomicU64::new(now_ms))
    }

    pub(crate) fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The phases of a connection, each with its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Waiting for a request.
    Idle,
    /// Some of a request's header has come.
    Header,
    /// A handler is at work; it bounds itself by the request's deadline.
    Handling,
    /// The answer is on its way out.
    Writing,
    /// Answered for the last time; the rest of what the client sends is thrown away.
    Lingering,
}

/// The phase of one connection and when it, or the last progress in it, began.
pub(crate) struct Activity {
    phase: AtomicU8,
    since_ms: AtomicU64,
    coarse: Arc<CoarseClock>,
    may_idle: AtomicBool,
}

impl Activity {
    /// A connection just accepted. It counts as sending its header: a client that connects wants something.
    pub(crate) fn new(coarse: Arc<CoarseClock>) -> Self {
        let since_ms = AtomicU64::new(coarse.now_ms());
        Self { phase: AtomicU8::new(Phase::Header as u8), since_ms, coarse, may_idle: AtomicBool::new(false) }
    }

    /// A connection just accepted that may be idle for as long as its client likes, from the start.
    pub(crate) fn of_patient(coarse: Arc<CoarseClock>) -> Self {
        let activity = Self::new(coarse);
        activity.let_idle();
        activity.enter(Phase::Idle);
        activity
    }

    /// From now on it may be idle for as long as its client likes.
    pub(crate) fn let_idle(&self) {
        self.may_idle.store(true, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Header,
            2 => Phase::Handling,
            3 => Phase::Writing,
            _ => Phase::Lingering,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.progress();
    }

    /// Something is about to be written. An answer that is sent bit by bit counts as idle between two bits; a bit that the
    /// client does not take is an answer left unread.
    pub(crate) fn writes(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Writing);
        }
    }

    pub(crate) fn progress(&self) {
        self.since_ms.store(self.coarse.now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.phase(), Phase::Handling | Phase::Writing)
    }

    /// Whether a request may be on its way on a connection that was used lately: its client does not know yet that the
    /// server stops. The answer says so, and is the last one. Whoever may be idle for ever is told by nothing but the end.
    pub(crate) fn may_bring_more(&self, now_ms: u64) -> bool {
        let is_waiting = matches!(self.phase(), Phase::Idle | Phase::Header);
        let since_ms = now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed));
        is_waiting
            && !self.may_idle.load(Ordering::Relaxed)
            && since_ms < LAST_REQUEST_LIMIT.as_millis() as u64
    }

    pub(crate) fn is_overdue(&self, now_ms: u64, settings: &ServerSettings) -> bool {
        let limit = match self.phase() {
            Phase::Idle if self.may_idle.load(Ordering::Relaxed) => return false,
            Phase::Idle => settings.idle_timeout,
            Phase::Header => settings.header_timeout,
            Phase::Writing => settings.write_timeout,
            Phase::Lingering => Duration::from_secs(2),
            Phase::Handling => return false,
        };
        now_ms.saturating_sub(self.since_ms.load(Ordering::Relaxed)) >= limit.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn each_phase_has_its_own_limit_and_handling_has_none() {
        let settings = Settings::default().server;
        let coarse = Arc::new(CoarseClock::new(1_000));
        let activity = Activity::new(Arc::clone(&coarse));
        let overdue_after = |phase| {
            activity.enter(phase);
            (1..200).find(|s| activity.is_overdue(1_000 + s * 1_000, &settings))
        };
        assert_eq!(overdue_after(Phase::Header), Some(settings.header_timeout.as_secs()));
        assert_eq!(overdue_after(Phase::Idle), Some(settings.idle_timeout.as_secs()));
        assert_eq!(overdue_after(Phase::Writing), Some(settings.write_timeout.as_secs()));
        assert_eq!(overdue_after(Phase::Handling), None);
    }

    #[test]
    fn what_is_written_while_idle_has_the_limit_of_an_answer() {
        let settings = Settings::default().server;
        let activity = Activity::new(Arc::new(CoarseClock::new(1_000)));
        activity.enter(Phase::Idle);
        activity.writes();
        assert!(activity.is_overdue(1_000 + settings.write_timeout.as_millis() as u64, &settings));
        activity.enter(Phase::Header);
        activity.writes();
        assert_eq!(activity.phase(), Phase::Header);
    }

    #[test]
    fn a_connection_that_was_used_lately_may_bring_one_more_request() {
        let coarse = Arc::new(CoarseClock::new(1_000));
        let activity = Activity::new(Arc::clone(&coarse));
        for (phase, may) in [(Phase::Idle, true), (Phase::Header, true), (Phase::Lingering, false)] {
            activity.enter(phase);
            assert_eq!((activity.may_bring_more(1_999), activity.may_bring_more(2_000)), (may, false));
        }
        assert!(!Activity::of_patient(coarse).may_bring_more(1_000));
    }

    #[test]
    fn progress_moves_the_limit() {
        let settings = Settings::default().server;
        let coarse = Arc::new(CoarseClock::new(1_000));
        let activity = Activity::new(Arc::clone(&coarse));
        activity.enter(Phase::Writing);
        coarse.set(9_000);
        activity.progress();
        assert!(!activity.is_overdue(12_000, &settings));
        assert!(activity.is_overdue(19_000, &settings));
    }
}
