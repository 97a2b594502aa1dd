//! Writing a key without a condition.
//!
//! A write that a copy refuses may not simply be tried again under a newer version: if another copy took it, somebody may
//! have read it, and have written something after it, which the second attempt would undo. So a refused write is tried
//! again only where nobody can have seen it, and acknowledged only where nothing newer was acknowledged before it began.
//! [`Tally`] decides that from what the copies say.

use annulus_protocol::hop::{Refusal, Taken};
use annulus_protocol::{ErrorCode, Key, Problem, Version};

use super::change::{Change, Written, plain, replaced_live};
use super::gather::{Gathered, Weight, gather};
use super::swap::Swap;
use super::{Context, Coordinator, MAX_ATTEMPTS, Quorum};

/// What one copy says to a write, seen from when the write began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Took(Taken),
    /// It has something newer that rests on nothing, and did not have it when this write began.
    NewerSince(Version),
    /// It has something newer, and had it before this write began.
    NewerBefore(Version),
    /// It knows of something newer, since when or of which key does not show.
    NewerSometime(Version),
    /// It promised another write to take nothing as old.
    Promised(Version),
    TooLarge,
    Busy,
}

/// What is to be done about a write.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Acknowledge,
    /// Nobody can have seen it: again, under a newer version.
    Again,
    /// It may have been seen and is not on enough copies.
    Finish,
}

/// What all copies together say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    took: usize,
    since: usize,
    before: usize,
    promised: usize,
    /// Calls that may have been carried out without an answer.
    open: usize,
}

impl Tally {
    fn new(gathered: &Gathered<Said>) -> Self {
        let count =
            |wanted: fn(&Said) -> bool| gathered.answers.iter().filter(|(_, said)| wanted(said)).count();
        Self {
            took: count(|said| matches!(said, Said::Took(_))),
            since: count(|said| matches!(said, Said::NewerSince(_))),
            before: count(|said| matches!(said, Said::NewerBefore(_))),
            promised: count(|said| matches!(said, Said::Promised(_))),
            open: gathered.open,
        }
    }

    fn verdict(self, quorum: &Quorum) -> Verdict {
        // Copies that may, for all that is known, have had something newer before this write began.
        let perhaps_before = quorum.preference - self.took - self.since - self.promised;
        let nothing_newer_was_acknowledged = perhaps_before < quorum.replicas;
        let as_new_or_newer = self.took + self.since + self.before;
        if nothing_newer_was_acknowledged && as_new_or_newer >= quorum.replicas {
            Verdict::Acknowledge
        } else if self.took == 0 && self.open == 0 || self.before >= quorum.replicas {
            Verdict::Again
        } else {
            Verdict::Finish
        }
    }
}

impl Coordinator {
    /// Writes a key over whatever is there.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where too few copies take it (some may have it then), [`ErrorCode::OutcomeUnknown`] where
    /// another write of the key hides whether this one happened before it, [`ErrorCode::TooLarge`] where it fits into no
    /// memory. The caller bounds the time.
    pub async fn write(&self, key: &Key, change: &Change, context: &Context) -> Result<Written, Problem> {
        let began_us = self.clock.now_us();
        for attempt in 0..MAX_ATTEMPTS {
            self.back_off(attempt).await;
            let version = self.next_version();
            let gathered = self.put_everywhere(key, change, version, began_us, context).await;
            self.learn_all(&gathered)?;
            let tally = Tally::new(&gathered);
            match tally.verdict(&self.quorum) {
                Verdict::Acknowledge => {
                    let taken = gathered.answers.iter().filter_map(|(_, said)| match said {
                        Said::Took(taken) => Some(*taken),
                        _ => None,
                    });
                    return Ok(Written { version, replaced: replaced_live(taken) });
                }
                Verdict::Again if gathered.answers.is_empty() => {
                    return Err(Self::too_few_answer(0, self.quorum.replicas));
                }
                Verdict::Again => self.metrics.refusals.inc(),
                Verdict::Finish if tally.promised > 0 => {
                    return self.finish(key, change, version, context).await;
                }
                Verdict::Finish if gathered.answers.len() < self.quorum.replicas => {
                    return Err(Self::too_few_answer(gathered.answers.len(), self.quorum.replicas));
                }
                Verdict::Finish => return Err(Self::outcome_unknown()),
            }
        }
        Err(Self::contended())
    }

