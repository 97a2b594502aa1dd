//! How this node reaches the other auxiliaries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Node, Roster};
use annulus_protocol::Secret;
use annulus_protocol::handshake::Purpose;
use annulus_protocol::hop::{EPOCH_HEADER, SEAL_HEADER};
use annulus_service::net::Net;
use annulus_service::pool::{Pool, PoolError};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{HOST, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;

/// The longest that a call to another auxiliary takes. Batches are small; one that takes longer comes from a node that hangs.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The most that another auxiliary answers.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Why a call to another auxiliary came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    #[error("{0}")]
    Pool(#[from] PoolError),
    #[error("answered {0}")]
    Status(StatusCode),
    /// A swap of a key is under way there.
    #[error("a swap of a key is under way")]
    Busy,
    #[error("an answer that makes no sense")]
    Nonsense,
    /// It goes by a later roster.
    #[error("goes by a later roster")]
    Outdated(Box<Roster>),
}

/// Calls other auxiliaries.
pub(crate) trait Peers: Send + Sync + 'static {
    /// Posts `body` to a node and gives back its answer. `roster` is the caller's; a node that is behind is handed it first.
    fn post<'a>(
        &'a self,
        node: &'a Node,
        path: &'static str,
        roster: &'a Roster,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>>;

    /// Lets go of the connections to all but these.
    fn keep_only(&self, nodes: &[&Node]);
}

/// The calls over HTTP. Each carries a seal that shows to the one who is called that the caller knows the secret.
pub(crate) struct HttpPeers<N> {
    net: N,
    name: String,
    secret: Secret,
    pools: Mutex<BTreeMap<String, Arc<Pool<N>>>>,
}

impl<N: Net> HttpPeers<N> {
    pub(crate) fn new(net: N, name: String, secret: Secret) -> Self {
        Self { net, name, secret, pools: Mutex::default() }
    }

    fn pool(&self, address: &str) -> Arc<Pool<N>> {
        let mut pools = self.pools.lock();
        let make = || Arc::new(Pool::new(self.net.clone(), address.to_owned()));
        Arc::clone(pools.entry(address.to_owned()).or_insert_with(make))
    }

    fn request(
        node: &Node,
        (method, path): (Method, &'static str),
        seal: &str,
        epoch: u64,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, PeerError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::from_static(path);
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_str(&node.address).map_err(|_| PeerError::Nonsense)?);
        headers.insert(EPOCH_HEADER, epoch.into());
        headers.insert(SEAL_HEADER, HeaderValue::from_str(seal).map_err(|_| PeerError::Nonsense)?);
        Ok(request)
    }

    async fn call(
        &self,
        node: &Node,
        path: &'static str,
        roster: &Roster,
        body: Bytes,
    ) -> Result<Bytes, PeerError> {
        let pool = self.pool(&node.address);
        let epoch = roster.epoch();
        let seal = self.secret.settle_tag(epoch, &self.name, &node.name);
        let seal = format!("{}:{seal}", self.name);
        for attempt in 0..2 {
            let request = Self::request(node, (Method::POST, path), &seal, epoch, body.clone())?;
            let (head, answer) = pool.exchange(request, MAX_ANSWER_BYTES, TIMEOUT).await?;
            match head.status {
                StatusCode::OK => return Ok(answer),
                StatusCode::TOO_EARLY if attempt == 0 => self.hand_over(&pool, node, roster).await?,
                StatusCode::MISDIRECTED_REQUEST => {
                    let roster = serde_json::from_slice(&answer).map_err(|_| PeerError::Nonsense)?;
                    return Err(PeerError::Outdated(roster));
                }
                status => return Err(PeerError::Status(status)),
            }
        }
        Err(PeerError::Status(StatusCode::TOO_EARLY))
    }

    async fn hand_over(&self, pool: &Pool<N>, node: &Node, roster: &Roster) -> Result<(), PeerError> {
        let json = serde_json::to_vec(roster).map_err(|_| PeerError::Nonsense)?;
        let seal = self.secret.sign(Purpose::Roster, &[&json]).to_string();
        let request = Self::request(node, (Method::PUT, "/roster"), &seal, roster.epoch(), json.into())?;
        let (head, _) = pool.exchange(request, MAX_ANSWER_BYTES, TIMEOUT).await?;
        if head.status.is_success() { Ok(()) } else { Err(PeerError::Status(head.status)) }
    }
}

impl<N: Net> Peers for HttpPeers<N> {
    fn post<'a>(
        &'a self,
        node: &'a Node,
        path: &'static str,
        roster: &'a Roster,
        body: Bytes,
    ) -> BoxFuture<'a, Result<Bytes, PeerError>> {
        Box::pin(self.call(node, path, roster, body))
    }

    fn keep_only(&self, nodes: &[&Node]) {
        self.pools.lock().retain(|address, _| nodes.iter().any(|node| node.address == *address));
    }
}
