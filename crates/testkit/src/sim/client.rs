//! Clients of the simulation: each reads and writes a few keys through any master and writes down what it saw.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use annulus_service::net::Net as _;
use bytes::Bytes;
use http::header::{ETAG, HOST, IF_MATCH};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::net::SimNet;
use super::outcome::Outcome;
use super::scenario::Scenario;
use crate::history::{INITIAL, Operation, UNKNOWN};

/// How long a client waits for an answer: more than a master may take.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How often a request goes out on a new connection, though there is one.
const NEW_CONNECTIONS: f64 = 0.2;

/// What all clients of a run write into.
pub(super) struct Notes {
    pub(super) outcome: Outcome,
    names: Vec<String>,
    next_value: u64,
}

impl Notes {
    pub(super) fn new(names: Vec<String>) -> Self {
        let outcome = Outcome { histories: vec![Vec::new(); names.len()], ..Outcome::default() };
        Self { outcome, names, next_value: INITIAL + 1 }
    }
}

/// One client's life.
pub(super) async fn client(number: u64, scenario: Scenario, net: SimNet, notes: Rc<RefCell<Notes>>) {
    let mut random = SmallRng::seed_from_u64(scenario.seed.wrapping_mul(31).wrapping_add(number));
    // The cluster forms meanwhile.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let end = tokio::time::Instant::now() + scenario.duration;
    let connections: Vec<_> = (0..scenario.masters).map(|_| RefCell::default()).collect();
    while tokio::time::Instant::now() < end {
        let key = random.random_range(0..scenario.keys);
        let master = random.random_range(0..scenario.masters);
        let is_fleeting = scenario.is_fleeting(key);
        let expires = is_fleeting || scenario.expiries && random.random_bool(0.3);
        let ttl = expires.then(|| random.random_range(1..4));
        let connection: &Connection = &connections[master];
        if random.random_bool(NEW_CONNECTIONS) {
            connection.take();
        }
        let one = Step { key, master, ttl, scenario, net: &net, connection, notes: &notes };
        match random.random_range(0..10) {
            0..5 => one.read().await,
            5..8 => one.write(Method::PUT).await,
            8 if scenario.deletes => one.write(Method::DELETE).await,
            // A swap would write what stays.
            _ if is_fleeting => one.write(Method::PUT).await,
            _ => one.swap().await,
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1..scenario.pause_ms))).await;
    }
}

/// What is left of the last request to a master: where no other is under way, the next one may go the same way.
type Connection = RefCell<Option<SendRequest<Full<Bytes>>>>;

struct Step<'a> {
    key: usize,
    master: usize,
    /// Seconds that a value written lives.
    ttl: Option<u64>,
    scenario: Scenario,
    net: &'a SimNet,
    connection: &'a Connection,
    notes: &'a RefCell<Notes>,
}

/// What a read showed.
struct Seen {
    value: u64,
    etag: Option<HeaderValue>,
}

