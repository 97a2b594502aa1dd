//! The registry that one of the pods keeps, over HTTP: each question is a sealed `POST /registry`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::registry::{Answer, Home, LONGEST_WAIT, Letter, Question, Wire, WireError};
use annulus_protocol::handshake::{Call, Nonces, Tag};
use annulus_protocol::hop::SEAL_HEADER;
use annulus_protocol::value::JSON;
use annulus_protocol::{ErrorCode, Problem, Secret};
use annulus_service::ApiError;
use annulus_service::net::{Clock, Net};
use annulus_service::pool::{Pool, PoolError};
use axum::Router;
use axum::extract::{Request as Asked, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, Uri};
use http_body_util::Full;
use parking_lot::Mutex;

use crate::Node;

const PATH: &str = "/registry";
/// How long a question may take that is answered at once.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long it may take to be told that nobody listens.
const DIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest question or answer: a roster, as text within text.
const MAX_BYTES: usize = 2 << 20;
/// Addresses to which connections are kept: there is one home at a time.
const MAX_POOLS: usize = 16;

/// Asks the home over HTTP, and others when this process is about to be it.
pub struct HttpWire<N> {
    net: N,
    secret: Secret,
    nonces: Nonces,
    clock: Arc<dyn Clock>,
    pools: Mutex<BTreeMap<String, Arc<Pool<N>>>>,
}

impl<N: Net> HttpWire<N> {
    /// `seed` is random, one for each process.
    pub fn new(net: &N, secret: Secret, seed: u64) -> Self {
        let nonces = Nonces::new(secret.clone(), seed);
        Self { nonces, secret, clock: net.clock(), net: net.clone(), pools: Mutex::default() }
    }

    fn pool(&self, address: &str) -> Arc<Pool<N>> {
        let mut pools = self.pools.lock();
        if pools.len() >= MAX_POOLS && !pools.contains_key(address) {
            pools.clear();
        }
        let make = || Arc::new(Pool::new(self.net.clone(), address.to_owned()));
        Arc::clone(pools.entry(address.to_owned()).or_insert_with(make))
    }

    async fn ask(&self, name: &str, address: &str, letter: &Letter) -> Result<Answer, WireError> {
        let failed = |error: &dyn std::fmt::Display| WireError::Failed(error.to_string());
        let call = Call::new(&self.secret, name, letter, self.nonces.next(self.clock.now_us()));
        let call = call.map_err(|error| failed(&error))?;
        let body = serde_json::to_vec(&call).map_err(|error| failed(&error))?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(PATH);
        request.headers_mut().insert(HOST, HeaderValue::from_str(address).map_err(|error| failed(&error))?);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        let waits = matches!(letter.question, Question::Wait { .. });
        let limit = if waits { TIMEOUT + LONGEST_WAIT } else { TIMEOUT };
        let (head, body) = match self.pool(address).exchange(request, MAX_BYTES, limit).await {
            Ok(answer) => answer,
            Err(PoolError::Connect(_)) if self.nobody_listens(address).await => {
                return Err(WireError::NobodyThere);
            }
            Err(error) => return Err(failed(&error)),
        };
        let seal = head.headers.get(SEAL_HEADER).and_then(|seal| seal.to_str().ok()?.parse::<Tag>().ok());
        if seal.is_none_or(|seal| seal != call.answer_tag(&self.secret, &body)) {
            let why = match serde_json::from_slice::<Problem>(&body) {
                Ok(problem) => problem.detail.escape_debug().take(400).collect(),
                Err(_) => "its answer does not show that it knows this cluster's secret".to_owned(),
            };
            return Err(WireError::Failed(format!("{why} ({})", head.status)));
        }
        serde_json::from_slice(&body).map_err(|error| failed(&error))
    }

    /// Whether the system there refuses connections, which it does where no process listens.
    async fn nobody_listens(&self, address: &str) -> bool {
        let dialled = tokio::time::timeout(DIAL_TIMEOUT, self.net.dial(address)).await;
        matches!(dialled, Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused)
    }
}

impl<N: Net> Wire for HttpWire<N> {
    fn ask<'a>(
        &'a self,
        name: &'a str,
        address: &'a str,
        letter: &'a Letter,
    ) -> BoxFuture<'a, Result<Answer, WireError>> {
        Box::pin(self.ask(name, address, letter))
    }
}

/// The route.
pub(crate) fn routes(node: Arc<Node>) -> Router {
    Router::new().route(PATH, post(registry)).with_state(node)
}

async fn registry(State(node): State<Arc<Node>>, asked: Asked) -> Response {
    match node.answer_call(asked).await {
        Ok(response) => response,
        Err(problem) => ApiError(problem).into_response(),
    }
}

impl Node {
    async fn answer_call(&self, asked: Asked) -> Result<Response, Problem> {
        let (parts, body) = asked.into_parts();
        let (bytes, share) = self.bodies.read(&parts.headers, body, MAX_BYTES).await?;
        let (Some(secret), Some(home)) = (&self.secret, &self.home) else {
            let why = "this node keeps no members: it learns of them otherwise than from Kubernetes";
            return Err(Problem::new(ErrorCode::Conflict, why));
        };
        let call: Call = serde_json::from_slice(&bytes)
            .map_err(|error| Problem::new(ErrorCode::BadJson, format!("no question of a node: {error}")))?;
        let letter: Letter = call.open(secret, &self.name)?;
        // A question may wait; its bytes need not.
        drop((bytes, share));
        let known = self.members.as_ref().and_then(crate::Members::roster);
        let answer = home.answer(letter, known).await;
        let internal = |error: &dyn std::fmt::Display| Problem::new(ErrorCode::Internal, error.to_string());
        let json = serde_json::to_vec(&answer).map_err(|error| internal(&error))?;
        let seal = HeaderValue::try_from(call.answer_tag(secret, &json).to_string());
        let mut response = json.into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        response.headers_mut().insert(SEAL_HEADER, seal.map_err(|error| internal(&error))?);
        Ok(response)
    }
}

/// Keeps the members while this node is the one to do so, until dropped.
pub(crate) async fn keep(keeping: Keeping) {
    keeping.home.keep(&*keeping.wire, keeping.snapshots).await;
}

/// What a node needs that may have to keep the members for all.
pub struct Keeping {
    /// Where it keeps them.
    pub home: Arc<Home>,
    /// How it asks others.
    pub wire: Arc<dyn Wire>,
    /// Who they are.
    pub snapshots: annulus_cluster::discovery::Snapshots,
}
