//! One HTTP/1.1 connection, from accept to close.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use http::header::{CONNECTION, HeaderValue};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tower::Service as _;

use super::activity::{Activity, Phase};
use super::watched_io::WatchedIo;

/// The most that a request's header may take, and what is read ahead of a body.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// What a client over the connection limit gets.
pub(super) const AT_LIMIT: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
content-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 184\r\n\r\n\
{\"type\":\"urn:annulus:problem:overloaded\",\"title\":\"The server is at a limit\",\"status\":503,\
\"detail\":\"too many connections; try again or raise server.max_connections\",\"code\":\"overloaded\"}";

/// Serves requests until either side closes.
///
/// `head` is what has come of the first header. It is gathered in a buffer of its own size before hyper, whose buffers take some 40 KiB, gets the
/// connection: clients that connect and send nothing, or half a header, cost next to nothing.
pub(super) async fn serve<I>(
    mut io: I,
    mut head: Vec<u8>,
    app: Router,
    activity: &Arc<Activity>,
    closing: &AtomicBool,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    read_head(&mut io, &mut head).await;
    Box::pin(serve_http(io, head, app, activity, closing)).await;
}

/// Reads to the end of the first header, or as far as it goes.
async fn read_head<I: AsyncRead + Unpin>(io: &mut I, head: &mut Vec<u8>) {
    let mut seen = 0;
    while !head.is_empty() && head.len() < MAX_BUFFER_BYTES {
        if head[seen..].windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
        seen = head.len().saturating_sub(3);
        // At the end of the stream, or after an error, hyper finds out the same.
        if !matches!(io.read_buf(head).await, Ok(1..)) {
            break;
        }
    }
}

async fn serve_http<I>(io: I, head: Vec<u8>, app: Router, activity: &Arc<Activity>, closing: &AtomicBool)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(|request: http::Request<Incoming>| {
        activity.enter(Phase::Handling);
        Answer { inner: app.clone().call(request.map(Body::new)), activity, closing }
    });
    let io = TokioIo::new(WatchedIo::new(io, head, Arc::clone(activity)));
    let mut connection = http1::Builder::new()
        // The sweep times headers out; hyper's own timer would cost one allocation a request.
        .header_read_timeout(None)
        .half_close(true)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(io, service);
    if poll_fn(|cx| connection.poll_without_shutdown(cx)).await.is_ok() {
        activity.enter(Phase::Lingering);
        linger(connection.into_parts().io.into_inner().into_inner()).await;
    }
}

/// The router's answer, noted in the connection's activity. A named type, because hyper takes the socket back only from
/// services whose futures can move.
struct Answer<'a> {
    inner: RouteFuture<Infallible>,
    activity: &'a Activity,
    closing: &'a AtomicBool,
}

impl Future for Answer<'_> {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = ready!(Pin::new(&mut self.inner).poll(cx))?;
        self.activity.enter(Phase::Writing);
        if self.closing.load(Ordering::Acquire) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}

/// Says that no more will be said and reads what still comes, until the sweep ends it: closing a socket with unread
/// bytes resets the connection and may take the answer away from the client (RFC 9112 §9.6).
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(mut io: I) {
    if io.shutdown().await.is_err() {
        return;
    }
    let mut sink = vec![0_u8; 4096];
    while matches!(io.read(&mut sink).await, Ok(n) if n > 0) {}
}

/// Tells a connection that it is over the limit, without reading it.
pub(super) async fn refuse<I: AsyncWrite + Unpin>(mut io: I, answer: &'static [u8]) {
    // A fresh socket's buffer takes this at once; there is nobody to tell if it does not.
    let _ = io.write_all(answer).await;
    let _ = io.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_at_the_limit_has_its_own_length() {
        let text = std::str::from_utf8(AT_LIMIT).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        let problem: annulus_protocol::Problem = serde_json::from_str(body).unwrap();
        assert_eq!(problem.code, annulus_protocol::ErrorCode::Overloaded);
    }
}
