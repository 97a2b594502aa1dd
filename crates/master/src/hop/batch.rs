//! Answers that somebody waits for, one or many.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use annulus_protocol::hop::wire::Answer;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::HopError;

/// What came of one call.
pub type Answered = Result<Answer, HopError>;

/// The answers to calls made together: whoever made them is woken once, when all have ended.
#[derive(Default)]
pub struct Batch {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    answers: Vec<Option<Answered>>,
    open: usize,
}

/// Where one call's answer goes.
pub struct Slot {
    batch: Arc<Batch>,
    index: usize,
}

/// Resolves when all calls of a batch have ended.
pub struct AllAnswered<'a>(&'a Batch);

impl Batch {
    /// A batch of so many calls, all of them open.
    pub fn new(calls: usize) -> Arc<Self> {
        let mut answers = Vec::new();
        answers.resize_with(calls, || None);
        Arc::new(Self { state: Mutex::new(State { answers, open: calls }), waker: AtomicWaker::new() })
    }

    /// The place of one call's answer. There must be one only for each index.
    pub fn slot(self: &Arc<Self>, index: usize) -> Slot {
        Slot { batch: Arc::clone(self), index }
    }

    /// Waits for the end of all calls.
    pub fn all(&self) -> AllAnswered<'_> {
        AllAnswered(self)
    }

    /// Takes the answers out. To be called once all calls have ended.
    pub fn take(&self) -> Vec<Option<Answered>> {
        std::mem::take(&mut self.state.lock().answers)
    }

    fn is_over(&self) -> bool {
        self.state.lock().open == 0
    }
}

impl Slot {
    /// Gives the answer.
    pub fn fill(self, answered: Answered) {
        let is_over = {
            let mut state = self.batch.state.lock();
            state.open -= 1;
            if let Some(place) = state.answers.get_mut(self.index) {
                *place = Some(answered);
            }
            state.open == 0
        };
        if is_over {
            self.batch.waker.wake();
        }
    }
}

impl Future for AllAnswered<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.is_over() {
            return Poll::Ready(());
        }
        self.0.waker.register(cx.waker());
        // An answer may have come between the look and the registration.
        if self.0.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ready(future: impl Future) -> bool {
        let mut future = std::pin::pin!(future);
        future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn a_batch_is_over_when_its_last_call_is() {
        let batch = Batch::new(2);
        assert!(!is_ready(batch.all()));
        batch.slot(1).fill(Ok(Answer::Noop));
        assert!(!is_ready(batch.all()));
        batch.slot(0).fill(Err(HopError::Busy));
        assert!(is_ready(batch.all()));
        assert_eq!(batch.take(), [Some(Err(HopError::Busy)), Some(Ok(Answer::Noop))]);
    }
}
