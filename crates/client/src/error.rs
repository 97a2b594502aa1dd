//! What can go wrong, in words that say what to do.

use std::time::Duration;

use annulus_protocol::{ErrorCode, KeyError, Problem};

/// Why a call gave no answer. A miss is none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL of a master cannot be used.
    #[error("{url:?} is no URL of a master: {why}; write it as http://127.0.0.1:8000")]
    Url {
        /// The URL as it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The bytes are not a key.
    #[error("{0}")]
    Key(#[from] KeyError),
    /// The key is `.` or `..`, which no URL can carry.
    #[error("the key {0:?} cannot stand in a URL, which takes it for a step in the path; choose another key")]
    DotKey(&'static str),
    /// No master accepted a connection, or the last one broke it.
    #[error("cannot reach {urls} ({reason}): check the address, or start a cluster with `annulus dev`")]
    Unreachable {
        /// All masters that were asked, comma separated.
        urls: String,
        /// What the system said of the last.
        reason: String,
    },
    /// A master took the connection and did not answer in time.
    #[error(
        "{url} did not answer within {after:?}: see whether it is well with `annulus health`, or allow more time"
    )]
    Timeout {
        /// The master.
        url: String,
        /// Its share of the time.
        after: Duration,
    },
    /// A master answered that it does not do this, and why.
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Problem),
    /// Something answered that is not a master, or not of this version.
    #[error("{url} answered {status}, but not as a master does ({why}): check the address and its version")]
    Answer {
        /// Who answered.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What was unexpected.
        why: String,
    },
    /// The answer is over [`Builder::max_answer_bytes`](crate::Builder::max_answer_bytes).
    #[error("the answer is over {max} bytes: raise max_answer_bytes, or ask for less at once")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// An argument cannot be sent.
    #[error("{0}")]
    Argument(String),
    /// The value is there and is not the JSON that was asked for.
    #[error("the value is not the JSON that was expected: {0}; read it as bytes with get")]
    Json(serde_json::Error),
}

impl Error {
    /// What the master said, where it said something.
    pub fn problem(&self) -> Option<&Problem> {
        if let Self::Problem(problem) = self { Some(problem) } else { None }
    }

    /// The stable code of what the master said.
    pub fn code(&self) -> Option<ErrorCode> {
        self.problem().map(|problem| problem.code)
    }

    /// Whether a condition of the write did not hold: somebody else was first.
    pub fn is_precondition_failed(&self) -> bool {
        self.code() == Some(ErrorCode::PreconditionFailed)
    }
}
