//! Which master a command talks to.

use std::time::Duration;

use annulus_bench::durations::positive_duration;
use annulus_client::{Client, Error};
use annulus_protocol::ErrorCode;
use anyhow::Result;

use crate::failure::Usage;

/// Names masters to every command. It is no setting of a server.
pub(crate) const URL_VARIABLE: &str = "ANNULUS_URL";
const DEFAULT_URL: &str = "http://127.0.0.1:8000";

/// The masters, and how the answer is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Remote {
    /// A master, or several separated by commas: the next is asked when one cannot be reached
    /// [default: http://127.0.0.1:8000]
    #[arg(long, short, value_delimiter = ',', env = URL_VARIABLE, hide_env_values = true)]
    url: Vec<String>,
    /// How long to wait for the answer, all masters together
    #[arg(long, default_value = "5s", value_parser = positive_duration, allow_hyphen_values = true)]
    timeout: Duration,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

impl Remote {
    /// A client of these masters. An empty variable counts as absent.
    pub(crate) fn client(&self) -> Result<Client> {
        let mut urls: Vec<&str> =
            self.url.iter().map(|url| url.trim()).filter(|url| !url.is_empty()).collect();
        if urls.is_empty() {
            urls.push(DEFAULT_URL);
        }
        Client::builder().masters(urls).timeout(self.timeout).build().map_err(explain)
    }
}

/// What a user of the command line does about an error of the client, where that is more than the client can know.
pub(crate) fn explain(error: Error) -> anyhow::Error {
    match error {
        Error::Unreachable { urls, reason } => anyhow::anyhow!(
            "cannot reach {urls} ({reason}): start a cluster with `annulus dev` or name a master with --url"
        ),
        Error::Timeout { url, after } => anyhow::anyhow!(
            "{url} did not answer within {after:?}: see whether it is well with `annulus health --url {url}`, \
             or allow more with --timeout"
        ),
        Error::Url { url, why } => {
            Usage(format!("{url:?} is no URL of a master: {why}; write --url {DEFAULT_URL}")).into()
        }
        // Found before anything was sent, so the command line is wrong and no server is.
        Error::Key(_) | Error::DotKey(_) | Error::Argument(_) => Usage(error.to_string()).into(),
        // What the server says of it helps those who write the path themselves, which nobody does here.
        Error::Problem(problem) if problem.code == ErrorCode::NoRoute => anyhow::anyhow!(
            "the URL is not a master's, it may be an auxiliary's ({}): name a master with --url; \
             `annulus health --url URL` says what a node is",
            problem.title
        ),
        other => other.into(),
    }
}
