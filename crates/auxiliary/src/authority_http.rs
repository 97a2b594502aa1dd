//! The authority as a node reaches it that knows masters only: each beat is a sealed `POST /nodes`.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{Authority, AuthorityError, Beat, BeatError, Roster};
use annulus_protocol::handshake::{JoinRequest, Nonce, Nonces, Refusal, Registration, Tag};
use annulus_protocol::hop::SEAL_HEADER;
use annulus_protocol::value::JSON;
use annulus_protocol::{Problem, Secret};
use annulus_service::net::{Clock, Net};
use annulus_service::pool::Pool;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use parking_lot::Mutex;

/// How long one master has. It calls this node back within it, which takes 2 s at most.
const MASTER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long all of them have together: less than the 10 s that an authority may take.
const TIMEOUT: Duration = Duration::from_secs(9);
/// The largest roster, in bytes: some thousand nodes.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// How much of what a stranger says goes into an error.
const MAX_SHOWN_CHARS: usize = 400;

/// A master's address that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "auxiliary.master_address: {given:?} is no address of a master: {why}; write host:8000 or http://host:8000"
)]
pub struct MasterAddressError {
    given: String,
    why: &'static str,
}

/// Registers through masters, of which it asks the one that answered last. For one node: it has one request under way at a
/// time, and while it has, [`asks_back_for`](Authority::asks_back_for) tells the node's `POST /challenge` which.
///
/// It makes an [`Authority`] for [`Joining`](crate::Joining), and nothing else is to be set up:
///
/// ```no_run
/// # fn example(secret: annulus_protocol::Secret, seed: u64) -> Result<(), annulus_auxiliary::MasterAddressError> {
/// use std::sync::Arc;
///
/// use annulus_auxiliary::{HttpAuthority, Joining};
/// use annulus_service::SystemNet;
///
/// let masters = ["10.0.0.1:8000".to_owned(), "http://10.0.0.2:8000".to_owned()];
/// let authority = HttpAuthority::new(&SystemNet::new(), &masters, secret.clone(), seed)?;
/// let joining = Joining { authority: Arc::new(authority), address: "10.0.0.9:3001".to_owned(), secret };
/// # Ok(())
/// # }
/// ```
pub struct HttpAuthority<N> {
    masters: Vec<Master<N>>,
    secret: Secret,
    nonces: Nonces,
    clock: Arc<dyn Clock>,
    under_way: Mutex<Option<Nonce>>,
    known: Mutex<Option<Arc<Roster>>>,
    turn: tokio::sync::Mutex<Turn>,
}

struct Master<N> {
    address: String,
    host: HeaderValue,
    pool: Pool<N>,
}

/// Held by the one request that is under way.
struct Turn {
    /// Who is asked first.
    preferred: usize,
    /// For each master the nonce of the last request that it answered.
    previous: Vec<Option<Nonce>>,
}

/// An answer under the cluster's seal.
struct Sealed {
    status: StatusCode,
    body: Bytes,
}

/// Forgets the nonce when the request ends, however it does.
struct UnderWay<'a>(&'a Mutex<Option<Nonce>>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

