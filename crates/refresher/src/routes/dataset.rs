//! One dataset, and one item of it.

use std::sync::Arc;

use annulus_client::follower::Dataset;
use annulus_protocol::condition::{Comparison, ETags};
use annulus_protocol::value::JSON;
use annulus_protocol::{ErrorCode, Problem, Version};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};

use super::{no_data_yet, no_dataset};
use crate::Node;

pub(super) async fn whole(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    node.serve(&node.metrics.dataset, || {
        let dataset = find(&node, &name)?;
        let content_type = HeaderValue::try_from(dataset.content_type());
        let content_type =
            content_type.unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
        answer(&node, &dataset, &headers, content_type, dataset.body())
    })
}

pub(super) async fn item(
    State(node): State<Arc<Node>>,
    Path((name, item)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    node.serve(&node.metrics.item, || {
        let dataset = find(&node, &name)?;
        let Some(value) = dataset.item(&item) else {
            let detail = if dataset.snapshot().is_split() {
                "there is no such item in this dataset"
            } else {
                "this dataset is one whole body and has no items"
            };
            return Err(Problem::new(ErrorCode::NotFound, detail));
        };
        answer(&node, &dataset, &headers, HeaderValue::from_static(JSON), value)
    })
}

pub(super) fn find(node: &Node, name: &str) -> Result<Arc<Dataset>, Problem> {
    node.datasets.get(name).ok_or_else(no_dataset)?;
    node.follower.get(name).ok_or_else(no_data_yet)
}

/// Bytes of one revision; 304 where the client has them.
fn answer(
    node: &Node,
    dataset: &Dataset,
    headers: &HeaderMap,
    content_type: HeaderValue,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let revision = dataset.revision();
    let mut response = if is_known(headers, revision)? {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Body::from(bytes).into_response();
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    };
    let age = node.follower.age(dataset.name()).unwrap_or_default();
    let headers = response.headers_mut();
    let text = |text: String| HeaderValue::try_from(text).expect("digits and quotes are a header");
    headers.insert(ETAG, text(format!("\"{revision}\"")));
    headers.insert(AGE, text(age.as_secs().to_string()));
    // It may change at any moment; asking whether it has costs next to nothing.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // An upstream chooses the content type.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    Ok(response)
}

fn is_known(headers: &HeaderMap, revision: u64) -> Result<bool, Problem> {
    let Some(given) = headers.get(IF_NONE_MATCH) else { return Ok(false) };
    let wrong = |why: String| Problem::new(ErrorCode::BadRequest, format!("If-None-Match: {why}"));
    let given = given.to_str().map_err(|_| wrong("it is no visible ASCII".to_owned()))?;
    let tags = ETags::parse(given, Comparison::Weak).map_err(wrong)?;
    Ok(tags.matches(Some(Version(revision))))
}
