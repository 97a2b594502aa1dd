//! Writing a key without a condition.
//!
//! A write that a copy refuses may not simply be tried again under a newer version: if another copy took it, somebody may
//! have read it, and have written something after it, which the second attempt would undo. So a copy that refuses says
//! whether it had taken this very write before, and [`Tally`] decides: a write that enough copies took at some time has
//! happened, even if a newer one has replaced it since; one that enough copies can never have taken has not, and nobody can
//! have seen it, because a read shows nothing that fewer copies have.
//!
//! Where an owner does not answer, its word may be the one that decides. So a write of such a key first looks at the copies,
//! as every write does in the original of these registers: its version is above all that was acknowledged or shown before
//! it. What is newer all the same came at the same time, and a write that it has replaced has happened just before it.

use annulus_protocol::hop::{CopyState, CopyWrite, Refusal, Taken, TakenBefore};
use annulus_protocol::{ErrorCode, Key, Problem, Version};

use super::change::{Change, Written, plain, replaced_live};
use super::gather::{Gathered, Weight, gather};
use super::plan::{Part, Plan};
use super::swap::Swap;
use super::{Context, Coordinator, MAX_ATTEMPTS};
use crate::route::Route;

/// How often a write waits for a swap to end that somebody promised, before it goes above it.
const PATIENT_ATTEMPTS: usize = 5;

/// What one copy says to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Took(Taken),
    /// It took it at some time, and something newer after it.
    Had(Version),
    /// It knows something newer, never had this write, and never will.
    Never(Version),
    /// It knows something newer; whether it ever had this write it has forgotten.
    Vague(Version),
    /// It promised another write to take nothing as old.
    Promised(Version),
    TooLarge,
    Busy,
}

/// A version made for a write.
#[derive(Debug, Clone, Copy)]
struct Made {
    version: Version,
    born_us: u64,
    /// The epoch by which the write was first sent.
    epoch: u64,
}

/// What is to be done about a write.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Enough copies took it.
    Happened,
    /// Nobody can have seen it, now or later: again, under a newer version.
    Again,
    /// Neither shows yet.
    Open,
}

/// What the copies of one view say.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Votes {
    took: usize,
    never: usize,
    /// The copies that make a write.
    need: usize,
    /// Those that make it where all are alive: no read shows a value that fewer have or had.
    replicas: usize,
    /// All that may have it, those that are gone included.
    size: usize,
}

/// What all copies together say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tally {
    views: [Votes; 2],
    took: usize,
    promised: usize,
    /// Calls that may have been carried out without an answer, now or in an earlier round.
    open: usize,
    /// Whether the views have changed since the write was first sent. Then only what is in place now counts: a copy may have
    /// taken it before it was brought what is newer and was there before; and one that never took it may stand for one
    /// that did.
    crossed: bool,
}

impl Tally {
    fn new(plan: &Plan, gathered: &Gathered<Said>, crossed: bool) -> Self {
        let took = gathered.nodes_where(move |said| {
            matches!(said, Said::Took(_)) || (!crossed && matches!(said, Said::Had(_)))
        });
        let never = gathered.nodes_where(|said| matches!(said, Said::Never(_)));
        let votes = |part: &Part| Votes {
            took: part.count(took.clone()),
            never: part.count(never.clone()),
            need: part.at_least,
            replicas: part.replicas,
            size: part.size(),
        };
        Self {
            views: [votes(&plan.parts[0]), votes(&plan.parts[1])],
            took: took.clone().count(),
            promised: gathered.nodes_where(|said| matches!(said, Said::Promised(_))).count(),
            open: gathered.open,
            crossed,
        }
    }

