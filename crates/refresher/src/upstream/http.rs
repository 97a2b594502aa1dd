//! Upstreams over HTTP/1.1, a connection for each call: calls are minutes apart.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use annulus_protocol::dataset::Room;
use annulus_protocol::value::OCTET_STREAM;
use annulus_service::config::{DatasetSettings, HeaderSource};
use annulus_service::net::{Clock, Net};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HOST, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, LAST_MODIFIED, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{FetchError, Fetched, NoRoots, TlsRoots, Upstream, Validators};

/// What is read ahead of a body, headers included.
const READ_BUFFER_BYTES: usize = 64 * 1024;
/// A secret in a file is no larger.
const MAX_SECRET_BYTES: usize = 64 * 1024;
/// Validators that are longer are not kept.
const MAX_VALIDATOR_BYTES: usize = 1024;

/// Upstreams over HTTP, with TLS or without.
pub struct HttpUpstream<N> {
    net: N,
    clock: Arc<dyn Clock>,
    roots: Result<TlsRoots, NoRoots>,
}

/// A URL, taken apart.
#[derive(Debug)]
struct Target {
    is_tls: bool,
    host: String,
    port: u16,
    host_header: HeaderValue,
    path: String,
    authorization: Option<HeaderValue>,
}

impl<N: Net> HttpUpstream<N> {
    /// Where there are no roots, only an upstream with `https://` will say so.
    pub fn new(net: N, roots: Result<TlsRoots, NoRoots>) -> Self {
        let clock = net.clock();
        Self { net, clock, roots }
    }

    async fn ask(&self, dataset: &DatasetSettings, known: &Validators) -> Result<Fetched, FetchError> {
        let target = Target::parse(&dataset.url.0).map_err(|why| FetchError::new("connect", why))?;
        let request = target.request(dataset, known).await?;
        let connect = |error: std::io::Error| {
            let Target { host, port, .. } = &target;
            FetchError::new("connect", format!("cannot connect to {host}:{port}: {error}"))
        };
        let address = if target.host.contains(':') {
            format!("[{}]:{}", target.host, target.port)
        } else {
            format!("{}:{}", target.host, target.port)
        };
        let io = self.net.dial(&address).await.map_err(connect)?;
        if !target.is_tls {
            return self.exchange(io, request, dataset.max_bytes).await;
        }
        let roots = self.roots.as_ref().map_err(|error| FetchError::new("connect", error.to_string()))?;
        let name = ServerName::try_from(target.host.clone())
            .map_err(|_| FetchError::new("connect", format!("{} is no name of a server", target.host)))?;
        let io = TlsConnector::from(roots.config()).connect(name, io).await.map_err(connect)?;
        self.exchange(io, request, dataset.max_bytes).await
    }

    async fn exchange(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Empty<Bytes>>,
        max_bytes: usize,
    ) -> Result<Fetched, FetchError> {
        let broken = |error: hyper::Error| {
            FetchError::new("broken", format!("the answer of the upstream broke off: {error}"))
        };
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(READ_BUFFER_BYTES).handshake(TokioIo::new(io));
        let (mut sender, connection) = handshake.await.map_err(broken)?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            self.read(response, max_bytes).await
        };
        // Polled beside the exchange, so that the connection ends with it.
        tokio::pin!(exchange);
        let driven = async {
            let _ = connection.await;
            std::future::pending().await
        };
        tokio::select! {
            biased;
            fetched = &mut exchange => fetched,
            never = driven => never,
        }
    }

    async fn read(&self, response: Response<Incoming>, max_bytes: usize) -> Result<Fetched, FetchError> {
        let (head, mut body) = response.into_parts();
        match head.status {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(Fetched::Unchanged),
            status => return Err(self.refused(status, &head.headers)),
        }
        if let Some(encoding) = text(&head.headers, &CONTENT_ENCODING).filter(|coding| *coding != "identity")
        {
            let why = format!("the upstream sends the body as {encoding}, which was not asked for");
            return Err(FetchError::new("invalid", why));
        }
        let over = || FetchError::new("too_large", format!("the body is over max_bytes, {max_bytes} bytes"));
        let declared = text(&head.headers, &CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
        if declared.is_some_and(|length| length > max_bytes) {
            return Err(over());
        }
        // Where its length is not known there is room for the largest: what is not filled takes no memory.
        let mut whole = Room::new(declared.unwrap_or(max_bytes));
        while let Some(frame) = body.frame().await {
            let broken =
                |error| FetchError::new("broken", format!("the answer of the upstream broke off: {error}"));
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if whole.len() + data.len() > max_bytes {
                return Err(over());
            }
            whole.put(&data);
        }
        let content_type = text(&head.headers, &CONTENT_TYPE).unwrap_or(OCTET_STREAM).to_owned();
        let kept = |name| {
            text(&head.headers, &name).filter(|value| value.len() <= MAX_VALIDATOR_BYTES).map(str::to_owned)
        };
        let validators = Validators { etag: kept(ETAG), last_modified: kept(LAST_MODIFIED) };
        Ok(Fetched::Body { body: whole.freeze(), content_type, validators })
    }

    fn refused(&self, status: StatusCode, headers: &HeaderMap) -> FetchError {
        let place = text(headers, &LOCATION).filter(|_| status.is_redirection());
        let hint = place.map_or_else(String::new, |place| {
            // A query may hold a secret there, too.
            let place = place.split('?').next().unwrap_or_default();
            format!(", and points to {}: name that URL", place.escape_debug())
        });
        let text = format!("the upstream answers {status}{hint}");
        FetchError { retry_after: self.retry_after(headers), ..FetchError::new("status", text) }
    }

    /// Seconds, or a date (RFC 9110 §10.2.3).
    fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        let text = text(headers, &RETRY_AFTER)?;
        if let Ok(seconds) = text.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(date.saturating_sub(Duration::from_millis(self.clock.now_ms())))
    }
}

