//! One connection to a node, shared by all that a worker asks of it: what is to be sent, and who waits for what.
//!
//! Requests of many clients gather here and leave in one write; answers come in the order of the requests. The IO is in
//! [`drive`](super::drive).

use std::collections::VecDeque;
use std::task::Waker;

use annulus_protocol::hop::wire::{Answer, encode_enter};
use annulus_service::pool::PoolError;
use annulus_service::stream::Output;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::HopError;
use super::batch::Slot;

/// Calls that may wait for their answer at once; one more fails at once.
pub(super) const MAX_WAITING: usize = 4096;

/// A node from which nothing at all has come for so long, and that has let a call's time run out, hangs.
const HANGS_AFTER_US: u64 = 250_000;

/// A connection's state, between those who ask and the task that does the IO.
#[derive(Default)]
pub(super) struct Lane {
    state: Mutex<State>,
    /// Wakes the task that does the IO.
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    phase: Phase,
    unsent: Output,
    /// How many of those that wait have not been sent.
    unsent_calls: usize,
    waiting: VecDeque<Waiting>,
    /// The epoch and the life that the node was told last.
    entered: Option<(u64, u64)>,
    heard_us: u64,
    /// The earliest deadline of those that wait, or that waited when it was looked at last.
    earliest_us: Option<u64>,
}

/// Where a connection stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Phase {
    /// There is none, and nobody has asked for it.
    #[default]
    Idle,
    /// It is there, or is being made for the first time: calls are sent as soon as it is.
    Open,
    /// It could not be made, or hung: calls fail at once, until the node has been heard again.
    Down(PoolError),
}

/// One call on its way. A call whose time has run out leaves its place, because its answer may still come.
struct Waiting {
    to: Option<Slot>,
    sent_us: u64,
    deadline_us: u64,
}

/// What a call is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// The epoch and the life of the node by which it goes.
    pub(super) epoch: u64,
    pub(super) life: u64,
    pub(super) now_us: u64,
    pub(super) deadline_us: u64,
}

/// What a connection has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gathered {
    /// Bytes of requests to be sent.
    pub(super) bytes: usize,
    /// Calls sent whose answers have not come.
    pub(super) under_way: usize,
}