    fn verdict(self) -> Verdict {
        let is_impossible = |votes: &Votes| votes.size - votes.never < votes.replicas.min(votes.size);
        if self.views.iter().all(|votes| votes.took >= votes.need) {
            Verdict::Happened
        } else if !self.crossed && (self.took + self.open == 0 || self.views.iter().any(is_impossible)) {
            Verdict::Again
        } else {
            Verdict::Open
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
        let doubt = self.doubts.about(key);
        let mut made: Option<Made> = None;
        let mut has_looked = false;
        let mut open_before = 0;
        let mut collisions = 0;
        for _ in 0..MAX_ATTEMPTS {
            self.back_off(collisions).await;
            // Made after the wait: others do not wait, and would be ahead of an older one.
            let (route, plan) = self.plan(key)?;
            if made.is_none() && !has_looked && route.is_doubtful(&plan) {
                has_looked = self.look(key, &route, plan, context).await;
            }
            let epoch = route.placement().epoch();
            let one = *made.get_or_insert_with(|| Made {
                version: self.next_version(),
                born_us: self.clock.now_us(),
                epoch,
            });
            let version = one.version;
            let write = plain(version, change);
            let mut gathered =
                self.put_everywhere(key, &write, (one.born_us, has_looked), &route, plan, context).await;
            self.learn_all(&gathered)?;
            let mut tally = Tally::new(&plan, &gathered, one.epoch != epoch);
            tally.open = tally.open.max(open_before);
            if self.was_outdated(&mut gathered) {
                open_before = tally.open.max(tally.took);
                if open_before == 0 {
                    made = None;
                }
                continue;
            }
            match tally.verdict() {
                Verdict::Happened => {
                    // Where every node is to have it, one that is away is brought it later.
                    if gathered.complete || !plan.asks_more() {
                        doubt.dispel();
                    }
                    return Ok(written(version, &gathered));
                }
                // In doubt all the same: copies differ.
                Verdict::Open if has_looked && self.stands(key, version, &route, plan, context).await => {
                    return Ok(written(version, &gathered));
                }
                // Those who were not waited for may say more.
                Verdict::Open if has_looked => {
                    has_looked = false;
                    open_before = tally.took.max(tally.open);
                }
                Verdict::Again if gathered.answers.is_empty() => {
                    return Err(Self::too_few_took_it(&plan, &gathered));
                }
                Verdict::Again => {
                    self.metrics.refusals.inc();
                    (made, open_before) = (None, 0);
                }
                Verdict::Open if gathered.open > 0 => return Err(Self::too_few_took_it(&plan, &gathered)),
                Verdict::Open if tally.promised > 0 && collisions >= PATIENT_ATTEMPTS => {
                    if let Swap::Written(written) = self.carry_on(key, &write, context).await? {
                        doubt.dispel();
                        return Ok(written);
                    }
                    open_before = tally.took.max(open_before);
                }
                // A copy that took it may be away the next time; that it had it stays true.
                Verdict::Open => open_before = tally.took.max(open_before),
            }
            collisions += 1;
        }
        Err(if open_before > 0 { Self::outcome_unknown() } else { Self::contended() })
    }

    /// Moves the clock past all that has been acknowledged or shown of a key. Returns whether it could: enough copies have to
    /// answer.
    async fn look(&self, key: &Key, route: &Route, plan: Plan, context: &Context) -> bool {
        if plan.is_lost() {
            return false;
        }
        let plan = plan.lean().for_reading(route.placement());
        let ask = |node| route.hop().get(node, key, Self::call(context));
        let mut gathered = gather(route, self.rules(plan), ask, |_| Weight::Counts).await;
        for (_, state) in &gathered.answers {
            self.versions.observe(state.version());
        }
        let answered = || gathered.nodes_where(|_| true);
        let is_enough = plan.parts.iter().all(|part| part.count(answered()) >= part.at_least);
        !self.was_outdated(&mut gathered) && is_enough
    }

    /// Whether as many copies as make a write hold it, or what has come since it looked.
    async fn stands(
        &self,
        key: &Key,
        version: Version,
        route: &Route,
        plan: Plan,
        context: &Context,
    ) -> bool {
        let ask = |node| route.hop().get(node, key, Self::call(context));
        let weigh =
            |state: &CopyState| if is_or_follows(state, version) { Weight::Counts } else { Weight::Waits };
        let mut gathered = gather(route, self.rules(plan.lean()), ask, weigh).await;
        !self.was_outdated(&mut gathered) && gathered.complete
    }

    fn too_few_took_it(plan: &Plan, gathered: &Gathered<Said>) -> Problem {
        let took = gathered.nodes_where(|said| matches!(said, Said::Took(_))).count();
        if plan.parts.iter().all(|part| part.count(gathered.nodes_where(|_| true)) >= part.at_least) {
            return Self::outcome_unknown();
        }
        Self::too_few_take_a_write(took, plan.parts[0].at_least)
    }

    /// Sends a write whose version was made at `born_us`. Where it has `looked` before, a newer version is as good as its own.
    async fn put_everywhere(
        &self,
        key: &Key,
        write: &CopyWrite,
        (born_us, has_looked): (u64, bool),
        route: &Route,
        plan: Plan,
        context: &Context,
    ) -> Gathered<Said> {
        let ask = |node| -> futures_util::future::BoxFuture<'_, _> {
            Box::pin(async move {
                let answer = route.hop().put(node, key, write, Self::call(context)).await?;
                Ok(said(answer, born_us, self.clock.now_us()))
            })
        };
        let weigh = |said: &Said| match said {
            Said::Took(_) | Said::Had(_) => Weight::Counts,
            Said::Never(_) | Said::Vague(_) if has_looked => Weight::Counts,
            Said::TooLarge => Weight::Ends,
            _ => Weight::Waits,
        };
        gather(route, self.rules(plan), ask, weigh).await
    }

