//! The public REST interface.

mod answer;
mod bulk;
mod data;
mod jobs;
mod nodes;
pub(crate) mod openapi;
mod query;
mod registration;

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use annulus_protocol::hop::Look;
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::ApiError;
use annulus_service::config::Consistency;
use annulus_service::metrics::{OperationMetrics, Outcome};
use annulus_service::telemetry::TraceContext;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::Node;
use crate::coordinator::Context;
use query::DataQuery;

/// Between two log lines about requests that failed.
const FAILURE_LOG_INTERVAL_MS: u64 = 100;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A master as one of its workers serves it.
#[derive(Clone)]
pub(crate) struct At {
    pub(crate) node: Arc<Node>,
    pub(crate) worker: usize,
}

impl Deref for At {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

pub(crate) fn public(at: At) -> Router {
    Router::new()
        .route("/data", post(data::store))
        .route("/data/{key}", get(data::read).put(data::write).delete(data::delete))
        // Static routes win over the one with a parameter, and yet `bulk` is a key like any other.
        .route("/data/bulk", post(bulk::store).get(data::read).put(data::write).delete(data::delete))
        .route("/data/bulk/get", post(bulk::fetch))
        .route("/nodes", get(nodes::list).post(registration::register))
        .route("/nodes/{id}", get(nodes::one).delete(registration::remove))
        .route("/backup", post(jobs::backup))
        .route("/restore", post(jobs::restore))
        .route("/rebalance", post(jobs::rebalance))
        .route("/jobs/{id}", get(jobs::job))
        .route("/openapi.json", get(openapi::document))
        .route("/", get(openapi::page))
        .with_state(at)
}

impl At {
    /// The request's deadline, counted from now, and what else goes with it.
    fn context(
        &self,
        headers: &HeaderMap,
        query: &DataQuery,
        trace: TraceContext,
    ) -> Result<Context, Problem> {
        let policy = self.policy.load();
        let limit = annulus_service::request::deadline(headers, &policy.limits)?;
        Ok(Context {
            deadline_us: self.clock.now_us() + limit.as_micros() as u64,
            worker: self.worker,
            trace: trace.child(&self.trace_ids),
            consistency: query.consistency.unwrap_or(policy.consistency),
            insists: query.consistency == Some(Consistency::Quorum),
            look: Look::Plain,
        })
    }
}

impl Node {
    /// Runs one operation: its trace, its metrics, and the one place where its error becomes an answer.
    async fn serve<F>(&self, operation: &OperationMetrics, headers: &HeaderMap, work: F) -> Response
    where
        F: AsyncFnOnce(TraceContext) -> Result<Response, Problem>,
    {
        let started_us = self.clock.now_us();
        let trace = TraceContext::from_headers(headers, &self.trace_ids);
        let (outcome, mut response) = match work(trace).await {
            Ok(response) => (Outcome::Ok, response),
            Err(problem) => {
                let outcome = Outcome::from(problem.code);
                if problem.status >= 500 {
                    self.log_failure(trace, &problem);
                }
                (outcome, ApiError(problem).into_response())
            }
        };
        let micros = self.clock.now_us() - started_us;
        operation.observe(outcome, micros);
        tracing::debug!(request_id = %trace.request_id(), outcome = outcome.as_str(), micros, "answered");
        if let Ok(id) = HeaderValue::from_str(trace.request_id().as_str()) {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        response
    }

    /// Runs what asks auxiliaries, until the request's deadline.
    pub(crate) async fn in_time<T>(
        &self,
        context: &Context,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let left = Duration::from_micros(context.deadline_us.saturating_sub(self.clock.now_us()));
        tokio::time::timeout(left, work).await.unwrap_or_else(|_| {
            let detail = "no answer within the deadline; a write may have happened all the same";
            Err(Problem::new(ErrorCode::DeadlineExceeded, detail))
        })
    }

    /// Logs a failure of the server, at most ten a second: in an outage every request fails alike.
    fn log_failure(&self, trace: TraceContext, problem: &Problem) {
        let now_ms = self.clock.now_ms();
        let last_ms = self.last_failure_logged_ms.load(Ordering::Relaxed);
        let is_due = now_ms >= last_ms + FAILURE_LOG_INTERVAL_MS;
        let claim = || {
            self.last_failure_logged_ms
                .compare_exchange(last_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if is_due && claim() {
            let passed_over = self.failures_not_logged.swap(0, Ordering::Relaxed);
            tracing::warn!(
                request_id = %trace.request_id(),
                code = problem.code.as_str(),
                passed_over,
                "{}",
                problem.detail
            );
        } else {
            self.failures_not_logged.fetch_add(1, Ordering::Relaxed);
        }
    }
}
