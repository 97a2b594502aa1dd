//! Kept-alive HTTP/1.1 connections to one node.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::net::Net;

/// Connections to one node at most, each with one call under way; further calls wait for one within their time.
const MAX_CONNECTIONS: usize = 256;

/// What a connection reads ahead at most. hyper's default is several times that, kept for as long as the connection is.
const READ_BUFFER_BYTES: usize = 64 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// No connection could be made: the node never saw the call.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The connection broke under the call, or the answer is larger than allowed.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// The connections of one node to another. The one used last is taken first, so that the others can idle out.
pub struct Pool<N> {
    net: N,
    address: String,
    idle: Arc<Mutex<Vec<Sender>>>,
    slots: Semaphore,
}

/// A connection lent out for one call.
pub struct Lent<'a> {
    sender: Option<Sender>,
    idle: &'a Mutex<Vec<Sender>>,
    _slot: SemaphorePermit<'a>,
}

impl<N: Net> Pool<N> {
    /// No connection yet to `address`, which is `host:port`.
    pub fn new(net: N, address: String) -> Self {
        Self { net, address, idle: Arc::default(), slots: Semaphore::new(MAX_CONNECTIONS) }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// A kept connection may have been closed by the other side meanwhile. A request that was not sent for that reason
    /// goes out again on another; one that may have been sent does not.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Lent<'_>), PoolError> {
        let slot =
            self.slots.acquire().await.map_err(|_| PoolError::Connect("the pool is closed".to_owned()))?;
        while let Some(mut sender) = self.take_idle() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.lend(sender, slot))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(PoolError::Broken(error.into_error().to_string())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(|e| PoolError::Broken(e.to_string()))?;
        Ok((response, self.lend(sender, slot)))
    }

    /// Sends a request and reads the answer, of at most `limit` bytes, within `timeout`.
    ///
    /// # Errors
    /// See [`PoolError`].
    pub async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        limit: usize,
        timeout: Duration,
    ) -> Result<(response::Parts, Bytes), PoolError> {
        let exchange = async {
            let (response, lent) = self.send(request).await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await;
            let bytes = body.map_err(|error| PoolError::Broken(error.to_string()))?.to_bytes();
            lent.give_back();
            Ok((parts, bytes))
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(PoolError::TimedOut))
    }

    fn take_idle(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn lend<'a>(&'a self, sender: Sender, slot: SemaphorePermit<'a>) -> Lent<'a> {
        Lent { sender: Some(sender), idle: &self.idle, _slot: slot }
    }

    async fn connect(&self) -> Result<Sender, PoolError> {
        let io = self.net.dial(&self.address).await.map_err(|e| PoolError::Connect(e.to_string()))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|e| PoolError::Connect(e.to_string()))?;
        tokio::spawn(async move {
            // Whoever waits on the connection hears of its end through the sender.
            let _ = connection.await;
        });
        Ok(sender)
    }
}

impl Lent<'_> {
    /// Gives the connection back for the next call. To be called once the answer's body is read to its end; dropped
    /// without it, the connection closes.
    pub fn give_back(mut self) {
        if let Some(sender) = self.sender.take()
            && !sender.is_closed()
        {
            self.idle.lock().push(sender);
        }
    }
}
