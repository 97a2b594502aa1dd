//! Expiry without being read: a hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing
//! Wheels", 1987) whose slots are lists through the slab's nodes.
//!
//! Seven levels of 64 slots cover every deadline there can be, so nothing wraps round. A node leaves its slot in O(1)
//! when its entry is overwritten or evicted, so the wheel never holds garbage. A node moves down at most six times.

use crate::entry::Entry;
use crate::slab::{MAX_NODES, NIL, Slab};

/// A tick is 2^8 ms: entries leave memory up to 256 ms after their deadline.
const TICK_BITS: u32 = 8;
const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 7;

/// A `due_prev` from here on names the slot whose first node this is.
const FIRST: u32 = MAX_NODES;

pub(crate) struct Wheel {
    /// The tick up to which slots have been emptied, or are being so.
    elapsed: u64,
    /// A bit for each slot with nodes.
    occupied: [u64; LEVELS],
    heads: Box<[u32; LEVELS * SLOTS]>,
}

/// What one step of the wheel found.
pub(crate) enum Step {
    /// This node's deadline has passed; it is out of the wheel.
    Due(u32),
    /// A node moved closer.
    Moved,
    /// Nothing is due.
    Idle,
}

impl Wheel {
    /// Bytes of a wheel's slots.
    pub(crate) const BYTES: usize = size_of::<[u32; LEVELS * SLOTS]>();

    pub(crate) fn new() -> Self {
        Self { elapsed: 0, occupied: [0; LEVELS], heads: Box::new([NIL; LEVELS * SLOTS]) }
    }

    /// Adds a node that is in no slot.
    pub(crate) fn add(&mut self, slab: &mut Slab, id: u32, deadline_ms: u64, now_ms: u64) {
        if self.occupied == [0; LEVELS] {
            self.elapsed = self.elapsed.max(now_ms >> TICK_BITS);
        }
        self.place(slab, id, tick_after(deadline_ms));
    }

