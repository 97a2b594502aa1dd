//! Who leads: one replica's part in the election as a state machine. Events and the time go in, actions come out.
//!
//! A lease lies in a home that all replicas share. Whoever holds it leads for one *term*, which has a token that is higher
//! than that of any term before. A leader counts its lease from *before* it asked for it, by its own clock, and less a margin
//! for clocks that run at different speeds: so it steps down before anybody else can be granted the lease. Where it cannot
//! know that (it was stopped between looking and writing), the home refuses its token: see [`FencedStore`](crate::FencedStore).

use std::time::Duration;

/// A leader gives up this part of its lease: two clocks that are each up to 1 % off differ by 2.02 %.
const MARGIN_PERCENT: u64 = 3;

/// The pause after the first call that failed; it doubles up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: u64 = 100;
const MAX_PAUSE_MS: u64 = 1_000;

/// The shortest pause before somebody else's lease is looked at again.
const MIN_LOOK_MS: u64 = 20;

/// What an election goes by; the same on all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// How long a lease lasts unless it is renewed.
    pub ttl: Duration,
    /// How often a leader renews it, and how often the others look whether it is free.
    pub check_interval: Duration,
}

/// A call to the home of the lease, to tell its answer from that of an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call(u64);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for the lease, and for a token above `known_token`.
    Acquire {
        /// To be handed back with the answer.
        call: Call,
        /// The highest token that this replica has heard of.
        known_token: u64,
    },
    /// Renew the lease of this term.
    Renew {
        /// To be handed back with the answer.
        call: Call,
        /// The term.
        token: u64,
    },
    /// Give the lease back; there is nothing to do with the answer.
    Release,
    /// This replica leads from now on.
    Lead {
        /// The term.
        token: u64,
    },
    /// This replica leads no more.
    Follow {
        /// The term that is over.
        token: u64,
        /// Why it is.
        why: Loss,
    },
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Action::Acquire`]: the lease is held, for a term with this token.
    Granted {
        /// The token.
        token: u64,
    },
    /// To [`Action::Acquire`]: another has it, for so long at most.
    Held {
        /// What is left of it.
        left: Duration,
    },
    /// To [`Action::Renew`]: it lasts its whole time again.
    Renewed,
    /// To [`Action::Renew`]: this term does not hold the lease.
    NotHeld,
    /// No answer, or an error: it may have been done or not.
    Unknown,
}

/// Why a term ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The lease was not renewed in time, by this replica's own clock.
    Expired,
    /// The home says that this term does not hold the lease.
    NotHeld,
    /// The home refused to publish something for this term.
    Refused,
    /// This replica shuts down.
    Resigned,
}

impl Loss {
    /// The reason in words, for a log line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "the lease could not be renewed in time",
            Self::NotHeld => "the lease is lost or another's",
            Self::Refused => "a publication was refused: the lease is lost or another's",
            Self::Resigned => "shutting down",
        }
    }
}

/// A time of leading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Higher than that of any term before, whosever it was.
    pub token: u64,
    /// Until when this replica may act on it, by its own clock.
    pub until_ms: u64,
}

/// One replica's part in the election. All times are the replica's own steady milliseconds.
#[derive(Clone, Debug)]
pub struct Lease {
    settings: LeaseSettings,
    term: Option<Term>,
    known_token: u64,
    under_way: Option<UnderWay>,
    next_ms: u64,
    failures: u32,
    /// Whether the home may have the lease in this replica's name.
    may_be_held: bool,
    has_resigned: bool,
    calls: u64,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    call: Call,
    sent_ms: u64,
    /// The term that it renews; `None`: it asks for one.
    renews: Option<u64>,
}

impl Lease {
    /// One that has asked for nothing yet, and will do so at once.
    pub fn new(settings: LeaseSettings) -> Self {
        Self {
            settings,
            term: None,
            known_token: 0,
            under_way: None,
            next_ms: 0,
            failures: 0,
            may_be_held: false,
            has_resigned: false,
            calls: 0,
        }
    }

    /// The term in which this replica leads at `now_ms`. To be asked again right before anything that only a leader does.
    pub fn term(&self, now_ms: u64) -> Option<Term> {
        self.term.filter(|term| now_ms < term.until_ms)
    }

    /// When [`tick`](Self::tick) is due next; while a call is under way, at its answer at the latest.
    pub fn next_ms(&self) -> u64 {
        let expiry = self.term.map_or(u64::MAX, |term| term.until_ms);
        if self.has_resigned || self.under_way.is_some() { expiry } else { expiry.min(self.next_ms) }
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        self.expire(now_ms, &mut actions);
        if !self.has_resigned && self.under_way.is_none() && now_ms >= self.next_ms {
            actions.push(self.ask(now_ms));
        }
        actions
    }

    /// A call was answered, or will not be. Every call must come back here, once.
    pub fn answered(&mut self, now_ms: u64, call: Call, answer: Answer) -> Vec<Action> {
        let mut actions = Vec::new();
        self.expire(now_ms, &mut actions);
        let Some(under_way) = self.under_way.take_if(|under_way| under_way.call == call) else {
            return actions;
        };
        if answer == Answer::Unknown {
            let pause_ms = (FIRST_PAUSE_MS << self.failures.min(8)).min(MAX_PAUSE_MS);
            self.failures += 1;
            self.next_ms = now_ms + pause_ms.min(self.check_ms());
            return actions;
        }
        self.failures = 0;
        match under_way.renews {
            None => self.acquired(now_ms, under_way.sent_ms, answer, &mut actions),
            Some(token) => self.renewed(now_ms, under_way.sent_ms, token, answer, &mut actions),
        }
        actions
    }

    /// The home refused to do something for the term of `token`.
    pub fn refused(&mut self, now_ms: u64, token: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        self.expire(now_ms, &mut actions);
        if self.term.is_some_and(|term| term.token == token) {
            self.end(now_ms, Loss::Refused, &mut actions);
        }
        actions
    }

    /// There is or was a term with this token.
    pub fn heard_of(&mut self, token: u64) {
        self.known_token = self.known_token.max(token);
    }

    /// This replica wants to lead no more, ever.
    pub fn resign(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.has_resigned {
            return actions;
        }
        self.has_resigned = true;
        self.end(now_ms, Loss::Resigned, &mut actions);
        if self.may_be_held {
            actions.push(Action::Release);
        }
        actions
    }

    fn ask(&mut self, now_ms: u64) -> Action {
        self.calls += 1;
        let call = Call(self.calls);
        let renews = self.term.map(|term| term.token);
        self.under_way = Some(UnderWay { call, sent_ms: now_ms, renews });
        if let Some(token) = renews {
            return Action::Renew { call, token };
        }
        self.may_be_held = true;
        Action::Acquire { call, known_token: self.known_token }
    }

    fn acquired(&mut self, now_ms: u64, sent_ms: u64, answer: Answer, actions: &mut Vec<Action>) {
        match answer {
            Answer::Granted { token } => {
                self.heard_of(token);
                let until_ms = self.end_of_lease(sent_ms);
                if self.has_resigned {
                    actions.push(Action::Release);
                } else if now_ms < until_ms {
                    self.term = Some(Term { token, until_ms });
                    self.next_ms = sent_ms + self.check_ms();
                    actions.push(Action::Lead { token });
                } else {
                    // It took so long that the lease may be over: another term is asked for.
                    self.next_ms = now_ms;
                }
            }
            Answer::Held { left } => {
                self.may_be_held = false;
                let left_ms = (left.as_millis() as u64).saturating_add(1).max(MIN_LOOK_MS);
                self.next_ms = now_ms + left_ms.min(self.check_ms());
            }
            Answer::Renewed | Answer::NotHeld | Answer::Unknown => self.next_ms = now_ms + FIRST_PAUSE_MS,
        }
    }

    fn renewed(&mut self, now_ms: u64, sent_ms: u64, token: u64, answer: Answer, actions: &mut Vec<Action>) {
        let until_ms = self.end_of_lease(sent_ms);
        let Some(term) = self.term.as_mut().filter(|term| term.token == token) else {
            // The term ended meanwhile, and the news of its renewal brings it not back.
            self.next_ms = now_ms;
            return;
        };
        if answer == Answer::Renewed {
            term.until_ms = term.until_ms.max(until_ms);
            self.next_ms = sent_ms + self.check_ms();
        } else {
            self.end(now_ms, Loss::NotHeld, actions);
        }
    }

    fn expire(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        if self.term.is_some_and(|term| now_ms >= term.until_ms) {
            self.end(now_ms, Loss::Expired, actions);
        }
    }

    fn end(&mut self, now_ms: u64, why: Loss, actions: &mut Vec<Action>) {
        if let Some(Term { token, .. }) = self.term.take() {
            self.next_ms = now_ms;
            actions.push(Action::Follow { token, why });
        }
    }

    /// Until when a lease is held for certain that was asked for at `sent_ms`.
    fn end_of_lease(&self, sent_ms: u64) -> u64 {
        let ttl_ms = self.settings.ttl.as_millis() as u64;
        sent_ms + ttl_ms - (ttl_ms * MARGIN_PERCENT).div_ceil(100)
    }

    fn check_ms(&self) -> u64 {
        self.settings.check_interval.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: LeaseSettings =
        LeaseSettings { ttl: Duration::from_secs(120), check_interval: Duration::from_secs(30) };

    fn call(action: &Action) -> Call {
        match action {
            Action::Acquire { call, .. } | Action::Renew { call, .. } => *call,
            other => panic!("{other:?} is no call"),
        }
    }

    /// One that leads since 0 with token 7.
    fn leader() -> Lease {
        let mut lease = Lease::new(SETTINGS);
        let asked = lease.tick(0);
        let lead = lease.answered(5, call(&asked[0]), Answer::Granted { token: 7 });
        assert_eq!(lead, [Action::Lead { token: 7 }]);
        lease
    }

    #[test]
    fn a_lease_counts_from_before_it_was_asked_for_less_the_margin() {
        let lease = leader();
        assert_eq!(lease.term(5), Some(Term { token: 7, until_ms: 116_400 }));
        assert_eq!(lease.term(116_400), None);
        assert_eq!(lease.next_ms(), 30_000);
    }

    #[test]
    fn a_leader_renews_and_stays() {
        let mut lease = leader();
        assert_eq!(lease.tick(29_999), []);
        let asked = lease.tick(30_000);
        assert!(matches!(asked[..], [Action::Renew { token: 7, .. }]), "{asked:?}");
        assert_eq!(lease.tick(30_001), [], "one call at a time");
        assert_eq!(lease.answered(30_010, call(&asked[0]), Answer::Renewed), []);
        assert_eq!(lease.term(146_399).map(|term| term.until_ms), Some(146_400));
    }

    #[test]
    fn without_answers_it_tries_again_soon_and_steps_down_by_its_own_clock() {
        let mut lease = leader();
        let mut now_ms = 30_000;
        let mut pauses = Vec::new();
        while now_ms < 116_400 {
            let asked = lease.tick(now_ms);
            lease.answered(now_ms, call(&asked[0]), Answer::Unknown);
            pauses.push(lease.next_ms() - now_ms);
            now_ms = lease.next_ms();
        }
        assert_eq!(pauses[..5], [100, 200, 400, 800, 1_000]);
        let stepped_down = lease.tick(now_ms);
        assert_eq!(stepped_down[0], Action::Follow { token: 7, why: Loss::Expired });
        assert!(matches!(stepped_down[1], Action::Acquire { known_token: 7, .. }));
    }

    #[test]
    fn one_that_was_stopped_follows_before_it_hears_a_late_answer() {
        let mut lease = leader();
        let asked = lease.tick(30_000);
        let woken = lease.answered(500_000, call(&asked[0]), Answer::Renewed);
        assert_eq!(woken, [Action::Follow { token: 7, why: Loss::Expired }]);
        assert_eq!(lease.term(500_000), None);
        assert!(matches!(lease.tick(500_000)[..], [Action::Acquire { .. }]));
    }

    #[test]
    fn a_grant_that_comes_too_late_is_no_term() {
        let mut lease = Lease::new(SETTINGS);
        let asked = lease.tick(0);
        assert_eq!(lease.answered(116_400, call(&asked[0]), Answer::Granted { token: 7 }), []);
        assert!(matches!(lease.tick(116_400)[..], [Action::Acquire { known_token: 7, .. }]));
    }

    #[test]
    fn a_leader_that_is_told_so_steps_down_and_asks_at_once() {
        for by_renewal in [true, false] {
            let mut lease = leader();
            let (why, followed) = if by_renewal {
                let asked = lease.tick(30_000);
                (Loss::NotHeld, lease.answered(30_001, call(&asked[0]), Answer::NotHeld))
            } else {
                (Loss::Refused, lease.refused(30_001, 7))
            };
            assert_eq!(followed, [Action::Follow { token: 7, why }]);
            assert!(matches!(lease.tick(30_001)[..], [Action::Acquire { .. }]));
        }
        assert_eq!(leader().refused(10, 6), [], "an older term is over anyway");
    }

    #[test]
    fn others_look_again_when_the_lease_may_have_ended_and_at_every_interval() {
        let next = |left_ms| {
            let mut lease = Lease::new(SETTINGS);
            let asked = lease.tick(0);
            lease.answered(10, call(&asked[0]), Answer::Held { left: Duration::from_millis(left_ms) });
            lease.next_ms()
        };
        assert_eq!([next(0), next(5_000), next(100_000)], [30, 5_011, 30_010]);
    }

    #[test]
    fn who_resigns_gives_back_what_it_may_have_and_never_leads_again() {
        let mut lease = leader();
        let resigned = lease.resign(10);
        assert_eq!(resigned, [Action::Follow { token: 7, why: Loss::Resigned }, Action::Release]);
        assert_eq!((lease.tick(1_000_000), lease.resign(20)), (vec![], vec![]));

        let mut asking = Lease::new(SETTINGS);
        let asked = asking.tick(0);
        assert_eq!(asking.resign(1), [Action::Release], "it may have been granted already");
        let granted = asking.answered(2, call(&asked[0]), Answer::Granted { token: 9 });
        assert_eq!(granted, [Action::Release], "or only now");

        let mut other = Lease::new(SETTINGS);
        let asked = other.tick(0);
        other.answered(1, call(&asked[0]), Answer::Held { left: Duration::from_secs(1) });
        assert_eq!(other.resign(2), [], "it is another's");
    }
}
