//! What a replica serves from its memory.

mod dataset;
mod events;

use std::sync::Arc;

use annulus_protocol::rest::Datasets;
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::ApiError;
use annulus_service::metrics::{OperationMetrics, Outcome};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::Node;

pub(crate) fn public(node: Arc<Node>) -> Router {
    Router::new()
        .route("/datasets", get(list))
        .route("/datasets/{name}", get(dataset::whole))
        .route("/datasets/{name}/events", get(events::events))
        .route("/datasets/{name}/{*item}", get(dataset::item))
        .with_state(node)
}

async fn list(State(node): State<Arc<Node>>) -> Response {
    node.serve(&node.metrics.list, || {
        let datasets = node.datasets.iter().map(|dataset| dataset.info(&node.follower)).collect();
        Ok(Json(Datasets { datasets }).into_response())
    })
}

impl Node {
    /// Answers one request, and counts it. Everything is in memory, so nothing waits.
    fn serve(
        &self,
        operation: &OperationMetrics,
        work: impl FnOnce() -> Result<Response, Problem>,
    ) -> Response {
        let started_us = self.clock.now_us();
        let (outcome, response) = match work() {
            Ok(response) => (Outcome::Ok, response),
            Err(problem) => (Outcome::from(problem.code), ApiError(problem).into_response()),
        };
        operation.observe(outcome, self.clock.now_us() - started_us);
        response
    }
}

fn no_dataset() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is no such dataset; GET /datasets lists them")
}

fn no_data_yet() -> Problem {
    let detail = "no replica has fetched this dataset yet; GET /health says why where it fails";
    Problem::new(ErrorCode::Unavailable, detail)
}
