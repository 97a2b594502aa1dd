use std::io;
use std::path::PathBuf;

/// Why a run could not start, or could not be reported. Failed requests are not errors of the run: the report
/// counts them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// No URL accepted a connection before the run.
    #[error("no master answers at {urls}: start one with `annulus dev`, or name it with --url ({reason})")]
    Unreachable {
        /// All URLs tried, comma separated.
        urls: String,
        /// What the last of them said.
        reason: String,
    },
    /// The arguments contradict each other.
    #[error("{0}")]
    Arguments(String),
    /// A key could not be stored before the run, after several attempts.
    #[error("preloading stopped at key {key}: {reason}; check the master with `annulus nodes`")]
    Preload {
        /// The key, escaped.
        key: String,
        /// The last attempt's failure.
        reason: String,
    },
    /// The trace could not be opened or read.
    #[error("cannot read the trace {}: {source}", path.display())]
    TraceIo {
        /// The trace file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of the trace is not `KEY` or `KEY SIZE`.
    #[error("{}:{line}: {reason}", path.display())]
    TraceLine {
        /// The trace file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// The trace has no request.
    #[error("the trace {} has no requests: expected one `KEY` or `KEY SIZE` a line", path.display())]
    TraceEmpty {
        /// The trace file.
        path: PathBuf,
    },
    /// A report could not be written.
    #[error("cannot write the report {}: {source}", path.display())]
    Output {
        /// The file named by `--output`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