impl<N: Net> HttpAuthority<N> {
    /// Registers through `masters`, each `host:port` or `http://host:port`. `seed` is random, one for each process.
    ///
    /// # Errors
    /// [`MasterAddressError`], also where there is none.
    pub fn new(net: &N, masters: &[String], secret: Secret, seed: u64) -> Result<Self, MasterAddressError> {
        if masters.is_empty() {
            return Err(MasterAddressError { given: String::new(), why: "there is none" });
        }
        let master = |given: &String| {
            let wrong = |why| MasterAddressError { given: given.clone(), why };
            let address = host_and_port(given).map_err(wrong)?;
            let host = HeaderValue::from_str(&address).map_err(|_| wrong("it is not visible ASCII"))?;
            Ok(Master { pool: Pool::new(net.clone(), address.clone()), address, host })
        };
        let masters = masters.iter().map(master).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            turn: tokio::sync::Mutex::new(Turn { preferred: 0, previous: vec![None; masters.len()] }),
            masters,
            nonces: Nonces::new(secret.clone(), seed),
            secret,
            clock: net.clock(),
            under_way: Mutex::default(),
            known: Mutex::default(),
        })
    }

    async fn beat(&self, beat: &Beat, known: Option<&Roster>) -> Result<Arc<Roster>, AuthorityError> {
        beat.seat.node.check()?;
        let mut turn = self.turn.lock().await;
        let first = turn.preferred;
        let mut why = String::new();
        for nth in 0..self.masters.len() {
            let at = (first + nth) % self.masters.len();
            // Should this be given up before it ends, the next one is asked the next time.
            turn.preferred = (at + 1) % self.masters.len();
            let nonce = self.nonces.next(self.clock.now_us());
            let registration = Registration::Beat { beat, known, previous: turn.previous[at] };
            let answer = self.ask(at, &beat.seat.node.name, &registration, nonce).await;
            match answer.and_then(|answer| understand(&answer)) {
                Ok(Ok(roster)) => {
                    turn.preferred = at;
                    turn.previous[at] = Some(nonce);
                    let roster = Arc::new(roster);
                    *self.known.lock() = Some(Arc::clone(&roster));
                    return Ok(roster);
                }
                Ok(Err(refused)) => {
                    turn.preferred = at;
                    return Err(refused.into());
                }
                Err(error) => why = format!("master {}: {error}", self.masters[at].address),
            }
        }
        Err(AuthorityError::Unreachable(why))
    }

    async fn farewell(&self, name: &str, incarnation: u64) -> Result<(), AuthorityError> {
        let turn = self.turn.lock().await;
        let nonce = self.nonces.next(self.clock.now_us());
        let registration: Registration<&Beat, &Roster> =
            Registration::Farewell { name: name.to_owned(), incarnation };
        let answer = self.ask(turn.preferred, name, &registration, nonce).await;
        answer.map(drop).map_err(AuthorityError::Unreachable)
    }

    /// Asks one master. The error says why there is no answer under the cluster's seal.
    async fn ask(
        &self,
        at: usize,
        name: &str,
        registration: &Registration<&Beat, &Roster>,
        nonce: Nonce,
    ) -> Result<Sealed, String> {
        let master = &self.masters[at];
        let join =
            JoinRequest::new(&self.secret, registration, nonce).and_then(|join| serde_json::to_vec(&join));
        let mut request = Request::new(Full::new(Bytes::from(join.map_err(|error| error.to_string())?)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/nodes");
        request.headers_mut().insert(HOST, master.host.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        *self.under_way.lock() = Some(nonce);
        let _until_it_ends = UnderWay(&self.under_way);
        let exchange = master.pool.exchange(request, MAX_ANSWER_BYTES, MASTER_TIMEOUT).await;
        let (head, body) = exchange.map_err(|error| error.to_string())?;
        let seal = head.headers.get(SEAL_HEADER).and_then(|seal| seal.to_str().ok()?.parse::<Tag>().ok());
        if seal.is_some_and(|seal| seal == self.secret.roster_tag(nonce, name, &body)) {
            return Ok(Sealed { status: head.status, body });
        }
        Err(describe(head.status, &body))
    }
}

/// The roster, or why the beat is turned away.
fn understand(answer: &Sealed) -> Result<Result<Roster, BeatError>, String> {
    let parsed = match answer.status {
        StatusCode::OK | StatusCode::CREATED => serde_json::from_slice(&answer.body).map(Ok),
        _ => serde_json::from_slice(&answer.body).map(|refusal: Refusal<BeatError>| Err(refusal.beat)),
    };
    parsed
        .map_err(|error| format!("answered {} with what this version does not know: {error}", answer.status))
}

/// What an answer without the cluster's seal says: nothing that this node goes by, but it helps whoever reads the log.
fn describe(status: StatusCode, body: &[u8]) -> String {
    let shown = |text: &str| text.escape_debug().take(MAX_SHOWN_CHARS).collect::<String>();
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => format!("{} ({status}): {}", shown(&problem.title), shown(&problem.detail)),
        Err(_) if status.is_success() => "its answer does not show that it knows this cluster's secret: check that \
                                          auxiliary.master_address is a master's and that cluster.secret is the same on both"
            .to_owned(),
        Err(_) => format!("answered {status}: check that auxiliary.master_address is a master's"),
    }
}

/// `host:port` of an address or URL.
fn host_and_port(given: &str) -> Result<String, &'static str> {
    let text = given.trim();
    let (address, is_url) = match text.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (rest.trim_end_matches('/'), true),
        Some(_) => return Err("only http:// is spoken; put a proxy that ends TLS beside it"),
        None => (text, false),
    };
    let authority: http::uri::Authority = address.parse().map_err(|_| "it is not host:port")?;
    match authority.port_u16() {
        _ if address.contains('@') => Err("it takes no user and password"),
        Some(1..) => Ok(address.to_owned()),
        None if is_url && authority.port().is_none() => Ok(format!("{address}:80")),
        _ => Err("its port is missing"),
    }
}

