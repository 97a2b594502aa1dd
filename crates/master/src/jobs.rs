//! What all auxiliaries are told to do at once. Each time is a job of its own, which goes on when whoever asked for it has
//! gone away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::rest::{Job, JobState, NodeResult, Operation};
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::net::Clock;
use annulus_service::pool::PoolError;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::hop::HopError;
use crate::route::Route;

/// Jobs under way at once.
const MAX_RUNNING: usize = 8;
/// Jobs remembered, those under way included; the oldest goes first.
const MAX_KEPT: usize = 64;
/// How long one node may take to write or load a snapshot.
const NODE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long it may take to begin to settle.
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(10);

/// The jobs of one master. Those under way end with it.
pub(crate) struct Jobs {
    clock: Arc<dyn Clock>,
    begun_ms: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    made: u64,
    kept: VecDeque<Arc<OneJob>>,
    tasks: JoinSet<()>,
}

/// One job.
pub(crate) struct OneJob {
    id: String,
    operation: Operation,
    started_ms: u64,
    results: Mutex<Vec<NodeResult>>,
    ended_ms: watch::Sender<Option<u64>>,
}

impl Jobs {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { begun_ms: clock.now_ms(), clock, state: Mutex::default() }
    }

    /// Tells all living nodes of the route.
    ///
    /// # Errors
    /// Where there is none, or where too many jobs are under way.
    pub(crate) fn start(&self, operation: Operation, route: Arc<Route>) -> Result<Arc<OneJob>, Problem> {
        if !route.placement().nodes().iter().any(|placed| placed.is_alive) {
            return Err(Problem::new(ErrorCode::Unavailable, "no auxiliary has joined yet: start one"));
        }
        let mut state = self.state.lock();
        while state.tasks.try_join_next().is_some() {}
        if state.kept.iter().filter(|job| !job.is_done()).count() >= MAX_RUNNING {
            return Err(Problem::new(
                ErrorCode::Overloaded,
                format!("{MAX_RUNNING} jobs are under way already: wait until one is done"),
            ));
        }
        if state.kept.len() >= MAX_KEPT
            && let Some(oldest) = state.kept.iter().position(|job| job.is_done())
        {
            state.kept.remove(oldest);
        }
        state.made += 1;
        let job = Arc::new(OneJob {
            // With the time in it, so that no id of an earlier life of this master means another job.
            id: format!("{:x}-{}", self.begun_ms, state.made),
            operation,
            started_ms: self.clock.now_ms(),
            results: Mutex::default(),
            ended_ms: watch::Sender::new(None),
        });
        state.kept.push_back(Arc::clone(&job));
        state.tasks.spawn(run(Arc::clone(&job), route, Arc::clone(&self.clock)));
        Ok(job)
    }

    /// The job with this id, if it is remembered.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<OneJob>> {
        self.state.lock().kept.iter().find(|job| job.id == id).cloned()
    }
}

impl OneJob {
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    fn is_done(&self) -> bool {
        self.ended_ms.borrow().is_some()
    }

    /// Waits until all nodes have answered, and shows what they say.
    pub(crate) async fn done(&self) -> Job {
        // The sender is this job's own, so it is never gone.
        let _ = self.ended_ms.subscribe().wait_for(Option::is_some).await;
        self.show()
    }

    /// The job as it is now.
    pub(crate) fn show(&self) -> Job {
        let ended_ms = *self.ended_ms.borrow();
        Job {
            job: self.id.clone(),
            operation: self.operation,
            state: if ended_ms.is_some() { JobState::Done } else { JobState::Running },
            started_ms: self.started_ms,
            ended_ms,
            nodes: self.results.lock().clone(),
        }
    }
}

async fn run(job: Arc<OneJob>, route: Arc<Route>, clock: Arc<dyn Clock>) {
    let living = route.placement().nodes().iter().enumerate().filter(|(_, placed)| placed.is_alive);
    let orders = living.map(|(node, placed)| {
        let (job, route) = (&job, &route);
        async move {
            let timeout = match job.operation {
                Operation::Backup | Operation::Restore => NODE_TIMEOUT,
                Operation::Rebalance => REBALANCE_TIMEOUT,
            };
            let answer = route.hop().order(node, job.operation, timeout).await;
            let result = result(&placed.seat.node.name, job.operation, answer);
            if let Some(error) = &result.error {
                tracing::warn!(node = result.id, operation = job.operation.path(), "{}", error.detail);
            }
            let mut results = job.results.lock();
            results.push(result);
            results.sort_by(|left, right| left.id.cmp(&right.id));
        }
    });
    join_all(orders).await;
    job.ended_ms.send_replace(Some(clock.now_ms()));
}

/// What a node's answer says.
fn result(node: &str, operation: Operation, answer: Result<(u16, bytes::Bytes), HopError>) -> NodeResult {
    let (status, body) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let code = match error {
                HopError::Pool(PoolError::TimedOut) => ErrorCode::DeadlineExceeded,
                _ => ErrorCode::NodeUnavailable,
            };
            return NodeResult::failed(node, Problem::new(code, error.to_string()));
        }
    };
    let strange = || {
        let detail =
            format!("answered {status} with what this master does not know: run one version on all nodes");
        Problem::new(ErrorCode::NodeUnavailable, detail)
    };
    if status != 200 {
        return NodeResult::failed(node, read(&body).unwrap_or_else(strange));
    }
    let (mut snapshot, mut restored, mut settling) = (None, None, None);
    match operation {
        Operation::Backup => snapshot = read(&body),
        Operation::Restore => restored = read(&body),
        Operation::Rebalance => settling = read(&body),
    }
    if snapshot.is_none() && restored.is_none() && settling.is_none() {
        return NodeResult::failed(node, strange());
    }
    NodeResult { id: node.to_owned(), status, snapshot, restored, settling, error: None }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says_is_told_from_what_is_wrong_with_it() {
        let said = |operation, status, body: &str| {
            result("a", operation, Ok((status, bytes::Bytes::copy_from_slice(body.as_bytes()))))
        };
        let snapshot = r#"{"name":"s","created_ms":1,"entries":2,"bytes":3}"#;
        let good = said(Operation::Backup, 200, snapshot);
        assert_eq!((good.status, good.snapshot.unwrap().entries, good.error), (200, 2, None));

        let full = Problem::new(ErrorCode::DiskFull, "free some space").to_json();
        let full = said(Operation::Backup, 507, std::str::from_utf8(&full).unwrap());
        assert_eq!((full.status, full.error.unwrap().detail), (507, "free some space".to_owned()));

        for strange in [said(Operation::Restore, 200, snapshot), said(Operation::Backup, 500, "<html>")] {
            assert_eq!((strange.status, strange.error.unwrap().code), (503, ErrorCode::NodeUnavailable));
        }
        let away = |error| result("a", Operation::Rebalance, Err(error)).status;
        assert_eq!(
            [
                away(HopError::Pool(PoolError::TimedOut)),
                away(HopError::Pool(PoolError::Connect("no".into())))
            ],
            [504, 503]
        );
    }
}
