//! What operators ask and order: nodes, snapshots, health, metrics.

use annulus_protocol::rest::{Health, Job, JobStarted, NodeInfo, Nodes, Operation, Ready};
use http::{Method, StatusCode};
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
        let Some(path) = path_of("nodes", name) else { return Ok(None) };
        self.transport.send(&Call::get(path)).await?.found()?.map(|answer| answer.json()).transpose()
    }

    /// Lets an auxiliary hand over what it holds and end; gives it as it is when that begins, or `None` where there is none
    /// of this name. [`Self::node`] tells how far it is, until it is gone.
    ///
    /// # Errors
    /// Any [`Error`]; with the code `conflict`, where another change has to settle first, or where it cannot go.
    pub async fn remove_node(&self, name: &str) -> Result<Option<NodeInfo>, Error> {
        let Some(path) = path_of("nodes", name) else { return Ok(None) };
        let call = Call { method: Method::DELETE, ..Call::get(path) };
        self.transport.send(&call).await?.found()?.map(|answer| answer.json()).transpose()
    }

    /// Has all auxiliaries do something, without waiting for its end; [`Self::job`] tells what comes of it.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn start(&self, operation: Operation) -> Result<JobStarted, Error> {
        let path = format!("{}?wait=false", operation.path().trim_start_matches('/'));
        let call = Call { method: Method::POST, repeatable: false, ..Call::get(path) };
        self.transport.send(&call).await?.success()?.json()
    }

    /// How far a job is, or `None` where the master that answers does not know it: only the one that started it does.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn job(&self, id: &str) -> Result<Option<Job>, Error> {
        let Some(path) = path_of("jobs", id) else { return Ok(None) };
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

/// The path of one of many; none where no URL can carry the name, as with [`Error::DotKey`].
fn path_of(many: &str, name: &str) -> Option<String> {
    let fits = !matches!(name, "" | "." | "..");
    fits.then(|| format!("{many}/{}", utf8_percent_encode(name, NON_ALPHANUMERIC)))
}
