//! Whom this master lets register: nodes that know the cluster's secret and answer at the address that they give.
//!
//! The messages, and why replays of them are useless, are described in [`annulus_protocol::handshake`].

use std::collections::HashMap;
use std::time::Duration;

use annulus_cluster::Seat;
use annulus_protocol::handshake::{Challenge, ChallengeAnswer, Identity, Nonce, Nonces, Secret};
use annulus_protocol::value::JSON;
use annulus_protocol::{ErrorCode, Networks, Problem};
use annulus_service::net::Net;
use annulus_service::pool::Pool;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Nodes called back at the same time; one more is told to try again.
const MAX_CALLS: usize = 32;
/// How long a call back may take, the look-up of its name included.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer to a challenge.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Addresses of one name that are dialled at most.
const MAX_DIALLED: usize = 4;
/// Lives remembered at most. Over it all are forgotten, which costs each of them one call back.
const MAX_HEARD: usize = 4096;

/// Lets nodes register.
pub(crate) struct Admission {
    sealing: Option<(Secret, Nonces)>,
    networks: Networks,
    callers: Box<dyn Callers>,
    calls: Semaphore,
    heard: Mutex<HashMap<String, Heard>>,
}

/// The last request that this master has answered to a node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    incarnation: u64,
    address: String,
    nonce: Nonce,
}

/// Calls nodes back.
trait Callers: Send + Sync + 'static {
    /// Posts the challenge to the node at `address`, `host:port`, if that is in `networks`.
    fn challenge<'a>(
        &'a self,
        address: &'a str,
        networks: &'a Networks,
        challenge: &'a Challenge,
    ) -> BoxFuture<'a, Result<ChallengeAnswer, Problem>>;
}

impl Admission {
    /// Without a secret nobody is let in. `seed` is random, one for each process.
    pub(crate) fn new<N: Net>(net: &N, secret: Option<Secret>, networks: Networks, seed: u64) -> Self {
        Self {
            sealing: secret.map(|secret| (secret.clone(), Nonces::new(secret, seed))),
            networks,
            callers: Box::new(HttpCallers { net: net.clone() }),
            calls: Semaphore::new(MAX_CALLS),
            heard: Mutex::default(),
        }
    }

    /// The cluster's secret.
    ///
    /// # Errors
    /// Where this master knows none.
    pub(crate) fn secret(&self) -> Result<&Secret, Problem> {
        self.sealing.as_ref().map(|(secret, _)| secret).ok_or_else(|| {
            Problem::new(
                ErrorCode::NotSealed,
                "this master has no cluster.secret, so no node can register with it: set the same one on all nodes",
            )
        })
    }

    /// Whether the request continues the last one of the same life that this master has answered: then it is no replay, and
    /// the node is where it was.
    pub(crate) fn continues(&self, seat: &Seat, previous: Option<Nonce>) -> bool {
        let Some(nonce) = previous else { return false };
        self.heard.lock().get(&seat.node.name) == Some(&Heard::new(seat, nonce))
    }

    /// Remembers that the request `nonce` of this life is answered.
    pub(crate) fn answered(&self, seat: &Seat, nonce: Nonce) {
        let mut heard = self.heard.lock();
        if heard.len() >= MAX_HEARD && !heard.contains_key(&seat.node.name) {
            heard.clear();
        }
        heard.insert(seat.node.name.clone(), Heard::new(seat, nonce));
    }

    /// Calls the node back that has sent the request `join`: it must be at its address, and wait for just this answer.
    ///
    /// # Errors
    /// Says what is wrong with the address, or that too many are called at once.
    pub(crate) async fn call_back(&self, seat: &Seat, join: Nonce, now_us: u64) -> Result<(), Problem> {
        let Some((secret, nonces)) = &self.sealing else { return self.secret().map(drop) };
        let Ok(_call) = self.calls.try_acquire() else {
            return Err(Problem::new(
                ErrorCode::Overloaded,
                format!("{MAX_CALLS} nodes are called back already; nodes try again by themselves"),
            ));
        };
        let identity = Identity {
            name: seat.node.name.clone(),
            address: seat.node.address.clone(),
            incarnation: seat.incarnation,
        };
        let challenge = Challenge::new(secret, join, nonces.next(now_us), identity);
        let address = &seat.node.address;
        let called = self.callers.challenge(address, &self.networks, &challenge);
        let answer = tokio::time::timeout(CALL_TIMEOUT, called)
            .await
            .unwrap_or_else(|_| Err(unconfirmed(address, &format!("no answer within {CALL_TIMEOUT:?}"))))?;
        Ok(answer.check(secret, &challenge)?)
    }
}

