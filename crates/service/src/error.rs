//! The one place where an error becomes an HTTP answer.

use annulus_protocol::problem::PROBLEM_JSON;
use annulus_protocol::{ErrorCode, Problem};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};

/// A [`Problem`] as the error of a handler.
#[derive(Debug, Clone)]
pub struct ApiError(pub Problem);

impl ApiError {
    /// An error of the kind `code`; `detail` says what happened and what to do.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }
}

impl<T: Into<Problem>> From<T> for ApiError {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.0.to_json()).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        // To send a write of unknown outcome again could undo what came after it.
        if status == StatusCode::SERVICE_UNAVAILABLE && self.0.code != ErrorCode::OutcomeUnknown {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if leaves_body_unread(self.0.code) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Whether the answer may go out before the body is in, so that the connection cannot be used again.
fn leaves_body_unread(code: ErrorCode) -> bool {
    use ErrorCode::{BodyTimeout, Overloaded, TooLarge, UnsupportedMediaType};
    matches!(code, BodyTimeout | Overloaded | TooLarge | UnsupportedMediaType)
}

/// The answer to a method that a route does not take; the router adds `Allow`.
pub async fn method_not_allowed() -> ApiError {
    ApiError::new(ErrorCode::MethodNotAllowed, "see the Allow header for the methods of this route")
}

/// The answer to a path that is no route.
pub async fn no_route(uri: http::Uri) -> ApiError {
    let hint = if uri.path().starts_with("/data/") {
        "; a slash inside a key is written %2F"
    } else {
        "; GET /openapi.json of a master lists the routes"
    };
    ApiError::new(ErrorCode::NoRoute, format!("nothing is served under this path{hint}"))
}
