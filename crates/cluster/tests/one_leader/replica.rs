//! A replica of the schedules: the lease as it ships, and a leader's work that can be interrupted anywhere.

use annulus_cluster::fenced::{Claim, Known, Published};
use annulus_cluster::lease::{Action, Answer, Call, Lease};

use crate::home::{Ask, Told};
use crate::schedule::LEASE;

/// What is to be done for a replica.
pub(crate) enum Do {
    Send { purpose: Purpose, ask: Ask },
    Lead,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Lease(Option<Call>),
    Publish { token: u64 },
    Look,
}

pub(crate) struct Replica {
    pub(crate) id: String,
    pub(crate) lease: Lease,
    pub(crate) known: Known,
    /// How fast its clock runs, and what it started with.
    rate: f64,
    offset_ms: u64,
    /// Stopped until then, by the true clock.
    pub(crate) stopped_until_ms: u64,
    /// The losses of the home that came before it was last granted the lease.
    pub(crate) losses_before: u64,
}

impl Replica {
    pub(crate) fn new(number: usize, rate: f64, offset_ms: u64) -> Self {
        Self {
            id: format!("replica-{number}"),
            lease: Lease::new(LEASE),
            known: Known::default(),
            rate,
            offset_ms,
            stopped_until_ms: 0,
            losses_before: 0,
        }
    }

    /// Its own steady clock.
    pub(crate) fn now_ms(&self, true_ms: u64) -> u64 {
        self.offset_ms + (true_ms as f64 * self.rate) as u64
    }

    pub(crate) fn leads(&self, true_ms: u64) -> bool {
        self.lease.term(self.now_ms(true_ms)).is_some()
    }

    pub(crate) fn tick(&mut self, true_ms: u64) -> Vec<Do> {
        let actions = self.lease.tick(self.now_ms(true_ms));
        actions_to_do(actions)
    }

    /// A leader looks whether it still leads, and begins to publish. What happens then may take any time.
    pub(crate) fn publish(&self, true_ms: u64) -> Option<Do> {
        let term = self.lease.term(self.now_ms(true_ms))?;
        let ask = Ask::Publish { token: term.token, above: self.known.revision };
        Some(Do::Send { purpose: Purpose::Publish { token: term.token }, ask })
    }

    pub(crate) fn look(&self) -> Do {
        Do::Send { purpose: Purpose::Look, ask: Ask::Head { known: self.known } }
    }

    /// What it asked was answered; `None`: it has waited long enough.
    pub(crate) fn told(&mut self, true_ms: u64, purpose: Purpose, told: Option<Told>) -> Vec<Do> {
        let now_ms = self.now_ms(true_ms);
        match (purpose, told) {
            (Purpose::Lease(Some(call)), told) => {
                let answer = match told {
                    Some(Told::Claim(Claim::Granted { token })) => Answer::Granted { token },
                    Some(Told::Claim(Claim::Held { left })) => Answer::Held { left },
                    Some(Told::Renewed(true)) => Answer::Renewed,
                    Some(Told::Renewed(false)) => Answer::NotHeld,
                    _ => Answer::Unknown,
                };
                actions_to_do(self.lease.answered(now_ms, call, answer))
            }
            (Purpose::Publish { token }, Some(Told::Published(Published::Refused))) => {
                actions_to_do(self.lease.refused(now_ms, token))
            }
            (Purpose::Publish { token }, Some(Told::Published(Published::As { revision, .. }))) => {
                self.knows(Known { revision, token });
                Vec::new()
            }
            (Purpose::Look, Some(Told::Head(head))) => {
                self.knows(head.known);
                // The home has lost what this leader has published: it is published again.
                let again = head.has_lost_something().then(|| self.publish(true_ms)).flatten();
                again.into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn knows(&mut self, known: Known) {
        if known.revision > self.known.revision {
            self.known = known;
        }
        self.lease.heard_of(known.token);
    }
}

fn actions_to_do(actions: Vec<Action>) -> Vec<Do> {
    let to_do = |action| match action {
        Action::Acquire { call, known_token } => {
            Some(Do::Send { purpose: Purpose::Lease(Some(call)), ask: Ask::Acquire { known_token } })
        }
        Action::Renew { call, token } => {
            Some(Do::Send { purpose: Purpose::Lease(Some(call)), ask: Ask::Renew { token } })
        }
        Action::Release => Some(Do::Send { purpose: Purpose::Lease(None), ask: Ask::Release }),
        Action::Lead { .. } => Some(Do::Lead),
        Action::Follow { .. } => None,
    };
    actions.into_iter().filter_map(to_do).collect()
}
