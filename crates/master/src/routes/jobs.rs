//! `POST /backup`, `/restore`, `/rebalance` and `GET /jobs/{id}`.

use annulus_protocol::rest::{AllFull, Job, JobStarted, Operation};
use annulus_protocol::{ErrorCode, Key, Problem};
use annulus_service::ApiError;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::{StatusCode, Uri};

use super::At;
use super::openapi::JobProblems;
use super::query::waits;
use crate::Node;

/// Write a snapshot on every node
///
/// Waits until all have answered, for ten minutes at most, or with `wait=false` not at all. It goes on when the client goes
/// away.
#[utoipa::path(post, path = "/backup", operation_id = "backup", tag = "nodes",
    params(("wait" = Option<bool>, Query, description = "false: answer with a job to ask for")),
    responses(
        (status = 200, description = "All have written one", body = Job),
        (status = 202, description = "Under way", body = JobStarted),
        (status = 207, description = "Some have not: each node's status and error", body = Job),
        (status = 507, description = "disk_full: the disk of every node is full", body = AllFull, content_type = "application/problem+json"),
        JobProblems))]
pub(super) async fn backup(State(At { node, .. }): State<At>, uri: Uri) -> Result<Response, ApiError> {
    node.operate(Operation::Backup, &uri).await
}

/// Load the last snapshot on every node
///
/// Each entry goes to the nodes that should hold it, unless something newer is known of its key. Waits as a backup does.
#[utoipa::path(post, path = "/restore", operation_id = "restore", tag = "nodes",
    params(("wait" = Option<bool>, Query, description = "false: answer with a job to ask for")),
    responses(
        (status = 200, description = "All have loaded theirs", body = Job),
        (status = 202, description = "Under way", body = JobStarted),
        (status = 207, description = "Some have not: each node's status and error", body = Job),
        (status = 507, description = "disk_full: the disk of every node is full", body = AllFull, content_type = "application/problem+json"),
        JobProblems))]
pub(super) async fn restore(State(At { node, .. }): State<At>, uri: Uri) -> Result<Response, ApiError> {
    node.operate(Operation::Restore, &uri).await
}

/// Settle now
///
/// Every node looks at once for entries that lie in another's place, which it does every few seconds anyway. Waits until all
/// have begun; `GET /nodes` shows how far they are.
#[utoipa::path(post, path = "/rebalance", operation_id = "rebalance", tag = "nodes",
    params(("wait" = Option<bool>, Query, description = "false: answer with a job to ask for")),
    responses(
        (status = 200, description = "All have begun", body = Job),
        (status = 202, description = "Under way", body = JobStarted),
        (status = 207, description = "Some have not: each node's status and error", body = Job),
        JobProblems))]
pub(super) async fn rebalance(State(At { node, .. }): State<At>, uri: Uri) -> Result<Response, ApiError> {
    node.operate(Operation::Rebalance, &uri).await
}

/// Show a job
///
/// Known to the master that started it only; it remembers the last 64.
#[utoipa::path(get, path = "/jobs/{id}", operation_id = "show_job", tag = "nodes",
    params(("id" = String, Path, description = "The job's id", min_length = 1)),
    responses(
        (status = 200, description = "How far it is, and what came of it by now", body = Job),
        (status = 404, description = "not_found: no job of this master", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn job(State(At { node, .. }): State<At>, uri: Uri) -> Result<Json<Job>, ApiError> {
    // An id needs no escapes, and may have some all the same.
    let id = Key::from_path_segment(uri.path().strip_prefix("/jobs/").unwrap_or_default()).ok();
    let job = id.and_then(|id| node.jobs.find(id.as_str()?));
    let job = job.ok_or_else(|| {
        Problem::new(
            ErrorCode::NotFound,
            "no such job here: jobs are known to the master that started them, until it has started 64 more",
        )
    })?;
    Ok(Json(job.show()))
}

impl Node {
    async fn operate(&self, operation: Operation, uri: &Uri) -> Result<Response, ApiError> {
        let waits = waits(uri.query())?;
        let job = self.jobs.start(operation, self.coordinator.fleet.route())?;
        if waits {
            return Ok(answer(job.done().await));
        }
        let started = Json(JobStarted { job: job.id().to_owned() });
        let mut response = (StatusCode::ACCEPTED, started).into_response();
        if let Ok(location) = HeaderValue::try_from(format!("/jobs/{}", job.id())) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }
}

fn answer(job: Job) -> Response {
    let full = ErrorCode::DiskFull;
    let status = StatusCode::from_u16(job.status()).unwrap_or(StatusCode::MULTI_STATUS);
    if status.as_u16() != full.status() {
        return (status, Json(job)).into_response();
    }
    let detail = "the disk of every node is full: free some space; the last good snapshots stay";
    let all_full = AllFull { problem: Problem::new(full, detail), job: job.job, nodes: job.nodes };
    let mut response = (status, Json(all_full)).into_response();
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(annulus_protocol::problem::PROBLEM_JSON));
    response
}
