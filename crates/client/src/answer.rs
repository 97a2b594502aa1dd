//! An answer, and how its error is told from its result.

use annulus_protocol::problem::PROBLEM_JSON;
use annulus_protocol::{ErrorCode, Problem};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::DeserializeOwned;

use crate::Error;

/// The whole answer of a master.
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    /// The answer where it is a success, and else what the master said.
    pub(crate) fn success(self) -> Result<Self, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        if self.header(&CONTENT_TYPE).is_none_or(|found| !found.starts_with(PROBLEM_JSON)) {
            return Err(self.unexpected("no problem+json"));
        }
        match serde_json::from_slice::<Problem>(&self.bytes) {
            Ok(problem) => Err(Error::Problem(problem)),
            Err(error) => Err(self.unexpected(&error.to_string())),
        }
    }

    /// As [`Self::success`], but `None` where the master says that there is nothing: a miss is not an error.
    pub(crate) fn found(self) -> Result<Option<Self>, Error> {
        match self.success() {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == Some(ErrorCode::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The body as JSON.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes).map_err(|error| self.unexpected(&error.to_string()))
    }

    /// A header, where it is there and visible ASCII.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn unexpected(&self, why: &str) -> Error {
        Error::Answer { url: self.url.clone(), status: self.status.as_u16(), why: why.to_owned() }
    }
}
