//! The public REST interface.

mod answer;
mod bulk;
mod data;
mod nodes;
pub(crate) mod openapi;
mod query;

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::{ErrorCode, Problem};
use annulus_service::ApiError;
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

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub(crate) fn public(node: Arc<Node>) -> Router {
    Router::new()
        .route("/data", post(data::store))
        .route("/data/{key}", get(data::read).put(data::write).delete(data::delete))
        // Static routes win over the one with a parameter, and yet `bulk` is a key like any other.
        .route("/data/bulk", post(bulk::store).get(data::read).put(data::write).delete(data::delete))
        .route("/data/bulk/get", post(bulk::fetch))
        .route("/nodes", get(nodes::list).post(nodes::not_yet_register))
        .route("/nodes/{id}", get(nodes::one).delete(nodes::not_yet_remove))
        .route("/backup", post(nodes::not_yet_backup))
        .route("/restore", post(nodes::not_yet_restore))
        .route("/rebalance", post(nodes::not_yet_rebalance))
        .route("/openapi.json", get(openapi::document))
        .route("/", get(openapi::page))
        .with_state(node)
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
                    tracing::warn!(request_id = %trace.request_id(), code = problem.code.as_str(), "{}", problem.detail);
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

    /// Runs the part of an operation that asks auxiliaries, within the request's deadline.
    async fn within<T, F>(
        &self,
        headers: &HeaderMap,
        query: &DataQuery,
        trace: TraceContext,
        work: F,
    ) -> Result<T, Problem>
    where
        F: AsyncFnOnce(Context) -> Result<T, Problem>,
    {
        let limit: Duration = annulus_service::request::deadline(headers, &self.limits)?;
        let context = Context {
            deadline_us: self.clock.now_us() + limit.as_micros() as u64,
            trace: trace.child(&self.trace_ids),
            consistency: query.consistency.unwrap_or(self.consistency),
        };
        match tokio::time::timeout(limit, work(context)).await {
            Ok(result) => result,
            Err(_) => Err(Problem::new(
                ErrorCode::DeadlineExceeded,
                format!("no answer within {} ms; a write may have happened all the same", limit.as_millis()),
            )),
        }
    }
}
