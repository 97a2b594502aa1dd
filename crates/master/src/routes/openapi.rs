//! `/openapi.json`, and a page to try it.

use annulus_protocol::Problem;
use axum::Json;
use axum::response::Html;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, IntoResponses, OpenApi, PartialSchema, ToSchema, schema};

use super::{bulk, data, jobs, nodes, registration};

/// The document. Every route of the public interface stands in it with every answer that it may give.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Annulus",
        description = "A distributed cache. Any master answers for the whole cluster. Errors are RFC 9457 problem details with a stable `code`."
    ),
    paths(
        data::read, data::store, data::write, data::delete, bulk::store, bulk::fetch, nodes::list, nodes::one,
        registration::register, registration::remove, jobs::backup, jobs::restore, jobs::rebalance, jobs::job,
        health, ready, metrics, reload
    ),
    components(schemas(Problem, annulus_protocol::rest::Entry, EntryOrJson, Bytes)),
    tags(
        (name = "data", description = "Entries"),
        (name = "nodes", description = "The nodes that hold them"),
        (name = "operations", description = "For operators")
    )
)]
pub(crate) struct Document;

pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}

pub(super) async fn page() -> Html<&'static str> {
    Html(include_str!("try.html"))
}

/// What a read answers as `application/json`: the entry; raw, the value itself where that is JSON.
pub(super) struct EntryOrJson;

impl PartialSchema for EntryOrJson {
    fn schema() -> RefOr<Schema> {
        let entry = Ref::from_schema_name("Entry");
        AnyOfBuilder::new()
            .item(entry)
            .item(schema!(
                #[inline]
                serde_json::Value
            ))
            .into()
    }
}

impl ToSchema for EntryOrJson {}

/// The value's bytes.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[allow(dead_code, reason = "stands in the document only")]
pub(super) struct Bytes(Vec<u8>);

/// How many copies a request asks.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[allow(dead_code, reason = "stands in the document only")]
pub(super) enum ConsistencyName {
    /// Enough that no older value is ever shown.
    Quorum,
    /// One copy: half the work, possibly stale for a moment.
    One,
}

/// Headers that every data route takes.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "stands in the document only")]
pub(super) struct CommonHeaders {
    /// Milliseconds that the answer may take, at most 2000; 1000 where absent.
    #[param(rename = "X-Deadline-Ms", minimum = 1, maximum = 2000)]
    deadline_ms: Option<u64>,
    /// W3C trace context; its trace id comes back as X-Request-Id.
    traceparent: Option<String>,
}

macro_rules! problems {
    ($(#[$meta:meta])* $name:ident { $($variant:ident = $status:literal, $description:literal;)+ }) => {
        $(#[$meta])*
        #[derive(IntoResponses)]
        #[allow(dead_code, reason = "stands in the document only")]
        pub(super) enum $name {$(
            #[response(status = $status, description = $description, content_type = "application/problem+json")]
            $variant(Problem),
        )+}
    };
}

problems! {
    /// What a read may answer besides the entry.
    ReadProblems {
        Bad = 400, "bad_key, bad_request: what cannot be taken, and why";
        NotFound = 404, "not_found: no entry under this key";
        Unavailable = 503, "unavailable, overloaded: try again after Retry-After";
        Deadline = 504, "deadline_exceeded";
    }
}

problems! {
    /// What a write of bytes may answer besides success.
    WriteProblems {
        Bad = 400, "bad_key, bad_ttl, bad_request: what cannot be taken, and why";
        BodyTimeout = 408, "body_timeout: the body did not arrive in time";
        PreconditionFailed = 412, "precondition_failed: If-Match or If-None-Match does not hold";
        TooLarge = 413, "too_large: over a limit that the detail names";
        Unavailable = 503, "unavailable, overloaded, outcome_unknown: try again after Retry-After";
        Deadline = 504, "deadline_exceeded: the write may have happened";
    }
}

problems! {
    /// What `POST /data` may answer besides success.
    StoreProblems {
        Bad = 400, "bad_json, bad_key, bad_ttl, bad_request: what cannot be taken, and why";
        BodyTimeout = 408, "body_timeout: the body did not arrive in time";
        PreconditionFailed = 412, "precondition_failed: If-Match or If-None-Match does not hold";
        TooLarge = 413, "too_large: over a limit that the detail names";
        MediaType = 415, "unsupported_media_type: send application/json";
        Unavailable = 503, "unavailable, overloaded, outcome_unknown: try again after Retry-After";
        Deadline = 504, "deadline_exceeded: the write may have happened";
    }
}

problems! {
    /// What a bulk request as a whole may answer besides success.
    BulkProblems {
        Bad = 400, "bad_json, bad_request: what cannot be taken, and why";
        BodyTimeout = 408, "body_timeout: the body did not arrive in time";
        TooLarge = 413, "too_large: over a limit that the detail names";
        MediaType = 415, "unsupported_media_type: send application/json";
        Unavailable = 503, "overloaded: try again after Retry-After";
        Deadline = 504, "deadline_exceeded: some of it may have happened";
    }
}

problems! {
    /// Why a node is not registered.
    RegisterProblems {
        Bad = 400, "bad_json, bad_request: no request of a node; nodes register themselves";
        Forbidden = 403, "not_sealed, address_not_allowed, address_not_confirmed: what to set, and where";
        BodyTimeout = 408, "body_timeout: the body did not arrive in time";
        Conflict = 409, "conflict: name or address belong to another node, or the members are a fixed list";
        TooLarge = 413, "too_large: over a limit that the detail names";
        MediaType = 415, "unsupported_media_type: send application/json";
        Unavailable = 503, "overloaded, membership_unavailable: try again after Retry-After";
    }
}

problems! {
    /// Why a node is not removed.
    RemoveProblems {
        Bad = 400, "bad_request: the name is badly escaped";
        NotFound = 404, "not_found: no such node";
        Conflict = 409, "conflict: another change has to settle first, or it is the last node, or the members are a fixed list";
        Unavailable = 503, "membership_unavailable: try again after Retry-After";
    }
}

problems! {
    /// Why nodes are not told to do something.
    JobProblems {
        Bad = 400, "bad_request: an unknown or malformed query parameter";
        Unavailable = 503, "overloaded, unavailable: too many jobs are under way, or no node has joined";
    }
}

/// A node's request, as its program makes it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "stands in the document only")]
pub(super) struct Join {
    /// What the node says of itself, and the last roster that it knows: JSON as text, so that it is sealed byte by byte.
    beat: String,
    /// Random, for this request only.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    nonce: String,
    /// HMAC-SHA256 over both with the cluster's secret.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    tag: String,
}

/// Liveness, with detail
#[utoipa::path(get, path = "/health", tag = "operations",
    responses((status = 200, description = "The process serves", body = annulus_protocol::rest::Health)))]
