//! What operators ask: nodes, health, metrics.

use annulus_protocol::rest::{Health, NodeInfo, Nodes, Ready};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::transport::Call;
use crate::{Client, Error};

impl Client {
    /// The auxiliaries, as the master that answers sees them.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn nodes(&self) -> Result<Nodes, Error> {
        self.transport.send(&Call::get("nodes")).await?.success()?.json()
    }

    /// One auxiliary by its name, or `None` where the ring has no such node.
    ///
    /// # Errors
    /// Any [`Error`] but that of a node that is not there.
    pub async fn node(&self, name: &str) -> Result<Option<NodeInfo>, Error> {
        // No URL can carry these names; see `Error::DotKey`.
        if name.is_empty() || name == "." || name == ".." {
            return Ok(None);
        }
        let path = format!("nodes/{}", utf8_percent_encode(name, NON_ALPHANUMERIC));
        self.transport.send(&Call::get(path)).await?.found()?.map(|answer| answer.json()).transpose()
    }

    /// How the node at the URL is, which may also be an auxiliary.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn health(&self) -> Result<Health, Error> {
        self.transport.send(&Call::get("health")).await?.success()?.json()
    }

    /// Whether the node at the URL takes traffic.
    ///
    /// # Errors
    /// Any [`Error`]; that it is not ready is none.
    pub async fn ready(&self) -> Result<bool, Error> {
        let answer = self.transport.send(&Call::get("ready")).await?;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            return Ok(answer.json::<Ready>()?.ready);
        }
        Ok(answer.success()?.json::<Ready>()?.ready)
    }

    /// The metrics of the node at the URL, in Prometheus' text format.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn metrics(&self) -> Result<String, Error> {
        let answer = self.transport.send(&Call::get("metrics")).await?.success()?;
        std::str::from_utf8(&answer.bytes)
            .map(str::to_owned)
            .map_err(|error| answer.unexpected(&error.to_string()))
    }
}
