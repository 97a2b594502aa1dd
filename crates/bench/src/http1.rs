//! HTTP/1.1: one keep-alive connection, driven by the task that uses it, so that a request costs no hand-over between
//! tasks.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep_until, timeout_at};

use crate::clock::Instant;
use crate::parse::Url;
use crate::protocol::{Call, Connection, Effect, ErrorKind, Failure, Options, Reply};

/// All but the characters that no server may tell apart from their escapes (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As much of an error's body as is kept to find its `code` and `detail`.
const KEPT_ERROR_BYTES: usize = 4096;

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

pub(crate) struct Http1 {
    link: Link,
    exchange: Exchange,
}

/// The connection's IO, and the clock that limits it.
struct Link {
    /// `None` once it has ended: only its drop tells the sender, which would wait for it for ever.
    driver: Option<Pin<Box<Driver>>>,
    alarm: Pin<Box<Sleep>>,
}

struct Exchange {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    ttl_s: Option<u64>,
    keep_bodies: bool,
    buffer: BytesMut,
    body: Vec<u8>,
    body_bytes: u64,
}

impl Connection for Http1 {
    async fn open(url: &Url, options: &Options, deadline: Instant) -> Result<Self, Failure> {
        let refused = |reason: String| {
            let detail = format!("{url}: {reason}");
            Failure { kind: ErrorKind::Connect, detail, effect: Effect::Unsent }
        };
        let stream = timeout_at(deadline, TcpStream::connect(url.dial())).await;
        let stream = stream
            .map_err(|_| refused("no answer in time".to_owned()))?
            .map_err(|e| refused(e.to_string()))?;
        stream.set_nodelay(true).map_err(|error| refused(error.to_string()))?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| refused(error.to_string()))?;
        let host = HeaderValue::from_str(url.authority()).map_err(|error| refused(error.to_string()))?;
        let exchange = Exchange {
            sender,
            host,
            ttl_s: options.ttl_s,
            keep_bodies: options.keep_bodies,
            buffer: BytesMut::new(),
            body: Vec::new(),
            body_bytes: 0,
        };
        let link = Link { driver: Some(Box::pin(driver)), alarm: Box::pin(sleep_until(deadline)) };
        Ok(Self { link, exchange })
    }

    async fn call(&mut self, call: &Call<'_>, deadline: Instant) -> Result<Reply, Failure> {
        // A connection closed while idle must show now, before a request is given to it.
        let link = &mut self.link;
        let open = poll_fn(|context| {
            link.drive(context);
            Poll::Ready(link.driver.is_some())
        });
        if !open.await {
            let detail = "the server closed the connection".to_owned();
            return Err(Failure { kind: ErrorKind::Closed, detail, effect: Effect::Unsent });
        }
        let mut exchange = pin!(self.exchange.run(call));
        let answered = poll_fn(|context| {
            // Before the driver, so that it finds the request; after it, because it may have brought the answer.
            for _ in 0..2 {
                if let Poll::Ready(answer) = exchange.as_mut().poll(context) {
                    return Poll::Ready(Some(answer));
                }
                link.drive(context);
            }
            link.poll_alarm(context, deadline).map(|()| None)
        });
        answered.await.unwrap_or_else(|| {
            Err(Failure { kind: ErrorKind::Timeout, detail: String::new(), effect: Effect::Unknown })
        })
    }

    fn body(&self) -> &[u8] {
        &self.exchange.body
    }

    fn body_bytes(&self) -> u64 {
        self.exchange.body_bytes
    }
}

