//! A cache of one `HashMap` behind the REST interface's routes, with faults on demand.

pub(crate) mod memcached;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What goes wrong, and on which GET of a value that was overwritten, or on which request. 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// Every so many GETs answer with the value before the last one.
    pub(crate) stale_every: u64,
    /// Every so many GETs answer with the last byte changed.
    pub(crate) corrupt_every: u64,
    /// Every so many GETs answer with another key's value.
    pub(crate) swap_every: u64,
    /// Every so many GETs answer 404 whatever there is.
    pub(crate) forget_every: u64,
    /// Every so many requests answer 503.
    pub(crate) refuse_every: u64,
    /// The values of a get come in the order of their keys turned round, and in small pieces.
    pub(crate) awkward: bool,
    /// From this request on, everything waits until so much time has passed.
    pub(crate) stall: Option<(u64, Duration)>,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    values: Mutex<HashMap<String, Vec<Bytes>>>,
    pub(crate) faults: Faults,
    requests: AtomicU64,
    gets: AtomicU64,
    /// Held during the stall, waited for by all requests.
    stalled: Arc<tokio::sync::Mutex<()>>,
}

impl Cache {
    pub(crate) fn len(&self) -> usize {
        self.values.lock().len()
    }

    pub(crate) fn value(&self, key: &str) -> Option<Bytes> {
        self.values.lock().get(key)?.last().cloned()
    }

    /// The answer instead of the usual one, where there is a fault.
    async fn admit(&self) -> Option<Response> {
        self.refuses().await.then(|| {
            let problem = r#"{"type":"about:blank","status":503,"detail":"no owner answers"}"#;
            (StatusCode::SERVICE_UNAVAILABLE, [(CONTENT_TYPE, "application/problem+json")], problem)
                .into_response()
        })
    }

    /// Counts a request, which may have to wait; whether it is to be refused.
    pub(crate) async fn refuses(&self) -> bool {
        let request = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some((at, time)) = self.faults.stall {
            let stalled = self.stalled.clone().lock_owned().await;
            if request == at {
                // Its own task, because a client that gives up ends the request's.
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    drop(stalled);
                });
                drop(self.stalled.lock().await);
            }
        }
        hits(self.faults.refuse_every, request)
    }

    pub(crate) fn store(&self, key: String, value: Bytes) {
        let mut values = self.values.lock();
        let versions = values.entry(key).or_default();
        versions.push(value);
        if versions.len() > 2 {
            versions.remove(0);
        }
    }

    pub(crate) fn remove(&self, key: &str) -> bool {
        self.values.lock().remove(key).is_some()
    }

    pub(crate) fn read(&self, key: &str) -> Option<Bytes> {
        let get = self.gets.fetch_add(1, Ordering::Relaxed) + 1;
        let values = self.values.lock();
        let versions = values.get(key).filter(|_| !hits(self.faults.forget_every, get))?;
        let last = versions.last()?;
        if hits(self.faults.stale_every, get) {
            return versions.first().cloned();
        }
        if hits(self.faults.swap_every, get) {
            return values.iter().find(|(other, _)| *other != key)?.1.last().cloned();
        }
        if hits(self.faults.corrupt_every, get) {
            let mut damaged = last.to_vec();
            *damaged.last_mut()? ^= 1;
            return Some(damaged.into());
        }
        Some(last.clone())
    }
}

fn hits(every: u64, number: u64) -> bool {
    every > 0 && number.is_multiple_of(every)
}

#[derive(Deserialize)]
struct Document {
    key: String,
    value: String,
}

/// A miss as a master says it.
fn no_entry() -> Response {
    let problem = r#"{"type":"about:blank","title":"No such entry","status":404,"code":"not_found"}"#;
    (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "application/problem+json")], problem).into_response()
}

async fn read(State(cache): State<Arc<Cache>>, Path(key): Path<String>) -> Response {
    match cache.admit().await {
        Some(fault) => fault,
        None => cache.read(&key).map_or_else(no_entry, IntoResponse::into_response),
    }
}

async fn put(State(cache): State<Arc<Cache>>, Path(key): Path<String>, value: Bytes) -> Response {
    if let Some(fault) = cache.admit().await {
        return fault;
    }
    cache.store(key, value);
    StatusCode::OK.into_response()
}

async fn store(State(cache): State<Arc<Cache>>, Json(Document { key, value }): Json<Document>) -> Response {
    if let Some(fault) = cache.admit().await {
        return fault;
    }
    cache.store(key, value.into());
    StatusCode::OK.into_response()
}

async fn delete(State(cache): State<Arc<Cache>>, Path(key): Path<String>) -> Response {
    match cache.admit().await {
        Some(fault) => fault,
        None if cache.remove(&key) => StatusCode::OK.into_response(),
        None => no_entry(),
    }
}

/// Answers each request with `answer` as it stands, and closes the connection after it.
pub(crate) async fn serve_and_close(answer: String) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let answer = answer.clone();
            tokio::spawn(async move {
                // The requests are short enough to come in one piece.
                let read = stream.read(&mut [0; 4096]).await;
                if read.is_ok_and(|bytes| bytes > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    address
}

/// Starts a cache on a free port of the loopback; it ends with the runtime.
pub(crate) async fn serve(faults: Faults) -> (SocketAddr, Arc<Cache>) {
    let cache = Arc::new(Cache { faults, ..Cache::default() });
    let router = Router::new()
        .route("/data", post(store))
        .route("/data/{key}", get(read).put(put).delete(delete))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(cache.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let address = listener.local_addr().expect("a bound listener has an address");
    // Without this the kernel would hold small answers back.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).expect("a TCP stream takes the option"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, cache)
}