    async fn put_everywhere(
        &self,
        key: &Key,
        change: &Change,
        version: Version,
        began_us: u64,
        context: &Context,
    ) -> Gathered<Said> {
        let write = &plain(version, change);
        let ask = |node| -> futures_util::future::BoxFuture<'_, _> {
            Box::pin(async move {
                let sent_us = self.clock.now_us();
                let answer = self.hop.put(node, key, write, self.call(context)).await?;
                Ok(said(answer, began_us, sent_us, self.clock.now_us()))
            })
        };
        let weigh = |said: &Said| match said {
            Said::Took(_) | Said::NewerSince(_) => Weight::Counts,
            Said::TooLarge => Weight::Ends,
            _ => Weight::Waits,
        };
        gather(&self.fleet, self.rules(self.preference(key), self.quorum.replicas), ask, weigh).await
    }

    /// Brings a write that some copy took to the others past a promise that stands in its way, if it is still the newest.
    async fn finish(
        &self,
        key: &Key,
        change: &Change,
        version: Version,
        context: &Context,
    ) -> Result<Written, Problem> {
        let current = change.value.is_some().then_some(version);
        let above = self.next_version().as_swap();
        match self.swap(key, change, above, current, context).await? {
            // Deletes have no version to be recognised by: another may have come between.
            Swap::Written(written) if current.is_some() => Ok(written),
            _ => Err(Self::outcome_unknown()),
        }
    }

    fn learn_all(&self, gathered: &Gathered<Said>) -> Result<(), Problem> {
        for (_, said) in &gathered.answers {
            match said {
                Said::NewerSince(version)
                | Said::NewerBefore(version)
                | Said::NewerSometime(version)
                | Said::Promised(version) => self.versions.observe(*version),
                Said::TooLarge => return Err(too_large()),
                Said::Took(_) | Said::Busy => {}
            }
        }
        Ok(())
    }

    /// Moves the clock past what a refusal shows, so that the next attempt is newer.
    pub(super) fn learn(&self, refusal: Refusal) -> Result<(), Problem> {
        match refusal {
            Refusal::Newer { version, .. } | Refusal::Promised(version) => {
                self.versions.observe(version);
                Ok(())
            }
            Refusal::Condition(_) | Refusal::Busy => Ok(()),
            Refusal::TooLarge => Err(too_large()),
        }
    }
}

/// Places a refusal in time: the copy spoke at some moment between sending and receiving, and says for how long it has had
/// what it has, to the millisecond.
fn said(answer: Result<Taken, Refusal>, began_us: u64, sent_us: u64, received_us: u64) -> Said {
    match answer {
        Ok(taken) => Said::Took(taken),
        Err(Refusal::Newer { version, age_ms: Some(age_ms) }) => {
            let known_us = age_ms.saturating_mul(1000);
            // A swap that came since may rest on what was there before this write, and then this one cannot come between.
            if sent_us.saturating_sub(known_us + 1000) > began_us && !version.is_swap() {
                Said::NewerSince(version)
            } else if received_us.saturating_sub(known_us.saturating_sub(1000)) < began_us {
                Said::NewerBefore(version)
            } else {
                Said::NewerSometime(version)
            }
        }
        Err(Refusal::Newer { version, age_ms: None }) => Said::NewerSometime(version),
        Err(Refusal::Promised(version)) => Said::Promised(version),
        Err(Refusal::TooLarge) => Said::TooLarge,
        Err(Refusal::Busy | Refusal::Condition(_)) => Said::Busy,
    }
}

fn too_large() -> Problem {
    Problem::new(
        ErrorCode::TooLarge,
        "the entry does not fit into an auxiliary's memory; raise auxiliary.memory or store less",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(took: usize, since: usize, before: usize, open: usize) -> Verdict {
        Tally { took, since, before, promised: 0, open }.verdict(&Quorum::new(2, 3))
    }

    #[test]
    fn a_write_that_enough_copies_took_is_acknowledged() {
        assert_eq!(verdict(2, 0, 0, 0), Verdict::Acknowledge);
        assert_eq!(verdict(2, 0, 1, 0), Verdict::Acknowledge);
    }

    #[test]
    fn a_write_that_a_concurrent_one_overtook_happened_just_before_it() {
        assert_eq!(verdict(1, 1, 0, 0), Verdict::Acknowledge);
        assert_eq!(verdict(1, 1, 1, 0), Verdict::Acknowledge);
    }

    #[test]
    fn a_write_that_nobody_took_is_tried_again() {
        assert_eq!(verdict(0, 0, 2, 0), Verdict::Again);
        assert_eq!(verdict(0, 0, 0, 0), Verdict::Again);
    }

    #[test]
    fn a_write_that_one_took_though_something_newer_was_acknowledged_before_was_never_seen() {
        assert_eq!(verdict(1, 0, 2, 0), Verdict::Again);
    }

    #[test]
    fn a_write_that_somebody_may_have_seen_is_neither_repeated_nor_acknowledged() {
        assert_eq!(verdict(1, 0, 1, 1), Verdict::Finish);
        assert_eq!(verdict(0, 0, 1, 1), Verdict::Finish);
    }

    #[test]
    fn a_refusal_is_placed_before_or_after_only_where_it_is_certain() {
        let newer = |age_ms| Err(Refusal::Newer { version: Version(9), age_ms });
        let at = |age_ms| said(newer(age_ms), 100_000, 101_000, 120_000);
        assert_eq!(at(Some(0)), Said::NewerSometime(Version(9)));
        assert_eq!(at(Some(10)), Said::NewerSometime(Version(9)));
        assert_eq!(at(Some(22)), Said::NewerBefore(Version(9)));
        assert_eq!(said(newer(Some(5)), 100_000, 110_000, 112_000), Said::NewerSince(Version(9)));
        assert_eq!(at(None), Said::NewerSometime(Version(9)));
    }
}