    fn learn_all(&self, gathered: &Gathered<Said>) -> Result<(), Problem> {
        for (_, said) in &gathered.answers {
            match said {
                Said::Had(version)
                | Said::Never(version)
                | Said::Vague(version)
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

/// Reads an answer to a write whose version was made at `born_us`: a memory that goes back further knows all of it.
fn said(answer: Result<Taken, Refusal>, born_us: u64, received_us: u64) -> Said {
    match answer {
        Ok(taken) => Said::Took(taken),
        Err(Refusal::Newer { version, taken: TakenBefore::Yes }) => Said::Had(version),
        Err(Refusal::Newer { version, taken: TakenBefore::NotWithin { ms } }) => {
            // Both ends of the copy's memory are rounded to a millisecond.
            let remembered_us = ms.saturating_sub(1).saturating_mul(1000);
            let goes_back_to_us = received_us.saturating_sub(remembered_us);
            if goes_back_to_us < born_us { Said::Never(version) } else { Said::Vague(version) }
        }
        Err(Refusal::Promised(version)) => Said::Promised(version),
        Err(Refusal::TooLarge) => Said::TooLarge,
        Err(Refusal::Busy | Refusal::Condition(_)) => Said::Busy,
    }
}

fn written(version: Version, gathered: &Gathered<Said>) -> Written {
    let taken = gathered.answers.iter().filter_map(|(_, said)| match said {
        Said::Took(taken) => Some(*taken),
        _ => None,
    });
    Written { version, replaced: replaced_live(taken) }
}

/// Whether a copy holds what was written as `version`, or a later write. What bears the version of a swap may be an older
/// write that was carried on; and a floor says nothing of the key.
fn is_or_follows(state: &CopyState, version: Version) -> bool {
    let is_later = |held: Version| held > version && !held.is_swap();
    match state {
        CopyState::Value(stored) => {
            stored.version == version || stored.origin == Some(version) || is_later(stored.version)
        }
        CopyState::Miss { version: held, tombstone: true, .. } => *held == version || is_later(*held),
        CopyState::Miss { .. } => false,
    }
}

fn too_large() -> Problem {
    Problem::new(
        ErrorCode::TooLarge,
        "an auxiliary finds the entry too large: raise limits.max_value_bytes or auxiliary.memory there, or store less",
    )
}

#[cfg(test)]
mod tests {
    use annulus_protocol::hop::MissReason;
    use annulus_protocol::value::{Content, StoredValue};

    use super::*;

    fn votes(took: usize, never: usize) -> Votes {
        Votes { took, never, need: 2, replicas: 2, size: 3 }
    }

    fn verdict(took: usize, never: usize, open: usize) -> Verdict {
        let views = [votes(took, never), Votes::default()];
        Tally { views, took, promised: 0, open, crossed: false }.verdict()
    }

    fn verdict_of_two(one: Votes, other: Votes) -> Verdict {
        let took = one.took + other.took;
        Tally { views: [one, other], took, promised: 0, open: 0, crossed: false }.verdict()
    }

    #[test]
    fn until_all_have_settled_a_write_must_happen_in_both_views() {
        assert_eq!(verdict_of_two(votes(2, 0), votes(1, 0)), Verdict::Open);
        assert_eq!(verdict_of_two(votes(2, 0), votes(2, 0)), Verdict::Happened);
        assert_eq!(verdict_of_two(votes(2, 0), votes(1, 2)), Verdict::Again);
    }

    #[test]
    fn once_the_views_have_changed_what_nobody_has_is_not_tried_again() {
        let views = [votes(1, 2), Votes::default()];
        let tally = Tally { views, took: 1, promised: 0, open: 0, crossed: true };
        assert_eq!(tally.verdict(), Verdict::Open);
        assert_eq!(Tally { views: [votes(2, 0), Votes::default()], ..tally }.verdict(), Verdict::Happened);
    }

    #[test]
    fn a_copy_that_is_gone_may_have_had_it() {
        let with_one_gone = Votes { took: 1, never: 1, need: 2, replicas: 2, size: 3 };
        assert_eq!(verdict_of_two(votes(2, 0), with_one_gone), Verdict::Open);
    }

    #[test]
    fn a_write_that_enough_copies_took_has_happened_even_if_it_was_replaced_since() {
        assert_eq!(verdict(2, 0, 0), Verdict::Happened);
        assert_eq!(verdict(2, 1, 0), Verdict::Happened);
    }

    #[test]
    fn a_write_that_nobody_took_is_tried_again() {
        assert_eq!(verdict(0, 2, 0), Verdict::Again);
        assert_eq!(verdict(0, 0, 0), Verdict::Again);
    }

    #[test]
    fn a_write_that_only_one_copy_can_ever_have_is_never_seen_and_tried_again() {
        assert_eq!(verdict(1, 2, 0), Verdict::Again);
        assert_eq!(verdict(0, 2, 1), Verdict::Again);
    }

    #[test]
    fn a_write_that_somebody_may_have_seen_is_neither_repeated_nor_acknowledged() {
        assert_eq!(verdict(1, 1, 0), Verdict::Open);
        assert_eq!(verdict(1, 1, 1), Verdict::Open);
        assert_eq!(verdict(0, 1, 1), Verdict::Open);
    }

    #[test]
    fn what_replaced_a_write_shows_that_it_has_happened_unless_it_may_be_older() {
        let value = |version, origin| {
            let content = Content { content_type: "".into(), bytes: "".into() };
            CopyState::Value(StoredValue { origin, ..StoredValue::new(version, content) })
        };
        let miss = |version, tombstone| CopyState::Miss { version, reason: MissReason::Deleted, tombstone };
        let (before, written, after) = (Version(2), Version(4), Version(6));
        for state in [
            value(written, None),
            value(after, None),
            value(after.as_swap(), Some(written)),
            miss(written, true),
            miss(after, true),
        ] {
            assert!(is_or_follows(&state, written), "{state:?}");
        }
        for state in [
            value(before, None),
            value(after.as_swap(), Some(before)),
            value(after.as_swap(), None),
            miss(before, true),
            miss(after.as_swap(), true),
            miss(after, false),
        ] {
            assert!(!is_or_follows(&state, written), "{state:?}");
        }
    }

    #[test]
    fn a_copy_knows_that_it_never_had_a_write_only_if_its_memory_is_older_than_the_write() {
        let newer = |taken| Err(Refusal::Newer { version: Version(9), taken });
        let within = |ms| said(newer(TakenBefore::NotWithin { ms }), 100_000, 120_000);
        assert_eq!(within(21), Said::Vague(Version(9)));
        assert_eq!(within(22), Said::Never(Version(9)));
        assert_eq!(said(newer(TakenBefore::Yes), 100_000, 120_000), Said::Had(Version(9)));
    }
}
