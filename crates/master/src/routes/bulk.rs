//! `/data/bulk`: many entries at once.

use std::collections::HashSet;

use annulus_protocol::hop::CopyState;
use annulus_protocol::rest::{BulkFound, BulkStored, Failure, StoreRequest, Stored, entry_json};
use annulus_protocol::value::StoredValue;
use annulus_protocol::{ErrorCode, Key, Problem};
use annulus_service::telemetry::TraceContext;
use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt as _};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;

use super::At;
use super::answer;
use super::data::change;
use super::openapi::BulkProblems;
use super::query::DataQuery;
use crate::coordinator::Context;

/// Keys of one request that are under way at the same time.
const CONCURRENCY: usize = 32;

/// Store many entries
///
/// Each stands for itself: the answer says which were stored and why others were not. A document that is not an array of
/// entries stores nothing.
#[utoipa::path(post, path = "/data/bulk", operation_id = "store_many", tag = "data", request_body = Vec<StoreRequest>,
    params(super::openapi::CommonHeaders),
    responses(
        (status = 200, description = "All stored", body = BulkStored),
        (status = 207, description = "Some failed", body = BulkStored),
        BulkProblems))]
pub(super) async fn store(State(node): State<At>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async |trace| node.store_many(&parts, body, trace).await;
    node.serve(&node.metrics.bulk_put, &parts.headers, work).await
}

/// Read many entries
///
/// Keys that are in neither list of the answer are misses.
#[utoipa::path(post, path = "/data/bulk/get", operation_id = "read_many", tag = "data", request_body = Vec<String>,
    params(
        ("consistency" = Option<super::openapi::ConsistencyName>, Query, description = "How many copies to ask"),
        super::openapi::CommonHeaders),
    responses(
        (status = 200, description = "All looked up", body = BulkFound),
        (status = 207, description = "Some could not be looked up", body = BulkFound),
        BulkProblems))]
pub(super) async fn fetch(State(node): State<At>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let work = async |trace| node.read_many(&parts, body, trace).await;
    node.serve(&node.metrics.bulk_get, &parts.headers, work).await
}

impl At {
    async fn store_many(&self, parts: &Parts, body: Body, trace: TraceContext) -> Result<Response, Problem> {
        let query = DataQuery::parse(parts.uri.query(), &[])?;
        let (items, _share): (Vec<StoreRequest>, _) =
            self.read_json(&parts.headers, body, self.bulk_bytes()).await?;
        self.check_count(items.len())?;
        let doubled = doubled(items.iter().map(|item| item.key.as_str()));
        let context = self.context(&parts.headers, &query, trace)?;
        let one = async |item: StoreRequest| {
            let stored = if doubled.contains(item.key.as_str()) {
                Err(Problem::new(ErrorCode::BadRequest, "the key stands twice in the request"))
            } else {
                self.in_time(&context, self.store_one(&item, &context)).await
            };
            (item.key, stored)
        };
        let mut results = stream::iter(items).map(one).buffered(CONCURRENCY);
        let mut answer = BulkStored::default();
        while let Some((key, result)) = results.next().await {
            match result {
                Ok(stored) => answer.stored.push(stored),
                Err(error) => answer.failed.push(Failure { key, error }),
            }
        }
        Ok((status(answer.failed.is_empty()), Json(answer)).into_response())
    }

    async fn store_one(&self, item: &StoreRequest, context: &Context) -> Result<Stored, Problem> {
        let key = Key::new(item.key.clone())?;
        let ttl_seconds = item.ttl_seconds()?;
        let value = item.content()?;
        self.check_value(&value.bytes)?;
        let change = change(Some(value), ttl_seconds);
        let written = self.node.write(&key, &change, context).await?;
        Ok(answer::stored(&key, written.version, ttl_seconds, self.clock.now_ms()))
    }

    async fn read_many(&self, parts: &Parts, body: Body, trace: TraceContext) -> Result<Response, Problem> {
        let query = DataQuery::parse(parts.uri.query(), &["consistency"])?;
        let (keys, _share): (Vec<String>, _) =
            self.read_json(&parts.headers, body, self.bulk_bytes()).await?;
        self.check_count(keys.len())?;
        let doubled = doubled(keys.iter().map(String::as_str));
        let context = self.context(&parts.headers, &query, trace)?;
        let one = async |key: String| {
            let found = if doubled.contains(key.as_str()) {
                Err(Problem::new(ErrorCode::BadRequest, "the key stands twice in the request"))
            } else {
                self.in_time(&context, self.read_one(&key, &context)).await
            };
            (key, found)
        };
        let mut results = stream::iter(keys).map(one).buffered(CONCURRENCY);
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        while let Some((key, result)) = results.next().await {
            match result {
                Ok(Some(entry)) => found.push(entry),
                Ok(None) => {}
                Err(error) => failed.push(Failure { key, error }),
            }
        }
        self.found_response(&found, &failed).await
    }

    async fn read_one(&self, key: &str, context: &Context) -> Result<Option<(Key, StoredValue)>, Problem> {
        let key = Key::new(key.to_owned())?;
        match self.node.read(&key, context).await? {
            CopyState::Value(stored) => {
                self.metrics.hits.inc();
                Ok(Some((key, stored)))
            }
            CopyState::Miss { reason, .. } => {
                self.metrics.misses[reason as usize].inc();
                Ok(None)
            }
        }
    }

    /// Writes a [`BulkFound`] straight from the stored bytes, which draw on the budget until then; the answer does after.
    async fn found_response(
        &self,
        found: &[(Key, StoredValue)],
        failed: &[Failure],
    ) -> Result<Response, Problem> {
        let most: usize = found.iter().map(|(_, stored)| answer::json_bytes(stored)).sum();
        let share = self.bodies.budget().acquire(most, answer::PATIENCE).await?;
        let mut body = Vec::with_capacity(most);
        body.extend_from_slice(b"{\"found\":[");
        for (index, (key, stored)) in found.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend_from_slice(&entry_json(key, stored));
        }
        body.extend_from_slice(b"],\"failed\":");
        let failures = serde_json::to_vec(failed);
        body.extend_from_slice(
            &failures.map_err(|error| Problem::new(ErrorCode::Internal, error.to_string()))?,
        );
        body.push(b'}');
        let body = Body::from(share.attach(body.into()));
        let headers = [(CONTENT_TYPE, "application/json")];
        Ok((status(failed.is_empty()), headers, body).into_response())
    }

    /// A bulk request may take a quarter of the bytes that all requests together may have under way.
    fn bulk_bytes(&self) -> usize {
        self.in_flight_bytes / 4
    }

    fn check_count(&self, count: usize) -> Result<(), Problem> {
        let max = self.policy.load().limits.max_bulk_items;
        if count <= max {
            return Ok(());
        }
        Err(Problem::new(
            ErrorCode::TooLarge,
            format!("{count} items; limits.max_bulk_items is {max}: send several requests"),
        ))
    }
}

fn status(all: bool) -> StatusCode {
    if all { StatusCode::OK } else { StatusCode::MULTI_STATUS }
}

/// The keys that stand more than once: which of their values should win, only the sender knows.
fn doubled<'a>(keys: impl Iterator<Item = &'a str>) -> HashSet<String> {
    let mut seen = HashSet::new();
    keys.filter(|key| !seen.insert(*key)).map(str::to_owned).collect()
}
