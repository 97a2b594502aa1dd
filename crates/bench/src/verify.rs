//! Which values a read may return, given what was written when.
//!
//! Each key has a counter that numbers the starts and ends of its operations in the order they happened here. A write's
//! start is its sequence, and its value carries it. A read is *stale* if some other write or delete was known to have
//! taken effect before the read began (it was acknowledged, or its value had been read), and that one had started after
//! the write whose value came back had ended. So writes that overlap may land in either order, and a write whose outcome
//! is unknown may land at any time, until it has been seen. This is the single-register case of linearizability
//! (Herlihy and Wing 1990); what cannot be decided is not counted, so every stale read counted is one.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::payload::Origin;

/// Ends of writes remembered a key; older ones are summed up in one number.
const REMEMBERED_ENDS: usize = 16;
/// Writes of unknown outcome remembered a key; the oldest beyond are judged no more.
const REMEMBERED_UNKNOWN: usize = 1024;

/// What a read turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    /// Damaged, or never written to this key.
    Corrupt,
    Stale,
}

/// What was known to hold when a read began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadTicket {
    floor: u64,
    written: u64,
}

/// One record a key. Only operations on the same key meet at its lock.
#[derive(Debug)]
pub(crate) struct Ledger {
    keys: Box<[Mutex<Record>]>,
    expiring: bool,
}

#[derive(Debug, Default)]
struct Record {
    tick: u64,
    /// The latest start among writes and deletes known to have taken effect.
    floor: u64,
    /// The latest start among acknowledged writes.
    written: u64,
    deletes_open: u32,
    last_delete_end: u64,
    /// Starts of writes in flight or of unknown outcome.
    open: Vec<u64>,
    /// Starts and ends of the last writes known to have taken effect.
    ended: VecDeque<(u64, u64)>,
    /// The latest end that `ended` has let go.
    forgotten_end: u64,
    /// Writes up to this start that are in neither list are not judged.
    unjudged: u64,
}

impl Ledger {
    /// A ledger of `keys` keys, none written. Where values expire, no miss counts as lost.
    pub(crate) fn new(keys: usize, expiring: bool) -> Self {
        Self { keys: (0..keys).map(|_| Mutex::default()).collect(), expiring }
    }

    /// A write begins; its value must carry the sequence returned.
    pub(crate) fn begin_write(&self, key: u32) -> u64 {
        let mut record = self.keys[key as usize].lock();
        if record.open.len() == REMEMBERED_UNKNOWN {
            record.unjudged = record.open.remove(0).max(record.unjudged);
        }
        let start = record.next_tick();
        record.open.push(start);
        start
    }

    pub(crate) fn write_acknowledged(&self, key: u32, start: u64) {
        let mut record = self.keys[key as usize].lock();
        record.took_effect(start);
        record.written = record.written.max(start);
    }

    /// The write certainly had no effect. A write of unknown outcome needs no call: it stays open.
    pub(crate) fn write_refused(&self, key: u32, start: u64) {
        self.keys[key as usize].lock().open.retain(|open| *open != start);
    }

    /// A delete begins.
    pub(crate) fn begin_delete(&self, key: u32) -> u64 {
        let mut record = self.keys[key as usize].lock();
        record.deletes_open += 1;
        record.next_tick()
    }

    pub(crate) fn delete_acknowledged(&self, key: u32, start: u64) {
        let mut record = self.keys[key as usize].lock();
        record.deletes_open -= 1;
        record.floor = record.floor.max(start);
        record.last_delete_end = record.next_tick();
    }

    /// The delete certainly had no effect.
    pub(crate) fn delete_refused(&self, key: u32) {
        self.keys[key as usize].lock().deletes_open -= 1;
    }

    /// A read begins.
    pub(crate) fn begin_read(&self, key: u32) -> ReadTicket {
        let record = self.keys[key as usize].lock();
        ReadTicket { floor: record.floor, written: record.written }
    }

    /// A read returned a value.
    pub(crate) fn judge(&self, key: u32, ticket: ReadTicket, origin: Origin) -> Verdict {
        let known = ticket.floor > 0;
        match origin {
            Origin::Ours { sequence } => self.keys[key as usize].lock().judge(ticket, sequence),
            Origin::OtherRun if known => Verdict::Stale,
            Origin::Unstamped if known => Verdict::Corrupt,
            // Left by an earlier run, or written too short to tell.
            Origin::OtherRun | Origin::Unstamped | Origin::TooShort => Verdict::Right,
            Origin::OtherKey | Origin::Damaged => Verdict::Corrupt,
        }
    }

    /// A read returned nothing: was there a value that should have been there? (A cache may evict it all the same.)
    pub(crate) fn is_lost(&self, key: u32, ticket: ReadTicket) -> bool {
        let record = self.keys[key as usize].lock();
        !self.expiring && record.deletes_open == 0 && ticket.written > record.last_delete_end
    }
}

impl Record {
    fn next_tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn took_effect(&mut self, start: u64) {
        self.floor = self.floor.max(start);
        let Some(at) = self.open.iter().position(|open| *open == start) else { return };
        self.open.swap_remove(at);
        let end = self.next_tick();
        if self.ended.len() == REMEMBERED_ENDS
            && let Some((_, end)) = self.ended.pop_front()
        {
            self.forgotten_end = self.forgotten_end.max(end);
        }
        self.ended.push_back((start, end));
    }