#[allow(dead_code, reason = "stands in the document only; the shared admin routes serve it")]
fn health() {}

/// Readiness
#[utoipa::path(get, path = "/ready", tag = "operations",
    responses(
        (status = 200, description = "Takes traffic", body = annulus_protocol::rest::Ready),
        (status = 503, description = "Starting or leaving", body = annulus_protocol::rest::Ready)))]
#[allow(dead_code, reason = "stands in the document only; the shared admin routes serve it")]
fn ready() {}

/// Metrics for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses((status = 200, description = "Text exposition format", body = String, content_type = "text/plain")))]
#[allow(dead_code, reason = "stands in the document only; the shared admin routes serve it")]
fn metrics() {}

/// Read the configuration again
///
/// What can change while the node runs takes effect at once, and no request is dropped for it; the rest is named in the answer and
/// needs a restart. Where anything is wrong, nothing changes. SIGHUP does the same.
#[utoipa::path(post, path = "/config/reload", operation_id = "reload_configuration", tag = "operations",
    responses(
        (status = 200, description = "What has changed", body = annulus_protocol::rest::ConfigReloaded),
        (status = 400, description = "bad_configuration: what is wrong with it, and where", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "conflict: the node was not started from a configuration", body = Problem, content_type = "application/problem+json")))]
#[allow(dead_code, reason = "stands in the document only; the shared admin routes serve it")]
fn reload() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_a_summary_and_an_answer() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let paths = document["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 14);
        let mut ids = std::collections::HashSet::new();
        for (path, operations) in paths {
            for (method, operation) in operations.as_object().unwrap() {
                assert!(operation["summary"].is_string(), "{method} {path}");
                let id = operation["operationId"].as_str().unwrap().to_owned();
                assert!(ids.insert(id), "{method} {path} has another one's operationId");
                assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
            }
        }
    }

    #[test]
    fn every_answer_of_the_operators_routes_is_in_it() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let statuses = |method: &str, path: &str| {
            let responses = document["paths"][path][method]["responses"].as_object().unwrap();
            responses.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
        };
        for (method, path, expected) in [
            ("get", "/nodes", "200"),
            ("post", "/nodes", "200 201 204 400 403 408 409 413 415 503"),
            ("get", "/nodes/{id}", "200 400 404"),
            ("delete", "/nodes/{id}", "202 400 404 409 503"),
            ("post", "/backup", "200 202 207 400 503 507"),
            ("post", "/restore", "200 202 207 400 503 507"),
            ("post", "/rebalance", "200 202 207 400 503"),
            ("get", "/jobs/{id}", "200 404"),
            ("post", "/config/reload", "200 400 409"),
        ] {
            assert_eq!(statuses(method, path), expected, "{method} {path}");
        }
    }
}