impl<N: Net> Authority for HttpAuthority<N> {
    fn beat(
        &self,
        beat: Beat,
        known: Option<Arc<Roster>>,
    ) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        Box::pin(async move { in_time(self.beat(&beat, known.as_deref())).await })
    }

    /// The last one that a master has answered a beat with: masters are asked by beats only.
    fn roster(&self, known: Option<Arc<Roster>>) -> BoxFuture<'_, Result<Arc<Roster>, AuthorityError>> {
        let newest = self.known.lock().iter().chain(&known).max_by_key(|roster| roster.revision()).cloned();
        let none = || AuthorityError::Unreachable("no master has told of the members yet".to_owned());
        Box::pin(std::future::ready(newest.ok_or_else(none)))
    }

    fn retire<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Arc<Roster>, AuthorityError>> {
        let why = format!("an auxiliary retires nobody: send DELETE /nodes/{name} to a master");
        Box::pin(std::future::ready(Err(AuthorityError::Unreachable(why))))
    }

    fn release<'a>(&'a self, name: &'a str, incarnation: u64) -> BoxFuture<'a, Result<(), AuthorityError>> {
        Box::pin(in_time(self.farewell(name, incarnation)))
    }

    /// Masters do that.
    fn sweep(&self, _: u64) -> BoxFuture<'_, Result<Vec<String>, AuthorityError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Masters tell only when they are asked, or in passing.
    fn changed(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn asks_back_for(&self) -> Option<[u8; 16]> {
        self.under_way.lock().map(|nonce| nonce.0)
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, AuthorityError>>) -> Result<T, AuthorityError> {
    let late = || AuthorityError::Unreachable(format!("no master answered within {TIMEOUT:?}"));
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or_else(|_| Err(late()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_master_is_named_by_its_address_or_its_url() {
        for (given, address) in [
            ("10.0.0.1:8000", "10.0.0.1:8000"),
            (" http://master:8000/ ", "master:8000"),
            ("HTTP://master", "master:80"),
            ("[::1]:8000", "[::1]:8000"),
        ] {
            assert_eq!(host_and_port(given), Ok(address.to_owned()), "{given}");
        }
        for given in [
            "",
            "master",
            "master:0",
            "master:99999",
            "https://m:1",
            "http://m:1/path",
            "m:1 n:1",
            "http://u:p@m:1",
        ] {
            assert!(host_and_port(given).is_err(), "{given}");
        }
    }

    #[test]
    fn what_a_stranger_says_is_shown_short_and_harmless() {
        let problem = Problem::new(annulus_protocol::ErrorCode::NotSealed, "\u{1b}[2J".repeat(1000));
        let text = describe(StatusCode::FORBIDDEN, &problem.to_json());
        assert!(
            text.starts_with("Not from this cluster (403 Forbidden): \\u{1b}") && text.len() < 600,
            "{text}"
        );
        assert!(describe(StatusCode::OK, b"<html>").contains("cluster.secret"));
        assert!(describe(StatusCode::NOT_FOUND, b"").contains("auxiliary.master_address"));
    }
}
