//! Kept-alive HTTP/1.1 connections to one auxiliary.

use std::sync::Arc;

use annulus_service::net::Net;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::HopError;

/// Connections to one auxiliary at most, each with one call under way; further calls wait for one within their time.
const MAX_CONNECTIONS: usize = 256;

/// What a connection reads ahead at most. hyper's default is several times that, kept for as long as the connection is.
const READ_BUFFER_BYTES: usize = 64 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// The connections of one master to one auxiliary. The one used last is taken first, so that the others can idle out.
pub(super) struct Pool<N> {
    net: N,
    address: String,
    idle: Arc<Mutex<Vec<Sender>>>,
    slots: Semaphore,
}

/// A connection lent out for one call.
pub(super) struct Lent<'a> {
    sender: Option<Sender>,
    idle: &'a Mutex<Vec<Sender>>,
    _slot: SemaphorePermit<'a>,
}

impl<N: Net> Pool<N> {
    pub(super) fn new(net: N, address: String) -> Self {
        Self { net, address, idle: Arc::default(), slots: Semaphore::new(MAX_CONNECTIONS) }
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// A kept connection may have been closed by the other side meanwhile. A request that was not sent for that reason
    /// goes out again on another; one that may have been sent does not.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Lent<'_>), HopError> {
        let slot = self.slots.acquire().await.map_err(|_| HopError::Busy)?;
        while let Some(mut sender) = self.take_idle() {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, self.lend(sender, slot))),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(HopError::Broken(error.into_error().to_string())),
                },
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request).await.map_err(|e| HopError::Broken(e.to_string()))?;
        Ok((response, self.lend(sender, slot)))
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

    async fn connect(&self) -> Result<Sender, HopError> {
        let io = self.net.dial(&self.address).await.map_err(|e| HopError::Connect(e.to_string()))?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|e| HopError::Connect(e.to_string()))?;
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
    pub(super) fn give_back(mut self) {
        if let Some(sender) = self.sender.take()
            && !sender.is_closed()
        {
            self.idle.lock().push(sender);
        }
    }
}
