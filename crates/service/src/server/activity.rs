//! What a connection is doing and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::config::ServerSettings;

/// The time as of the last sweep: connections stamp themselves with it for the cost of a load.
pub(super) struct CoarseClock(AtomicU64);

impl CoarseClock {
    pub(super) fn new(now_ms: u64) -> Self {
        Self(AtomicU64::new(now_ms))
    }

    pub(super) fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The phases of a connection, each with its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
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
pub(super) struct Activity {
    phase: AtomicU8,
    since_ms: AtomicU64,
    coarse: Arc<CoarseClock>,
}

impl Activity {
    /// A connection just accepted. It counts as sending its header: a client that connects wants something.
    pub(super) fn new(coarse: Arc<CoarseClock>) -> Self {
        let since_ms = AtomicU64::new(coarse.now_ms());
        Self { phase: AtomicU8::new(Phase::Header as u8), since_ms, coarse }
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Header,
            2 => Phase::Handling,
            3 => Phase::Writing,
            _ => Phase::Lingering,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.progress();
    }

    pub(super) fn progress(&self) {
        self.since_ms.store(self.coarse.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self.phase(), Phase::Handling | Phase::Writing)
    }

    pub(super) fn is_overdue(&self, now_ms: u64, settings: &ServerSettings) -> bool {
        let limit = match self.phase() {
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