impl Heard {
    fn new(seat: &Seat, nonce: Nonce) -> Self {
        Self { incarnation: seat.incarnation, address: seat.node.address.clone(), nonce }
    }
}

/// Calls over HTTP, to addresses and never to names: what was checked is what is dialled.
struct HttpCallers<N> {
    net: N,
}

impl<N: Net> Callers for HttpCallers<N> {
    fn challenge<'a>(
        &'a self,
        address: &'a str,
        networks: &'a Networks,
        challenge: &'a Challenge,
    ) -> BoxFuture<'a, Result<ChallengeAnswer, Problem>> {
        Box::pin(async move {
            let resolved = self.net.resolve(address).await;
            let resolved = resolved.map_err(|error| unconfirmed(address, &error.to_string()))?;
            for candidate in &resolved {
                networks.admit(candidate.ip()).map_err(|outside| {
                    Problem::new(ErrorCode::AddressNotAllowed, format!("{outside} cluster.allowed_networks"))
                })?;
            }
            let mut why = unconfirmed(address, "the name has no address");
            for candidate in resolved.iter().take(MAX_DIALLED) {
                match self.ask(address, candidate.to_string(), challenge).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => why = unconfirmed(address, &error),
                }
            }
            Err(why)
        })
    }
}

impl<N: Net> HttpCallers<N> {
    async fn ask(
        &self,
        address: &str,
        candidate: String,
        challenge: &Challenge,
    ) -> Result<ChallengeAnswer, String> {
        let body = serde_json::to_vec(challenge).map_err(|error| error.to_string())?;
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static("/challenge");
        let host = HeaderValue::from_str(address).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, host);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        let pool = Pool::new(self.net.clone(), candidate);
        let exchange = pool.exchange(request, MAX_ANSWER_BYTES, CALL_TIMEOUT).await;
        let (head, body) = exchange.map_err(|error| error.to_string())?;
        if head.status == StatusCode::OK {
            return serde_json::from_slice(&body)
                .map_err(|_| "what answers there is no auxiliary of this version".to_owned());
        }
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(problem.detail.chars().take(400).collect()),
            Err(_) => Err(format!("what is there answered {}", head.status)),
        }
    }
}

fn unconfirmed(address: &str, why: &str) -> Problem {
    Problem::new(
        ErrorCode::AddressNotConfirmed,
        format!(
            "asked at {address} whether it registers, and got no proof: {why}; set auxiliary.advertise to where masters \
             reach the node"
        ),
    )
}

#[cfg(test)]
mod tests {
    use annulus_cluster::Node;
    use annulus_protocol::handshake::NONCE_BYTES;
    use annulus_service::SystemNet;

    use super::*;

    const J: Nonce = Nonce([1; NONCE_BYTES]);

    fn seat(name: &str, address: &str, incarnation: u64) -> Seat {
        Seat { node: Node::new(name, address), incarnation }
    }

    fn admission() -> Admission {
        let secret = Secret::new("a secret of the test").unwrap();
        Admission::new(&SystemNet::new(), Some(secret), Networks::default(), 1)
    }

    #[test]
    fn only_the_next_request_of_the_same_life_at_the_same_place_needs_no_call() {
        let (admission, a) = (admission(), seat("a", "h:1", 7));
        assert!(!admission.continues(&a, None) && !admission.continues(&a, Some(J)));
        admission.answered(&a, J);
        assert!(admission.continues(&a, Some(J)));
        for other in [seat("b", "h:1", 7), seat("a", "h:2", 7), seat("a", "h:1", 8)] {
            assert!(!admission.continues(&other, Some(J)), "{other:?}");
        }
        let next = Nonce([2; NONCE_BYTES]);
        admission.answered(&a, next);
        assert!(!admission.continues(&a, Some(J)), "a recorded request counts once");
        assert!(admission.continues(&a, Some(next)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let admission = admission();
        for number in 0..=MAX_HEARD {
            admission.answered(&seat(&number.to_string(), "h:1", 1), J);
        }
        assert_eq!(admission.heard.lock().len(), 1);
    }

    #[tokio::test]
    async fn an_address_outside_the_networks_is_refused() {
        for address in ["192.0.2.1:80", "169.254.169.254:80", "[::ffff:8.8.8.8]:53"] {
            let refused = admission().call_back(&seat("a", address, 1), J, 0).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::AddressNotAllowed, "{refused:?}");
            assert!(refused.detail.contains("cluster.allowed_networks"), "{refused:?}");
        }
    }

    #[tokio::test]
    async fn too_many_calls_at_once_are_refused_at_once() {
        let admission = admission();
        let _all = admission.calls.try_acquire_many(MAX_CALLS as u32).unwrap();
        let refused = admission.call_back(&seat("a", "127.0.0.1:1", 1), J, 0).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Overloaded);
    }
}
