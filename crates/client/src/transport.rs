//! One call: which master it goes to, and what becomes of it when that master is away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};
use reqwest::Url;

use crate::Error;
use crate::answer::Answer;

/// The masters and the connections to them.
#[derive(Debug)]
pub(crate) struct Transport {
    http: reqwest::Client,
    masters: Vec<Url>,
    /// The master that answered last.
    preferred: AtomicUsize,
    share: Duration,
    max_answer_bytes: usize,
}

/// A request, not yet bound to a master.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Without the leading slash, escaped.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether another master may be asked although this one may have done it already.
    pub(crate) repeatable: bool,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeatable: true,
        }
    }
}

/// Why one master gave no answer.
enum Failure {
    Http(reqwest::Error),
    Final(Error),
}

impl Transport {
    pub(crate) fn new(http: reqwest::Client, masters: Vec<Url>, share: Duration, max: usize) -> Self {
        Self { http, masters, preferred: AtomicUsize::new(0), share, max_answer_bytes: max }
    }

    /// Asks the master that answered last, and the others in turn where that is safe: always where no connection came
    /// about, and for a repeatable call also where one broke or hung.
    pub(crate) async fn send(&self, call: &Call) -> Result<Answer, Error> {
        let first = self.preferred.load(Ordering::Relaxed);
        let mut turn = 0;
        loop {
            let index = (first + turn) % self.masters.len();
            turn += 1;
            match self.ask(&self.masters[index], call).await {
                Ok(answer) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Http(error)) => {
                    let safe = call.repeatable || error.is_connect();
                    if turn >= self.masters.len() || !safe {
                        return Err(self.explain(&self.masters[index], turn, &error));
                    }
                }
            }
        }
    }

    async fn ask(&self, master: &Url, call: &Call) -> Result<Answer, Failure> {
        let url = master.join(&call.path).map_err(|error| {
            Failure::Final(Error::Url { url: format!("{master}{}", call.path), why: error.to_string() })
        })?;
        let request = self.http.request(call.method.clone(), url).headers(call.headers.clone());
        let mut response = request.body(call.body.clone()).send().await.map_err(Failure::Http)?;
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let bytes = self.read(response).await?;
        Ok(Answer { url: shown(master), status, headers, bytes })
    }

    async fn read(&self, mut response: reqwest::Response) -> Result<Bytes, Failure> {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(Failure::Http)? {
            if bytes.len() + chunk.len() > self.max_answer_bytes {
                return Err(Failure::Final(Error::TooLarge { max: self.max_answer_bytes }));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }

    /// The error of a call whose last failure was at `master`, after `asked` masters.
    fn explain(&self, master: &Url, asked: usize, error: &reqwest::Error) -> Error {
        if error.is_timeout() && !error.is_connect() {
            return Error::Timeout { url: shown(master), after: self.share };
        }
        let urls = if asked == 1 {
            shown(master)
        } else {
            self.masters.iter().map(shown).collect::<Vec<_>>().join(", ")
        };
        let reason = if error.is_timeout() { "no connection in time".to_owned() } else { deepest(error) };
        Error::Unreachable { urls, reason }
    }
}

/// The URL as its user wrote it, more or less.
fn shown(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// What the system said: the outer errors only repeat the URL.
fn deepest(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
