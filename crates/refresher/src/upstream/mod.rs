//! Asking an upstream: one conditional GET, bounded in time and size.

mod http;
mod tls;

use std::time::Duration;

use annulus_service::config::DatasetSettings;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use self::http::HttpUpstream;
pub(crate) use self::http::check_url;
pub use tls::{NoRoots, TlsRoots};

/// What tells one body of an upstream from another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`, as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// What an upstream answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// What was named by the validators still stands (304).
    Unchanged,
    /// A body.
    Body {
        /// Its bytes.
        body: Bytes,
        /// What they are.
        content_type: String,
        /// For the next time.
        validators: Validators,
    },
}

/// Why there is no answer that could be used. Shows no header and no query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct FetchError {
    /// What kind of failure it is, as a label.
    pub kind: &'static str,
    /// What happened.
    pub text: String,
    /// How long the upstream asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Kinds of failures, and the outcomes of a call that is none.
pub const OUTCOMES: [&str; 9] =
    ["ok", "unchanged", "connect", "timeout", "status", "too_large", "broken", "headers", "invalid"];

impl FetchError {
    fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), retry_after: None }
    }
}

/// A way to ask.
pub trait Upstream: Send + Sync + 'static {
    /// Asks once, within the dataset's limits.
    fn fetch<'a>(
        &'a self,
        dataset: &'a DatasetSettings,
        known: &'a Validators,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>>;
}
