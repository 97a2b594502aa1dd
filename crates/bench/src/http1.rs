//! HTTP/1.1: one keep-alive connection, driven by the task that uses it, so that a request costs no hand-over between
//! tasks.

use std::borrow::Cow;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use crate::alarm::Alarm;
use crate::batch::{Batch, Found};
use crate::clock::{self, Instant};
use crate::interface::{Interface, Said};
use crate::parse::Url;
use crate::protocol::{Call, Connection, Effect, ErrorKind, Failure, Operation, Options};

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
    alarm: Alarm,
}

struct Exchange {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
    interface: Interface,
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
            interface: options.interface,
            ttl_s: options.ttl_s,
            keep_bodies: options.keep_bodies,
            buffer: BytesMut::new(),
            body: Vec::new(),
            body_bytes: 0,
        };
        let link = Link { driver: Some(Box::pin(driver)), alarm: Alarm::new(deadline) };
        Ok(Self { link, exchange })
    }

    async fn exchange(&mut self, batch: &mut Batch, deadline: Instant) -> Result<(), Failure> {
        for request in 0..batch.len() {
            let answer = self.call(&batch.call(request), deadline).await;
            let outcome = match answer {
                Ok(said) => {
                    if said == Said::Hit {
                        batch.found_only(request, self.exchange.found());
                    }
                    Ok(())
                }
                Err(failure) if matches!(failure.kind, ErrorKind::Status(_)) => Err(failure),
                Err(failure) => return Err(failure),
            };
            batch.answered(request, outcome, clock::now());
        }
        Ok(())
    }
}

impl Http1 {
    /// Makes one request and reads its answer to the end. After a failure other than [`ErrorKind::Status`] the
    /// connection must be dropped.
    async fn call(&mut self, call: &Call<'_>, deadline: Instant) -> Result<Said, Failure> {
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
            link.alarm.poll(context, deadline).map(|()| None)
        });
        answered.await.unwrap_or_else(|| {
            Err(Failure { kind: ErrorKind::Timeout, detail: String::new(), effect: Effect::Unknown })
        })
    }
}

impl Link {
    fn drive(&mut self, context: &mut Context<'_>) {
        // How it ended, the sender learns too.
        if self.driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
            self.driver = None;
        }
    }
}

impl Exchange {
    async fn run(&mut self, call: &Call<'_>) -> Result<Said, Failure> {
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
        let operation = call.operation();
        let read = match status {
            StatusCode::OK => self.interface.kept_bytes(operation, self.keep_bodies),
            _ => KEPT_ERROR_BYTES,
        };
        self.read_body(answer.into_body(), read).await.map_err(failed(ErrorKind::Body, Effect::Unknown))?;
        if status == StatusCode::OK {
            return self.success(operation);
        }
        let problem: Problem<'_> = serde_json::from_slice(&self.body).unwrap_or_default();
        // Whatever else is at the address answers 404 too, and would pass for an empty cache.
        let missed = status == StatusCode::NOT_FOUND && is_problem && problem.code == "not_found";
        match (operation, status) {
            (Operation::Get, _) if missed => Ok(Said::Miss),
            (Operation::Delete, _) if missed => Ok(Said::Done),
            (Operation::Delete, StatusCode::NO_CONTENT)
            | (Operation::Set, StatusCode::CREATED | StatusCode::NO_CONTENT) => Ok(Said::Done),
            _ => Err(refusal(status, &problem)),
        }
    }

    /// What an answer of 200 says.
    fn success(&mut self, operation: Operation) -> Result<Said, Failure> {
        let mut said = self.interface.read(operation, &self.body);
        if said == Said::Hit && self.keep_bodies {
            match self.interface.value(&self.body) {
                Some(Cow::Borrowed(_)) => {}
                Some(Cow::Owned(value)) => self.body = value,
                None => said = Said::Failed,
            }
        }
        if said == Said::Failed {
            let body = &self.body[..self.body.len().min(KEPT_ERROR_BYTES)];
            let detail = format!("it says {}", String::from_utf8_lossy(body));
            return Err(Failure { kind: ErrorKind::Status(200), detail, effect: Effect::Unknown });
        }
        Ok(said)
    }

    /// The value that came last.
    fn found(&self) -> Found<'_> {
        Found { body: &self.body, bytes: self.body_bytes, flags: None }
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
        let parts = self.interface.request(call, self.ttl_s, &mut self.buffer);
        let path = PathAndQuery::from_maybe_shared(parts.path).map_err(http::Error::from);
        let request = path.and_then(|path| {
            let request =
                Request::builder().method(parts.method).uri(Uri::from(path)).header(HOST, &self.host);
            let request = match parts.content_type {
                Some(name) => request.header(CONTENT_TYPE, HeaderValue::from_static(name)),
                None => request,
            };
            request.body(Full::new(parts.body))
        });
        // Keys are escaped, so this is an answer for a key that is too long for a URL.
        request.map_err(|error| Failure {
            kind: ErrorKind::Closed,
            detail: error.to_string(),
            effect: Effect::Unsent,
        })
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
