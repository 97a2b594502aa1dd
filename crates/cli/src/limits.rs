//! How many files the process may have open: every connection is one.

use annulus_service::config::Settings;

/// For what is no client's connection: connections to other nodes, snapshots, logs.
const OTHER_FILES: u64 = 512;

/// Raises the soft limit to the hard one. It may fail: then connections fail, and say so.
pub(crate) fn raise_quietly() {
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

/// Raises the soft limit to the hard one, and says so where that is not enough for the connections that are allowed.
/// Call it after logging is set up.
pub(crate) fn raise_open_files(settings: &Settings) {
    let needed = settings.server.max_connections as u64 + OTHER_FILES;
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(
            limit,
            needed,
            "the process may open too few files for server.max_connections: raise the hard limit (ulimit -Hn, \
             LimitNOFILE=, --ulimit nofile=) or lower server.max_connections"
        ),
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
