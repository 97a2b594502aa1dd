//! Errors as RFC 9457 problem details, each with a stable code.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $status:literal, $title:literal;)+) => {
        /// What went wrong, as a name that programs may rely on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[doc = $doc])+ $variant,)+ }

        impl ErrorCode {
            /// Every code, for documents and tests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code as it stands in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code),+ }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }

            /// A short summary, the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

error_codes! {
    /// The key is empty, too long or badly escaped.
    BadKey = "bad_key", 400, "The key cannot be taken";
    /// The body is not the JSON that the route takes.
    BadJson = "bad_json", 400, "The JSON body cannot be taken";
    /// The TTL is negative, fractional or too large.
    BadTtl = "bad_ttl", 400, "The TTL cannot be taken";
    /// A header or query parameter is malformed.
    BadRequest = "bad_request", 400, "The request cannot be taken";
    /// The configuration that was to be taken over is wrong; the detail says where.
    BadConfiguration = "bad_configuration", 400, "The configuration cannot be taken";
    /// No entry under this key, or no node or job of this name.
    NotFound = "not_found", 404, "No such entry";
    /// No such route.
    NoRoute = "no_route", 404, "No such route";
    /// The route does not take this method; `Allow` lists those it takes.
    MethodNotAllowed = "method_not_allowed", 405, "The route does not take this method";
    /// The body did not arrive in time.
    BodyTimeout = "body_timeout", 408, "The body did not arrive in time";
    /// What is asked conflicts with what is there.
    Conflict = "conflict", 409, "The request conflicts with the current state";
    /// `If-Match` or `If-None-Match` does not hold.
    PreconditionFailed = "precondition_failed", 412, "The condition does not hold";
    /// Over a size limit; the detail names it.
    TooLarge = "too_large", 413, "Over a size limit";
    /// The content type is missing or not the one that the route takes.
    UnsupportedMediaType = "unsupported_media_type", 415, "The content type is not taken here";
    /// A bug in the server.
    Internal = "internal", 500, "The server failed";
    /// The sender does not show that it knows the cluster's secret.
    NotSealed = "not_sealed", 403, "Not from this cluster";
    /// A node may not be at this address.
    AddressNotAllowed = "address_not_allowed", 403, "No node may be at this address";
    /// The node that registers does not answer at the address that it gives.
    AddressNotConfirmed = "address_not_confirmed", 403, "The node does not answer at its address";
    /// Too few of the key's owners answer.
    Unavailable = "unavailable", 503, "Too few owners of the key answer";
    /// A node does not answer, or not as one does.
    NodeUnavailable = "node_unavailable", 503, "The node does not answer";
    /// Who keeps the members cannot be asked, or others change them all the time.
    MembershipUnavailable = "membership_unavailable", 503, "The membership cannot be asked or changed now";
    /// Over a limit of the server; try again after a moment.
    Overloaded = "overloaded", 503, "The server is at a limit";
    /// The disk is full; the last good snapshot stays.
    DiskFull = "disk_full", 507, "The disk is full";
    /// Concurrent writers kept a conditional write from a definite result: it may or may not have happened.
    OutcomeUnknown = "outcome_unknown", 503, "The outcome of the write is not known";
    /// The request's deadline passed.
    DeadlineExceeded = "deadline_exceeded", 504, "The deadline passed";
}

/// RFC 9457 problem details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem: `urn:annulus:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: Cow<'static, str>,
    /// A short summary, the same for every occurrence.
    pub title: Cow<'static, str>,
    /// The HTTP status code, repeated.
    pub status: u16,
    /// What happened this time, and what to do.
    pub detail: String,
    /// The kind of problem as a stable name.
    pub code: ErrorCode,
}

impl Problem {
    /// A problem of the kind `code`; `detail` says what happened and what to do.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: Cow::Owned(format!("urn:annulus:problem:{}", code.as_str())),
            title: Cow::Borrowed(code.title()),
            status: code.status(),
            detail: detail.into(),
            code,
        }
    }

    /// The problem as JSON.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl From<crate::KeyError> for Problem {
    fn from(error: crate::KeyError) -> Self {
        Self::new(ErrorCode::BadKey, error.to_string())
    }
}

impl From<crate::duration::TtlError> for Problem {
    fn from(error: crate::duration::TtlError) -> Self {
        Self::new(ErrorCode::BadTtl, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_back_and_its_code_is_the_serde_name() {
        for code in ErrorCode::ALL {
            let problem = Problem::new(*code, "what to do");
            let json = problem.to_json();
            assert_eq!(serde_json::from_slice::<Problem>(&json).unwrap(), problem);
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