    /// Takes a node out, if it is in.
    pub(crate) fn remove(&mut self, slab: &mut Slab, id: u32) {
        let node = slab.node_mut(id);
        let (prev, next) = (node.due_prev.id(), node.due_next.id());
        if prev == NIL {
            return;
        }
        node.due_prev.set(NIL);
        node.due_next.set(NIL);
        if next != NIL {
            slab.node_mut(next).due_prev.set(prev);
        }
        if prev < FIRST {
            slab.node_mut(prev).due_next.set(next);
            return;
        }
        let slot = (prev - FIRST) as usize;
        self.heads[slot] = next;
        if next == NIL {
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
    }

    /// Does one step towards `now_ms`: O(1), whatever time has passed.
    pub(crate) fn step(&mut self, slab: &mut Slab, now_ms: u64) -> Step {
        let now = now_ms >> TICK_BITS;
        let Some((start, slot)) = self.earliest().filter(|(start, _)| *start <= now) else {
            self.elapsed = self.elapsed.max(now);
            return Step::Idle;
        };
        self.elapsed = self.elapsed.max(start);
        let id = self.heads[slot];
        self.remove(slab, id);
        let deadline = slab.entry(id).and_then(Entry::deadline_ms).unwrap_or_default();
        if tick_after(deadline) <= now {
            return Step::Due(id);
        }
        self.place(slab, id, tick_after(deadline));
        Step::Moved
    }

    /// The slot that begins first, and when. A slot being emptied began before all others, so it is finished before
    /// time goes on.
    fn earliest(&self) -> Option<(u64, usize)> {
        let start = |level: usize| {
            let slot = self.occupied[level].trailing_zeros() as usize;
            let shift = LEVEL_BITS * level as u32;
            let turn = self.elapsed >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
            (turn | (slot as u64) << shift, level * SLOTS + slot)
        };
        (0..LEVELS).filter(|level| self.occupied[*level] != 0).map(start).min()
    }

    /// The level is that of the highest bits in which the tick differs from now.
    fn place(&mut self, slab: &mut Slab, id: u32, tick: u64) {
        // What is due already waits in the slot of now.
        let tick = tick.max(self.elapsed);
        let level = (((tick ^ self.elapsed) | 1).ilog2() / LEVEL_BITS) as usize;
        let in_level = (tick >> (LEVEL_BITS * level as u32)) as usize % SLOTS;
        let slot = level * SLOTS + in_level;
        let head = self.heads[slot];
        if head != NIL {
            slab.node_mut(head).due_prev.set(id);
        }
        let node = slab.node_mut(id);
        node.due_prev.set(FIRST + slot as u32);
        node.due_next.set(head);
        self.heads[slot] = id;
        self.occupied[level] |= 1 << in_level;
    }
}

/// The first tick at which the deadline has surely passed.
fn tick_after(deadline_ms: u64) -> u64 {
    deadline_ms.div_ceil(1 << TICK_BITS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Step, Wheel};
    use crate::Write;
    use crate::access::LastUse;
    use crate::entry::Entry;
    use crate::slab::Slab;

    const NOW: u64 = 1_700_000_000_000;
    const NEVER: LastUse = LastUse(0);
    const YEAR: u64 = 365 * 86_400_000;

    fn wheel_with(deadlines: &[u64]) -> (Wheel, Slab) {
        let (mut wheel, mut slab) = (Wheel::new(), Slab::new());
        for deadline in deadlines {
            let entry = Entry::new(b"", 0, &Write::value(1, b""), Some(*deadline));
            let kept = entry.deadline_ms().unwrap();
            let id = slab.insert(entry, NEVER);
            wheel.add(&mut slab, id, kept, NOW);
        }
        (wheel, slab)
    }

    /// Steps until idle; gives back the deadlines found due and the steps it took.
    fn drain(wheel: &mut Wheel, slab: &mut Slab, now: u64) -> (Vec<u64>, usize) {
        let (mut due, mut steps) = (Vec::new(), 0);
        loop {
            steps += 1;
            match wheel.step(slab, now) {
                Step::Due(id) => due.extend(slab.remove(id).and_then(|entry| entry.deadline_ms())),
                Step::Moved => {}
                Step::Idle => return (due, steps),
            }
        }
    }

    #[test]
    fn a_deadline_in_ten_years_costs_a_few_steps_however_time_gets_there() {
        let deadline = NOW + 10 * YEAR;
        let (mut wheel, mut slab) = wheel_with(&[deadline]);
        assert!(drain(&mut wheel, &mut slab, deadline - 1).0.is_empty());
        let (due, steps) = drain(&mut wheel, &mut slab, deadline + 256);
        assert_eq!(due, [deadline]);
        assert!(steps <= 8, "{steps}");
    }

    #[test]
    fn the_last_deadline_there_can_be_has_its_slot() {
        let (mut wheel, mut slab) = wheel_with(&[(1 << 48) - 2, u64::MAX]);
        assert!(drain(&mut wheel, &mut slab, NOW + 100 * YEAR).0.is_empty());
    }

    #[test]
    fn a_deadline_long_past_is_due_at_once_whatever_the_clock_says() {
        for now in [NOW, NOW + 20 * YEAR, u64::MAX] {
            let (mut wheel, mut slab) = wheel_with(&[]);
            assert!(drain(&mut wheel, &mut slab, now).0.is_empty());
            let entry = Entry::new(b"", 0, &Write::value(1, b""), Some(NOW - 1));
            let id = slab.insert(entry, NEVER);
            wheel.add(&mut slab, id, NOW - 1, NOW);
            assert_eq!(drain(&mut wheel, &mut slab, now).0, [NOW - 1]);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_due_early_and_nothing_stays_past_a_tick(
            after in proptest::collection::vec(prop_oneof![0..2000u64, 0..2_000_000u64, 0..YEAR, 0..20 * YEAR], 1..100),
            jumps in proptest::collection::vec((prop_oneof![1..700u64, 1..5_000_000u64, 1..YEAR], 1..9usize), 1..60),
        ) {
            let mut left: Vec<u64> = after.iter().map(|after| NOW + after).collect();
            let (mut wheel, mut slab) = wheel_with(&left);
            let mut now = NOW;
            for (jump, budget) in jumps {
                // A few steps only, at a time in between, must not lose or delay anything.
                for _ in 0..budget {
                    if let Step::Due(id) = wheel.step(&mut slab, now + jump / 2) {
                        let deadline = slab.remove(id).and_then(|entry| entry.deadline_ms()).unwrap();
                        prop_assert!(deadline <= now + jump / 2);
                        left.swap_remove(left.iter().position(|other| *other == deadline).unwrap());
                    }
                }
                now += jump;
                for deadline in drain(&mut wheel, &mut slab, now).0 {
                    prop_assert!(deadline <= now);
                    left.swap_remove(left.iter().position(|other| *other == deadline).unwrap());
                }
                prop_assert!(left.iter().all(|deadline| deadline + 256 > now));
            }
        }
    }
}