impl<N: Net> Upstream for HttpUpstream<N> {
    fn fetch<'a>(
        &'a self,
        dataset: &'a DatasetSettings,
        known: &'a Validators,
    ) -> BoxFuture<'a, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let fetched = tokio::time::timeout(dataset.timeout, self.ask(dataset, known)).await;
            fetched.unwrap_or_else(|_| {
                let why = format!("the upstream did not answer whole within {:?}", dataset.timeout);
                Err(FetchError::new("timeout", why))
            })
        })
    }
}

/// Whether a URL can be asked at all; the error shows nothing of it.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_url(url: &str) -> Result<(), String> {
    Target::parse(url).map(drop)
}

impl Target {
    fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("the url is none: {error}"))?;
        let parts = uri.into_parts();
        let is_tls = parts.scheme == Some(Scheme::HTTPS);
        let authority = parts.authority.filter(|authority| !authority.host().is_empty());
        let authority = authority.ok_or("the url names no host")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let without_user = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host_header = without_user.try_into().map_err(|_| "the url names no host")?;
        let path = parts.path_and_query.map_or_else(|| "/".to_owned(), |path| path.to_string());
        Ok(Self { is_tls, host, port, host_header, path, authorization: basic(&authority) })
    }

    async fn request(
        &self,
        dataset: &DatasetSettings,
        known: &Validators,
    ) -> Result<Request<Empty<Bytes>>, FetchError> {
        let wrong = |why: String| FetchError::new("headers", why);
        let mut request = Request::get(&self.path).body(Empty::new()).map_err(|e| wrong(e.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.host_header.clone());
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("annulus-refresher/", env!("CARGO_PKG_VERSION"))),
        );
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let conditions = [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)];
        for (name, value) in conditions {
            if let Some(value) = value.as_ref().and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        for (name, source) in &dataset.headers {
            let value = value(source).await.map_err(|why| wrong(format!("the header {name}: {why}")))?;
            let name = HeaderName::try_from(name).map_err(|error| wrong(error.to_string()))?;
            headers.insert(name, value);
        }
        Ok(request)
    }
}

/// User and password of a URL.
fn basic(authority: &Authority) -> Option<HeaderValue> {
    let (user, _) = authority.as_str().rsplit_once('@')?;
    let decoded = percent_encoding::percent_decode_str(user).collect::<Vec<u8>>();
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(decoded))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The value of a header; the error does not show it.
async fn value(source: &HeaderSource) -> Result<HeaderValue, String> {
    let text = match source {
        HeaderSource::Value(text) => text.clone(),
        HeaderSource::File { path, prefix } => {
            let path = path.clone();
            let reading = tokio::task::spawn_blocking(move || {
                std::fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))
            });
            let secret = reading.await.map_err(|error| error.to_string())??;
            if secret.len() > MAX_SECRET_BYTES {
                return Err("its file is too large".to_owned());
            }
            format!("{prefix}{}", secret.trim_end_matches(['\r', '\n']))
        }
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| "holds characters that no header may have")?;
    value.set_sensitive(true);
    Ok(value)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target = Target::parse("https://user:p%40ss@api.example.org/v1/latest?key=x").unwrap();
        assert_eq!((target.is_tls, target.host.as_str(), target.port), (true, "api.example.org", 443));
        assert_eq!(
            (target.host_header.to_str().unwrap(), target.path.as_str()),
            ("api.example.org", "/v1/latest?key=x")
        );
        let expected = format!("Basic {}", STANDARD.encode("user:p@ss"));
        assert_eq!(target.authorization.unwrap().to_str().unwrap(), expected);
        let plain = Target::parse("http://[::1]:8080").unwrap();
        assert_eq!((plain.host.as_str(), plain.port, plain.path.as_str()), ("::1", 8080, "/"));
        for url in ["http://", "/path", "http://a b/", "http:///x"] {
            let error = Target::parse(url).unwrap_err();
            assert!(error.starts_with("the url"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_secret_in_a_file_is_read_anew_each_time_and_shown_in_no_error() {
        let folder = std::env::temp_dir().join(format!("annulus-secret-{}", std::process::id()));
        let source = HeaderSource::File { path: folder.display().to_string(), prefix: "Bearer ".to_owned() };
        assert!(value(&source).await.unwrap_err().contains("cannot read"));
        for secret in ["one", "two"] {
            std::fs::write(&folder, format!("{secret}\n")).unwrap();
            assert_eq!(value(&source).await.unwrap().to_str().unwrap(), format!("Bearer {secret}"));
        }
        std::fs::write(&folder, "sec\nret").unwrap();
        assert!(!value(&source).await.unwrap_err().contains("ret"));
        std::fs::remove_file(&folder).unwrap();
    }
}
