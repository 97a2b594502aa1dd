//! Whom to ask next: the first few at once, the others only when one fails or is slow. Event in, action out.

use annulus_cluster::NodeList;

use super::plan::{Part, Plan};

/// One race for the answers that a plan needs.
#[derive(Debug)]
pub struct Race {
    plan: Plan,
    asked: NodeList,
    answered: NodeList,
    failed: NodeList,
}

impl Race {
    /// A race in which nobody is asked yet.
    pub fn new(plan: Plan) -> Self {
        Self { plan, asked: NodeList::default(), answered: NodeList::default(), failed: NodeList::default() }
    }

    /// Those to ask now, so that each view can get the answers it needs.
    pub fn top_up(&mut self) -> NodeList {
        let mut more = NodeList::default();
        for part in self.plan.parts {
            let mut under_way = part.count(self.asked.iter()) - part.count(self.failed.iter());
            while under_way < part.need {
                let Some(next) = self.next_of(&part) else { break };
                self.asked.add(next);
                more.add(next);
                under_way += 1;
            }
        }
        more
    }

    /// One answered, and it counts; returns whether that was the last that was needed.
    pub fn on_answer(&mut self, node: usize) -> bool {
        self.answered.add(node);
        self.plan.parts.iter().all(|part| self.answers(part) >= part.need)
    }

    /// One failed. [`Self::top_up`] says whom to ask in its place.
    pub fn on_failure(&mut self, node: usize) {
        self.failed.add(node);
    }

    /// Somebody is slow, or answers do not count; returns whom to ask besides, for each view that lacks answers.
    pub fn on_shortage(&mut self) -> NodeList {
        let mut more = NodeList::default();
        for part in self.plan.parts {
            let is_helped = part.count(more.iter()) > 0;
            if self.answers(&part) < part.need
                && !is_helped
                && let Some(next) = self.next_of(&part)
            {
                self.asked.add(next);
                more.add(next);
            }
        }
        more
    }

    /// Whether any answer counted.
    pub fn has_answers(&self) -> bool {
        !self.answered.is_empty()
    }

    /// Whether the answers that are worth waiting for could still come.
    pub fn can_reach(&self) -> bool {
        let parts = &self.plan.parts;
        parts.iter().all(|part| part.members.len() - part.count(self.failed.iter()) >= part.at_least)
    }

    /// Whether there are as many as are worth waiting for.
    pub fn is_enough(&self) -> bool {
        self.plan.parts.iter().all(|part| self.answers(part) >= part.at_least)
    }

    /// Whether somebody is left to be asked.
    pub fn has_spare(&self) -> bool {
        self.plan.parts.iter().any(|part| self.answers(part) < part.need && self.next_of(part).is_some())
    }

    fn answers(&self, part: &Part) -> usize {
        part.count(self.answered.iter())
    }

    fn next_of(&self, part: &Part) -> Option<usize> {
        self.plan.candidates.iter().find(|node| part.members.contains(*node) && !self.asked.contains(*node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(members: &[usize], need: usize) -> Part {
        let members: NodeList = members.iter().copied().collect();
        Part { members, gone: 0, need, at_least: need, replicas: need }
    }

    fn race(current: &[usize], base: &[usize], need: usize) -> Race {
        let candidates = current.iter().chain(base).copied().collect();
        let base = if base.is_empty() { Part::default() } else { part(base, need) };
        Race::new(Plan { candidates, parts: [part(current, need), base] })
    }

    fn asked(list: NodeList) -> Vec<usize> {
        list.iter().collect()
    }

    #[test]
    fn the_spare_is_left_alone_while_the_others_answer() {
        let mut race = race(&[5, 6, 7], &[], 2);
        assert_eq!(asked(race.top_up()), [5, 6]);
        assert!(!race.on_answer(5));
        assert!(race.top_up().is_empty());
        assert!(race.on_answer(6));
    }

    #[test]
    fn a_failure_calls_for_the_spare_and_a_second_one_loses() {
        let mut race = race(&[5, 6, 7], &[], 2);
        race.top_up();
        race.on_failure(5);
        assert_eq!(asked(race.top_up()), [7]);
        assert!(race.can_reach());
        race.on_failure(6);
        assert!(race.top_up().is_empty());
        assert!(!race.can_reach());
    }

    #[test]
    fn a_hedge_asks_the_spare_once() {
        let mut race = race(&[5, 6, 7], &[], 2);
        race.top_up();
        assert!(race.has_spare());
        assert_eq!(asked(race.on_shortage()), [7]);
        assert!(!race.has_spare());
        assert!(race.on_shortage().is_empty());
        assert!(race.can_reach());
    }

    #[test]
    fn two_views_need_a_quorum_each_and_one_answer_counts_in_both() {
        let mut race = race(&[1, 2, 3], &[2, 3, 4], 2);
        assert_eq!(asked(race.top_up()), [1, 2, 3]);
        assert!(!race.on_answer(2));
        assert!(!race.on_answer(1));
        assert!(race.on_answer(3));
    }

    #[test]
    fn a_failure_in_one_view_is_made_up_for_in_that_view() {
        let mut race = race(&[1, 2, 3], &[4, 5, 6], 2);
        assert_eq!(asked(race.top_up()), [1, 2, 4, 5]);
        race.on_failure(4);
        assert_eq!(asked(race.top_up()), [6]);
        race.on_failure(5);
        assert!(!race.can_reach());
    }

    #[test]
    fn too_few_candidates_never_reach_it() {
        assert!(!race(&[5], &[], 2).can_reach());
    }
}