impl Lane {
    /// Puts a call down to be sent. `encode` writes the request.
    ///
    /// # Errors
    /// [`HopError::Busy`] at the limit of calls under way; [`PoolError::Connect`] where the node is known not to answer.
    pub(super) fn submit(
        &self,
        terms: Terms,
        to: Slot,
        encode: impl FnOnce(&mut Output),
    ) -> Result<(), (Slot, HopError)> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Down(why) => return Err((to, why.clone().into())),
            _ if state.waiting.len() >= MAX_WAITING => return Err((to, HopError::Busy)),
            Phase::Idle => state.phase = Phase::Open,
            Phase::Open => {}
        }
        let Terms { epoch, life, now_us, deadline_us } = terms;
        if state.entered != Some((epoch, life)) {
            encode_enter(state.unsent.tail(), epoch, life);
            state.entered = Some((epoch, life));
        }
        encode(&mut state.unsent);
        state.unsent_calls += 1;
        state.earliest_us = Some(state.earliest_us.map_or(deadline_us, |us| us.min(deadline_us)));
        state.waiting.push_back(Waiting { to: Some(to), sent_us: now_us, deadline_us });
        drop(state);
        self.waker.wake();
        Ok(())
    }

    /// The task that does the IO wants to be woken by the next call.
    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Whether somebody wants a connection.
    pub(super) fn is_wanted(&self) -> bool {
        self.state.lock().phase == Phase::Open
    }

    /// What is to be sent, and what has been sent and not answered.
    pub(super) fn gathered(&self) -> Gathered {
        let state = self.state.lock();
        let unsent_calls = state.unsent_calls;
        Gathered { bytes: state.unsent.len(), under_way: state.waiting.len() - unsent_calls }
    }

    /// Takes what is to be sent, and how many calls that is.
    pub(super) fn take_unsent(&self) -> (Output, usize) {
        let mut state = self.state.lock();
        (std::mem::take(&mut state.unsent), std::mem::take(&mut state.unsent_calls))
    }

    /// When to look for calls whose time has run out.
    pub(super) fn earliest_us(&self) -> Option<u64> {
        self.state.lock().earliest_us
    }

    /// Bytes have come from the node.
    pub(super) fn heard(&self, now_us: u64) {
        self.state.lock().heard_us = now_us;
    }

    /// Gives the next answer to whoever waits for it. False where nobody asked.
    pub(super) fn answer(&self, answer: Result<Answer, HopError>) -> bool {
        let mut state = self.state.lock();
        if state.waiting.len() == state.unsent_calls {
            return false;
        }
        let waiting = state.waiting.pop_front();
        drop(state);
        if let Some(slot) = waiting.and_then(|waiting| waiting.to) {
            slot.fill(answer);
        }
        true
    }

    /// Ends the calls whose time has run out. True where the node hangs.
    pub(super) fn end_overdue(&self, now_us: u64) -> bool {
        let mut hangs = false;
        let mut ended = Vec::new();
        let mut state = self.state.lock();
        let heard_us = state.heard_us;
        for waiting in &mut state.waiting {
            if waiting.deadline_us <= now_us
                && let Some(slot) = waiting.to.take()
            {
                hangs |= heard_us <= waiting.sent_us && now_us - waiting.sent_us >= HANGS_AFTER_US;
                ended.push(slot);
            }
        }
        let left = state.waiting.iter().filter(|waiting| waiting.to.is_some());
        state.earliest_us = left.map(|waiting| waiting.deadline_us).min();
        drop(state);
        for slot in ended {
            slot.fill(Err(PoolError::TimedOut.into()));
        }
        hangs
    }

    /// The connection is no more: every call on it fails. With `down`, so do the next ones, until [`Self::is_up`].
    pub(super) fn broke(&self, why: &PoolError, down: bool) {
        let mut state = self.state.lock();
        let phase = if down { Phase::Down(PoolError::Connect(why.to_string())) } else { Phase::Idle };
        *state = State {
            phase,
            heard_us: state.heard_us,
            waiting: std::mem::take(&mut state.waiting),
            ..State::default()
        };
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for slot in waiting.into_iter().filter_map(|waiting| waiting.to) {
            slot.fill(Err(why.clone().into()));
        }
    }

    /// The node has been heard again.
    pub(super) fn is_up(&self) {
        self.state.lock().phase = Phase::Open;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::batch::Batch;
    use super::*;

    fn submit(lane: &Lane, batch: &Arc<Batch>, index: usize, sent_us: u64) -> Result<(), HopError> {
        let terms = Terms { epoch: 1, life: 0, now_us: sent_us, deadline_us: sent_us + 1_000_000 };
        let encode = |output: &mut Output| output.tail().extend_from_slice(b"mn\r\n");
        lane.submit(terms, batch.slot(index), encode).map_err(|(slot, error)| {
            slot.fill(Err(error.clone()));
            error
        })
    }

    #[test]
    fn requests_gather_and_answers_find_their_way_in_order() {
        let (lane, batch) = (Lane::default(), Batch::new(2));
        submit(&lane, &batch, 0, 0).unwrap();
        submit(&lane, &batch, 1, 0).unwrap();
        assert_eq!(lane.take_unsent().0.chunk(), b"xe 1 0\r\nmn\r\nmn\r\n");
        assert!(lane.answer(Ok(Answer::Noop)));
        assert!(lane.answer(Ok(Answer::Loading)));
        assert!(!lane.answer(Ok(Answer::Noop)));
        assert_eq!(batch.take(), [Some(Ok(Answer::Noop)), Some(Ok(Answer::Loading))]);
    }

    #[test]
    fn what_is_under_way_is_told_from_what_is_to_be_sent() {
        let (lane, batch) = (Lane::default(), Batch::new(2));
        submit(&lane, &batch, 0, 0).unwrap();
        assert!(!lane.answer(Ok(Answer::Noop)), "nothing has been sent");
        assert_eq!(lane.take_unsent().1, 1);
        submit(&lane, &batch, 1, 0).unwrap();
        assert_eq!(lane.gathered(), Gathered { bytes: b"mn\r\n".len(), under_way: 1 });
        assert!(lane.answer(Ok(Answer::Noop)));
        assert_eq!(lane.gathered().under_way, 0);
    }

    #[test]
    fn a_call_out_of_time_leaves_its_place_to_its_answer() {
        let (lane, batch) = (Lane::default(), Batch::new(2));
        submit(&lane, &batch, 0, 0).unwrap();
        lane.heard(10);
        submit(&lane, &batch, 1, 500_000).unwrap();
        lane.take_unsent();
        assert!(!lane.end_overdue(999_999));
        assert_eq!(lane.earliest_us(), Some(1_000_000));
        assert!(!lane.end_overdue(1_000_000), "it was heard after the call was sent");
        assert_eq!(lane.earliest_us(), Some(1_500_000));
        assert!(lane.answer(Ok(Answer::Loading)));
        assert!(lane.answer(Ok(Answer::Noop)));
        assert_eq!(batch.take(), [Some(Err(PoolError::TimedOut.into())), Some(Ok(Answer::Noop))]);
    }

    #[test]
    fn a_node_that_is_silent_for_a_whole_call_hangs_and_then_calls_fail_at_once() {
        let (lane, batch) = (Lane::default(), Batch::new(3));
        submit(&lane, &batch, 0, 0).unwrap();
        submit(&lane, &batch, 1, 900_000).unwrap();
        assert!(lane.end_overdue(1_000_000));
        lane.broke(&PoolError::TimedOut, true);
        assert!(submit(&lane, &batch, 2, 1_000_001).unwrap_err().is_unsent());
        assert_eq!(batch.take().iter().flatten().filter(|answered| answered.is_err()).count(), 3);
        lane.is_up();
        let again = Batch::new(1);
        submit(&lane, &again, 0, 2_000_000).unwrap();
        assert!(
            lane.take_unsent().0.chunk().starts_with(b"xe 1 0\r\n"),
            "a new connection knows of no epoch"
        );
    }

    #[test]
    fn one_call_too_many_is_busy() {
        let (lane, batch) = (Lane::default(), Batch::new(MAX_WAITING + 1));
        for index in 0..MAX_WAITING {
            submit(&lane, &batch, index, 0).unwrap();
        }
        assert_eq!(submit(&lane, &batch, MAX_WAITING, 0), Err(HopError::Busy));
    }
}
