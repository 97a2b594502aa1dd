//! The circuit breaker of one node: a state machine that knows neither names nor requests.

/// When a node counts as down, and how often it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthSettings {
    /// Failures in a row that open the breaker; 0 counts as 1.
    pub breaker_failures: u32,
    /// Between two checks of a node that answers.
    pub health_check_interval_ms: u64,
    /// Between two probes of a node that has failed, breaker open or not.
    pub probe_interval_ms: u64,
}

/// How a request or a probe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer came, whatever it said: also a refusal shows that the node lives.
    Answered,
    /// None came: refused, broken off, or past its deadline. A request that was called off for a reason of the caller's
    /// own is neither, and its ticket is dropped.
    Failed,
    /// None came yet, and another node was asked besides. One stall of the machine makes many calls late at once, so this
    /// makes a node suspect and has it probed soon, but opens no breaker.
    Overdue,
}

/// Whether a node is asked in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// In its turn.
    Closed,
    /// Last, and probed until it answers.
    Open {
        /// When it opened, by the clock of the events.
        since_ms: u64,
    },
    /// It answered once while open; the next outcome decides. One answer can be the last word of a node that hangs
    /// again, so it is not believed alone.
    HalfOpen,
}

/// A node's state as metrics show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Its last outcome was an answer.
    Up,
    /// It failed lately, but not often enough to be down; or it was down and has answered once.
    Suspect,
    /// Its breaker is open.
    Down,
}

impl Condition {
    /// `up`, `suspect` or `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// A breaker and when its node is to be asked next.
#[derive(Clone, Debug)]
pub(crate) struct Circuit {
    breaker: Breaker,
    failures: u32,
    next_probe_ms: u64,
}

impl Circuit {
    /// Closed, because most nodes are well; asked at once, because this one may not be.
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { breaker: Breaker::Closed, failures: 0, next_probe_ms: now_ms }
    }

    pub(crate) fn breaker(&self) -> Breaker {
        self.breaker
    }

    pub(crate) fn next_probe_ms(&self) -> u64 {
        self.next_probe_ms
    }

    pub(crate) fn condition(&self) -> Condition {
        match self.breaker {
            Breaker::Closed if self.failures == 0 => Condition::Up,
            Breaker::Closed | Breaker::HalfOpen => Condition::Suspect,
            Breaker::Open { .. } => Condition::Down,
        }
    }

    /// Takes note that the node is being asked. The next time comes whether or not this one is ever answered.
    pub(crate) fn probed(&mut self, settings: &HealthSettings, now_ms: u64) {
        let interval_ms = match self.condition() {
            Condition::Up => settings.health_check_interval_ms,
            Condition::Suspect | Condition::Down => settings.probe_interval_ms,
        };
        self.next_probe_ms = now_ms.saturating_add(interval_ms.max(1));
    }

    /// Takes an outcome that belongs to the present state; true where the breaker moved.
    pub(crate) fn record(&mut self, outcome: Outcome, settings: &HealthSettings, now_ms: u64) -> bool {
        match (self.breaker, outcome) {
            (Breaker::Closed, Outcome::Answered) => {
                self.failures = 0;
                false
            }
            (Breaker::Closed, Outcome::Failed) => {
                self.failures = self.failures.saturating_add(1);
                let soon_ms = now_ms.saturating_add(settings.probe_interval_ms);
                self.next_probe_ms = self.next_probe_ms.min(soon_ms);
                self.failures >= settings.breaker_failures && self.open(now_ms)
            }
            (Breaker::Closed, Outcome::Overdue) => {
                self.failures = self.failures.max(1);
                let soon_ms = now_ms.saturating_add(settings.probe_interval_ms);
                self.next_probe_ms = self.next_probe_ms.min(soon_ms);
                false
            }
            (Breaker::Open { .. }, Outcome::Failed | Outcome::Overdue)
            | (Breaker::HalfOpen, Outcome::Overdue) => false,
            (Breaker::Open { .. }, Outcome::Answered) => {
                self.breaker = Breaker::HalfOpen;
                self.next_probe_ms = now_ms;
                true
            }
            (Breaker::HalfOpen, Outcome::Failed) => {
                self.next_probe_ms = now_ms.saturating_add(settings.probe_interval_ms);
                self.open(now_ms)
            }
            (Breaker::HalfOpen, Outcome::Answered) => {
                *self = Self::new(now_ms.saturating_add(settings.health_check_interval_ms));
                true
            }
        }
    }

    fn open(&mut self, now_ms: u64) -> bool {
        self.breaker = Breaker::Open { since_ms: now_ms };
        true
    }
}