    fn judge(&mut self, ticket: ReadTicket, sequence: u64) -> Verdict {
        if sequence == 0 || sequence > self.tick {
            return Verdict::Corrupt;
        }
        if sequence < ticket.floor && self.ended_before(sequence, ticket.floor) {
            return Verdict::Stale;
        }
        self.took_effect(sequence);
        Verdict::Right
    }

    /// Whether the write that started at `start` had certainly ended before `moment`.
    fn ended_before(&self, start: u64, moment: u64) -> bool {
        if self.open.contains(&start) {
            return false;
        }
        if let Some((_, end)) = self.ended.iter().find(|(ended, _)| *ended == start) {
            return *end < moment;
        }
        start > self.unjudged && self.forgotten_end < moment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(sequence: u64) -> Origin {
        Origin::Ours { sequence }
    }

    fn write(ledger: &Ledger) -> u64 {
        let start = ledger.begin_write(0);
        ledger.write_acknowledged(0, start);
        start
    }

    fn read(ledger: &Ledger, sequence: u64) -> Verdict {
        let ticket = ledger.begin_read(0);
        ledger.judge(0, ticket, ours(sequence))
    }

    #[test]
    fn a_value_older_than_an_acknowledged_write_is_stale() {
        let ledger = Ledger::new(1, false);
        let (first, second) = (write(&ledger), write(&ledger));
        assert_eq!(read(&ledger, first), Verdict::Stale);
        assert_eq!(read(&ledger, second), Verdict::Right);
        assert_eq!(read(&ledger, 99), Verdict::Corrupt, "never written");
    }

    #[test]
    fn a_write_acknowledged_during_the_read_makes_nothing_stale() {
        let ledger = Ledger::new(1, false);
        let first = write(&ledger);
        let ticket = ledger.begin_read(0);
        write(&ledger);
        assert_eq!(ledger.judge(0, ticket, ours(first)), Verdict::Right);
        assert_eq!(read(&ledger, first), Verdict::Stale);
    }

    #[test]
    fn overlapping_writes_may_land_in_either_order() {
        let ledger = Ledger::new(1, false);
        let (first, second) = (ledger.begin_write(0), ledger.begin_write(0));
        ledger.write_acknowledged(0, second);
        ledger.write_acknowledged(0, first);
        assert_eq!(read(&ledger, second), Verdict::Right);
        assert_eq!(read(&ledger, first), Verdict::Right);
        write(&ledger);
        assert_eq!(read(&ledger, first), Verdict::Stale);
    }

    #[test]
    fn a_write_of_unknown_outcome_may_land_late_but_not_return_once_overwritten() {
        let ledger = Ledger::new(1, false);
        let unknown = ledger.begin_write(0);
        let second = write(&ledger);
        assert_eq!(read(&ledger, second), Verdict::Right);
        assert_eq!(read(&ledger, unknown), Verdict::Right, "it landed only now");
        write(&ledger);
        assert_eq!(read(&ledger, unknown), Verdict::Stale, "seen, then overwritten");
    }

    #[test]
    fn a_value_already_read_binds_later_reads() {
        let ledger = Ledger::new(1, false);
        let first = write(&ledger);
        let in_flight = ledger.begin_write(0);
        assert_eq!(read(&ledger, first), Verdict::Right);
        assert_eq!(read(&ledger, in_flight), Verdict::Right);
        assert_eq!(read(&ledger, first), Verdict::Stale);
    }

    #[test]
    fn a_deleted_value_must_not_return() {
        let ledger = Ledger::new(1, false);
        let first = write(&ledger);
        let delete = ledger.begin_delete(0);
        assert_eq!(read(&ledger, first), Verdict::Right);
        ledger.delete_acknowledged(0, delete);
        assert_eq!(read(&ledger, first), Verdict::Stale);
    }

    #[test]
    fn a_miss_is_lost_only_if_the_value_must_be_there() {
        let ledger = Ledger::new(1, false);
        let lost = |ledger: &Ledger| ledger.is_lost(0, ledger.begin_read(0));
        assert!(!lost(&ledger), "never written");
        let start = ledger.begin_write(0);
        assert!(!lost(&ledger), "not acknowledged");
        ledger.write_acknowledged(0, start);
        assert!(lost(&ledger));
        let delete = ledger.begin_delete(0);
        assert!(!lost(&ledger), "a delete is under way");
        ledger.delete_acknowledged(0, delete);
        assert!(!lost(&ledger), "deleted");
        write(&ledger);
        assert!(lost(&ledger), "written again");
        let expiring = Ledger::new(1, true);
        write(&expiring);
        assert!(!lost(&expiring), "it may have expired");
    }

    #[test]
    fn old_writes_stay_stale_once_forgotten() {
        let ledger = Ledger::new(1, false);
        let first = write(&ledger);
        for _ in 0..100 {
            write(&ledger);
        }
        assert_eq!(read(&ledger, first), Verdict::Stale);
    }

    #[test]
    fn other_values_are_judged_once_the_key_was_written() {
        let ledger = Ledger::new(1, false);
        let before = ledger.begin_read(0);
        assert_eq!(ledger.judge(0, before, Origin::OtherRun), Verdict::Right);
        assert_eq!(ledger.judge(0, before, Origin::OtherKey), Verdict::Corrupt);
        write(&ledger);
        let after = ledger.begin_read(0);
        assert_eq!(ledger.judge(0, after, Origin::OtherRun), Verdict::Stale);
        assert_eq!(ledger.judge(0, after, Origin::Unstamped), Verdict::Corrupt);
    }
}