impl Step<'_> {
    async fn read(&self) {
        self.look().await;
    }

    async fn look(&self) -> Option<Seen> {
        let start = self.now();
        let (status, etag, body) = self.send(Method::GET, None, String::new()).await?;
        let value = match status {
            StatusCode::OK => body.parse().ok()?,
            StatusCode::NOT_FOUND => INITIAL,
            _ => {
                self.fail();
                return None;
            }
        };
        // With deletes and evictions about, a miss is always legal and says nothing.
        if value != INITIAL || !self.scenario.may_be_missed(self.key) {
            self.note(Operation { start, end: self.now(), is_write: false, value });
        }
        Some(Seen { value, etag })
    }

    async fn write(&self, method: Method) {
        let value = self.fresh_value();
        if let (Some(ttl), true) = (self.ttl, method == Method::PUT) {
            self.notes.borrow_mut().outcome.expiries.insert(value, ttl * 1_000_000);
        }
        let start = self.now();
        let body = if method == Method::DELETE { String::new() } else { value.to_string() };
        let answer = self.send(method, None, body).await;
        let end = match answer {
            Some((StatusCode::OK | StatusCode::NOT_FOUND, ..)) => self.now(),
            _ => UNKNOWN,
        };
        self.note(Operation { start, end, is_write: true, value });
    }

    /// Reads, then writes only if nothing came between.
    async fn swap(&self) {
        let Some(Seen { value: before, etag: Some(etag) }) = self.look().await else { return };
        let value = self.fresh_value();
        let start = self.now();
        let answer = self.send(Method::PUT, Some(etag), value.to_string()).await;
        match answer {
            Some((StatusCode::PRECONDITION_FAILED, ..)) => {}
            Some((StatusCode::OK, ..)) => {
                let end = self.now();
                // A swap that succeeded saw the value that it replaced.
                self.note(Operation { start, end, is_write: false, value: before });
                self.note(Operation { start, end, is_write: true, value });
                self.notes.borrow_mut().outcome.swaps.push((self.key, before, value));
            }
            _ => self.note(Operation { start, end: UNKNOWN, is_write: true, value }),
        }
    }

    async fn connect(&self, host: &str) -> Option<SendRequest<Full<Bytes>>> {
        if let Some(sender) = self.connection.take().filter(SendRequest::is_ready) {
            return Some(sender);
        }
        let io = self.net.dial(&format!("{host}:80")).await.ok()?;
        let (sender, connection) = handshake(TokioIo::new(io)).await.ok()?;
        tokio::spawn(connection);
        Some(sender)
    }

    fn now(&self) -> u64 {
        self.net.elapsed().as_micros() as u64 + 1
    }

    fn fresh_value(&self) -> u64 {
        let mut notes = self.notes.borrow_mut();
        notes.next_value += 1;
        notes.next_value
    }

    fn note(&self, operation: Operation) {
        self.notes.borrow_mut().outcome.histories[self.key].push(operation);
    }

    fn fail(&self) {
        self.notes.borrow_mut().outcome.failed += 1;
    }

    async fn send(
        &self,
        method: Method,
        if_match: Option<HeaderValue>,
        body: String,
    ) -> Option<(StatusCode, Option<HeaderValue>, String)> {
        self.notes.borrow_mut().outcome.operations += 1;
        let started = tokio::time::Instant::now();
        let exchange = self.exchange(method, if_match, body);
        let answer = tokio::time::timeout(PATIENCE, exchange).await.ok().flatten();
        let mut notes = self.notes.borrow_mut();
        notes.outcome.slowest = notes.outcome.slowest.max(started.elapsed());
        match &answer {
            Some((status, ..)) if status.is_server_error() => notes.outcome.failed += 1,
            None => notes.outcome.unanswered += 1,
            Some(_) => {}
        }
        answer
    }

    async fn exchange(
        &self,
        method: Method,
        if_match: Option<HeaderValue>,
        body: String,
    ) -> Option<(StatusCode, Option<HeaderValue>, String)> {
        let host = format!("master-{}", self.master);
        let mut sender = self.connect(&host).await?;
        let query = match (method == Method::GET, self.ttl) {
            (true, _) => "?raw".to_owned(),
            (false, Some(ttl)) if method == Method::PUT && if_match.is_none() => format!("?ttl={ttl}"),
            _ => String::new(),
        };
        let uri = format!("/data/{}{query}", self.notes.borrow().names[self.key]);
        let mut request = Request::builder().method(method).uri(uri).header(HOST, host);
        if let Some(etag) = if_match {
            request = request.header(IF_MATCH, etag);
        }
        let response = sender.send_request(request.body(Full::new(Bytes::from(body))).ok()?).await.ok()?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.ok()?.to_bytes();
        self.connection.replace(Some(sender));
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Some((parts.status, parts.headers.get(ETAG).cloned(), text))
    }
}