impl Link {
    fn drive(&mut self, context: &mut Context<'_>) {
        // How it ended, the sender learns too.
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            self.driver = None;
        }
    }

    /// Ready from `deadline` on. The timer is set anew only when it rings too early, once a time-out's length instead
    /// of once a request.
    fn poll_alarm(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        while self.alarm.as_mut().poll(context).is_ready() {
            if self.alarm.deadline() >= deadline {
                return Poll::Ready(());
            }
            self.alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl Exchange {
    async fn run(&mut self, call: &Call<'_>) -> Result<Reply, Failure> {
        let failed =
            |kind, effect| move |error: hyper::Error| Failure { kind, detail: error.to_string(), effect };
        self.sender.ready().await.map_err(failed(ErrorKind::Closed, Effect::Unsent))?;
        let request = self.request(call)?;
        let answer = self.sender.send_request(request).await.map_err(|error| {
            let effect = if error.is_canceled() { Effect::Unsent } else { Effect::Unknown };
            failed(ErrorKind::Closed, effect)(error)
        })?;
        let status = answer.status();
        let is_problem = is_problem(answer.headers());
        let read = match (call, status) {
            (Call::Get { .. }, StatusCode::OK) if self.keep_bodies => usize::MAX,
            (_, StatusCode::OK) => 0,
            _ => KEPT_ERROR_BYTES,
        };
        self.read_body(answer.into_body(), read).await.map_err(failed(ErrorKind::Body, Effect::Unknown))?;
        let problem: Problem<'_> = serde_json::from_slice(&self.body).unwrap_or_default();
        // Whatever else is at the address answers 404 too, and would pass for an empty cache.
        let missed = status == StatusCode::NOT_FOUND && is_problem && problem.code == "not_found";
        match (call, status) {
            (Call::Get { .. }, StatusCode::OK) => Ok(Reply::Hit),
            (Call::Get { .. }, _) if missed => Ok(Reply::Miss),
            (Call::Delete { .. }, _) if missed => Ok(Reply::Done),
            (Call::Delete { .. }, StatusCode::OK | StatusCode::NO_CONTENT)
            | (
                Call::Put { .. } | Call::Post { .. },
                StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT,
            ) => Ok(Reply::Done),
            _ => Err(refusal(status, &problem)),
        }
    }

    async fn read_body(&mut self, mut body: Incoming, keep: usize) -> Result<(), hyper::Error> {
        self.body.clear();
        self.body_bytes = 0;
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data() {
                self.body_bytes += data.len() as u64;
                let room = keep.saturating_sub(self.body.len()).min(data.len());
                self.body.extend_from_slice(&data[..room]);
            }
        }
        Ok(())
    }

    fn request(&mut self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, Failure> {
        let (method, content_type, body) = match call {
            Call::Get { .. } => (Method::GET, None, Bytes::new()),
            Call::Delete { .. } => (Method::DELETE, None, Bytes::new()),
            Call::Put { value, .. } => (Method::PUT, Some("application/octet-stream"), value.clone()),
            Call::Post { key, value } => (Method::POST, Some("application/json"), self.document(key, value)),
        };
        let uri = self.uri(call);
        let request = PathAndQuery::from_maybe_shared(uri).map_err(http::Error::from).and_then(|path| {
            let request = Request::builder().method(method).uri(Uri::from(path)).header(HOST, &self.host);
            let request = match content_type {
                Some(name) => request.header(CONTENT_TYPE, HeaderValue::from_static(name)),
                None => request,
            };
            request.body(Full::new(body))
        });
        // Keys are escaped, so this is an answer for a key that is too long for a URL.
        request.map_err(|error| Failure {
            kind: ErrorKind::Closed,
            detail: error.to_string(),
            effect: Effect::Unsent,
        })
    }

    fn uri(&mut self, call: &Call<'_>) -> Bytes {
        let (key, query) = match call {
            Call::Post { .. } => return Bytes::from_static(b"/data"),
            Call::Get { key } => (key, "?raw"),
            Call::Put { key, .. } | Call::Delete { key } => (key, ""),
        };
        self.buffer.put_slice(b"/data/");
        for piece in utf8_percent_encode(key, ESCAPED) {
            self.buffer.put_slice(piece.as_bytes());
        }
        self.buffer.put_slice(query.as_bytes());
        if let (Call::Put { .. }, Some(ttl_s)) = (call, self.ttl_s) {
            self.buffer.put_slice(format!("?ttl={ttl_s}").as_bytes());
        }
        // Once hyper has let go of it, the buffer takes its memory back for the next request.
        self.buffer.split().freeze()
    }

    fn document(&self, key: &str, value: &Bytes) -> Bytes {
        let mut document = BytesMut::with_capacity(key.len() + value.len() + 64);
        document.put_slice(b"{\"key\":");
        document.put_slice(serde_json::Value::from(key).to_string().as_bytes());
        document.put_slice(b",\"value\":\"");
        document.put_slice(value);
        document.put_slice(b"\"");
        if let Some(ttl_s) = self.ttl_s {
            document.put_slice(format!(",\"ttl\":{ttl_s}").as_bytes());
        }
        document.put_slice(b"}");
        document.freeze()
    }
}

/// What is read of an error's answer, an RFC 9457 problem.
#[derive(Default, Deserialize)]
struct Problem<'a> {
    #[serde(borrow, default)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    detail: Cow<'a, str>,
}

fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|found| found.as_bytes().starts_with(b"application/problem+json"))
}

fn refusal(status: StatusCode, problem: &Problem<'_>) -> Failure {
    let detail = match (status, &*problem.code) {
        (StatusCode::NOT_FOUND, "no_route") => {
            "the URL is not a master's; it may be an auxiliary's: name a master with --url"
        }
        (StatusCode::NOT_FOUND, "" | "not_found") => {
            "not a master's answer: see whether --url names a master"
        }
        _ => &*problem.detail,
    };
    let effect = if status.is_client_error() { Effect::None } else { Effect::Unknown };
    Failure { kind: ErrorKind::Status(status.as_u16()), detail: detail.to_owned(), effect }
}
