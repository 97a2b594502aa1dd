//! The home of the schedules: a [`FencedState`] that fails over and is wiped, and notes what it took.

use std::time::Duration;

use annulus_cluster::fenced::{Claim, FencedState, Head, Known, Publication, Published, Writer};
use bytes::Bytes;

use crate::schedule::{LEASE, Outcome, Rules};

const DATASET: &str = "d";

/// What a replica asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Acquire { known_token: u64 },
    Renew { token: u64 },
    Release,
    Publish { token: u64, above: u64 },
    Head { known: Known },
}

/// What it is told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Claim(Claim),
    Renewed(bool),
    Released,
    Published(Published),
    Head(Head),
}

pub(crate) struct Home {
    state: FencedState,
    /// As a copy has it that is behind.
    copy: FencedState,
    /// Runs at its own speed.
    rate: f64,
    /// What is added to its clock, in ms.
    skew_ms: i64,
    down_until_ms: u64,
    /// How often it has lost something.
    pub(crate) losses: u64,
    last_revision: u64,
    last_token: u64,
    rules: Rules,
}

impl Home {
    pub(crate) fn new(rate: f64, rules: Rules) -> Self {
        Self {
            state: FencedState::default(),
            copy: FencedState::default(),
            rate,
            skew_ms: 0,
            down_until_ms: 0,
            losses: 0,
            last_revision: 0,
            last_token: 0,
            rules,
        }
    }

    /// Milliseconds since the Unix epoch, as the home has them.
    fn now_ms(&self, true_ms: u64) -> u64 {
        let since_start = (true_ms as f64 * self.rate) as i64 + self.skew_ms;
        (1_700_000_000_000 + since_start).cast_unsigned()
    }

    pub(crate) fn is_down(&self, true_ms: u64) -> bool {
        true_ms < self.down_until_ms
    }

    /// The copy catches up.
    pub(crate) fn replicate(&mut self) {
        self.copy = self.state.clone();
    }

    /// It is away for a while, and back as the copy was, or empty, on a machine with another clock. That one is off by less
    /// than the outage lasted.
    pub(crate) fn lose(&mut self, true_ms: u64, outage_ms: u64, skew_ms: i64, everything: bool) {
        self.state = if everything { FencedState::default() } else { self.copy.clone() };
        self.copy = self.state.clone();
        self.skew_ms += skew_ms;
        self.down_until_ms = self.down_until_ms.max(true_ms) + outage_ms;
        self.losses += 1;
    }

    pub(crate) fn answer(
        &mut self,
        true_ms: u64,
        id: &str,
        ask: Ask,
        outcome: &mut Outcome,
    ) -> Result<Told, String> {
        let now_ms = self.now_ms(true_ms);
        let ttl = LEASE.ttl;
        Ok(match ask {
            Ask::Acquire { known_token } => {
                let claim = self.state.acquire(now_ms, id, known_token, ttl);
                if let Claim::Granted { token } = claim {
                    if token <= self.last_token {
                        return Err(format!("the token {token} comes after {}", self.last_token));
                    }
                    self.last_token = token;
                }
                Told::Claim(claim)
            }
            Ask::Renew { token } => Told::Renewed(self.state.renew(now_ms, Writer { id, token }, ttl)),
            Ask::Release => {
                self.state.release(id);
                Told::Released
            }
            Ask::Publish { token, above } => {
                Told::Published(self.publish(now_ms, Writer { id, token }, above, outcome)?)
            }
            Ask::Head { known } => Told::Head(self.state.head(now_ms, DATASET, known)),
        })
    }

    fn publish(
        &mut self,
        now_ms: u64,
        writer: Writer<'_>,
        above: u64,
        outcome: &mut Outcome,
    ) -> Result<Published, String> {
        let holder = self.state.writer(now_ms).map(|holder| (holder.id.to_owned(), holder.token));
        let holds = holder.as_ref().is_some_and(|(id, token)| id == writer.id && *token == writer.token);
        let unfenced = holder.as_ref().filter(|_| !self.rules.fenced);
        let as_whom = unfenced.map_or(writer, |(id, token)| Writer { id, token: *token });
        let publication = Publication {
            dataset: DATASET,
            data: vec![Bytes::from_static(b"x")],
            note: "",
            ttl: Duration::from_secs(3600),
            above,
        };
        let published = self.state.publish(now_ms, as_whom, &publication);
        let Published::As { revision, .. } = published else {
            outcome.refused += 1;
            return Ok(published);
        };
        if !holds {
            return Err(format!("{writer:?} is deposed, and its publication was taken; {holder:?} leads"));
        }
        if revision <= self.last_revision {
            return Err(format!("the revision {revision} comes after {}", self.last_revision));
        }
        self.last_revision = revision;
        outcome.published += 1;
        Ok(published)
    }
}
