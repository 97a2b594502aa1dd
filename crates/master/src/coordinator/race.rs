//! Whom to ask next: the first few at once, the others only when one fails or is slow. Event in, action out.

/// Copies asked of one key at most: `replicas + 1`.
pub const MAX_PREFERENCE: usize = 8;

/// The nodes that may hold a key, those to be asked first in front.
#[derive(Debug, Clone, Copy)]
pub struct Preference {
    nodes: [usize; MAX_PREFERENCE],
    len: usize,
}

impl Preference {
    /// The first [`MAX_PREFERENCE`] of `nodes`.
    pub fn new(nodes: impl Iterator<Item = usize>) -> Self {
        let mut preference = Self { nodes: [0; MAX_PREFERENCE], len: 0 };
        nodes.for_each(|node| preference.add(node));
        preference
    }

    /// Puts one more at the end, where there is room.
    pub fn add(&mut self, node: usize) {
        if let Some(place) = self.nodes.get_mut(self.len) {
            *place = node;
            self.len += 1;
        }
    }

    /// The nodes in order.
    pub fn as_slice(&self) -> &[usize] {
        &self.nodes[..self.len]
    }

    /// The nodes, to be put into another order.
    pub fn as_mut_slice(&mut self) -> &mut [usize] {
        &mut self.nodes[..self.len]
    }
}

/// One race for `need` answers among a preference list.
#[derive(Debug)]
pub struct Race {
    candidates: Preference,
    asked: usize,
    need: usize,
    answered: usize,
    failed: usize,
}

impl Race {
    /// A race in which nobody is asked yet.
    pub fn new(candidates: Preference, need: usize) -> Self {
        Self { candidates, asked: 0, need, answered: 0, failed: 0 }
    }

    /// Those to ask at once: as many as answers are needed.
    pub fn start(&mut self) -> impl Iterator<Item = usize> + use<> {
        let candidates = self.candidates;
        let first = self.need.min(candidates.len);
        self.asked = first;
        (0..first).map(move |i| candidates.nodes[i])
    }

    /// One answered; returns whether that was the last that was needed.
    pub fn on_answer(&mut self) -> bool {
        self.answered += 1;
        self.answered >= self.need
    }

    /// One failed; returns whom to ask in its place.
    pub fn on_failure(&mut self) -> Option<usize> {
        self.failed += 1;
        self.ask_another()
    }

    /// Somebody is slow, or answers do not count; returns whom to ask besides.
    pub fn on_shortage(&mut self) -> Option<usize> {
        self.ask_another()
    }

    /// How many answers counted.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// Whether this many could still answer.
    pub fn can_reach(&self, answers: usize) -> bool {
        self.candidates.len - self.failed >= answers
    }

    /// Whether somebody is left to be asked.
    pub fn has_spare(&self) -> bool {
        self.asked < self.candidates.len
    }

    fn ask_another(&mut self) -> Option<usize> {
        let next = self.candidates.as_slice().get(self.asked).copied()?;
        self.asked += 1;
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(candidates: &[usize], need: usize) -> Race {
        Race::new(Preference::new(candidates.iter().copied()), need)
    }

    #[test]
    fn the_spare_is_left_alone_while_the_others_answer() {
        let mut race = race(&[5, 6, 7], 2);
        assert_eq!(race.start().collect::<Vec<_>>(), [5, 6]);
        assert!(!race.on_answer());
        assert!(race.on_answer());
    }

    #[test]
    fn a_failure_calls_for_the_spare_and_a_second_one_loses() {
        let mut race = race(&[5, 6, 7], 2);
        race.start().for_each(drop);
        assert_eq!(race.on_failure(), Some(7));
        assert!(race.can_reach(2));
        assert_eq!(race.on_failure(), None);
        assert!(!race.can_reach(2));
    }

    #[test]
    fn a_hedge_asks_the_spare_once() {
        let mut race = race(&[5, 6, 7], 2);
        race.start().for_each(drop);
        assert!(race.has_spare());
        assert_eq!(race.on_shortage(), Some(7));
        assert!(!race.has_spare());
        assert_eq!(race.on_shortage(), None);
        assert!(race.can_reach(2));
    }

    #[test]
    fn too_few_candidates_never_reach_it() {
        assert!(!race(&[5], 2).can_reach(2));
        assert!(!race(&[], 1).can_reach(1));
    }
}
