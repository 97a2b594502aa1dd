//! Answers that are sent bit by bit, for as long as the client likes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use annulus_service::admin::Readiness;
use annulus_service::config::Settings;
use annulus_service::{Doors, Listener as _, Net as _, Server, SystemNet, Workers};
use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

const LIMIT: Duration = Duration::from_secs(60);
const WRITE_TIMEOUT: Duration = Duration::from_millis(300);
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// A body whose pieces come from a task.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// A server whose only route sends pieces of this size for ever, with a pause after each.
async fn start(piece: usize, pause: Duration) -> (SocketAddr, DropGuard) {
    let mut settings = Settings::default().server;
    settings.write_timeout = WRITE_TIMEOUT;
    settings.idle_timeout = IDLE_TIMEOUT;
    let net = SystemNet::new();
    let listener = net.bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server =
        Server::new(settings, net.clock(), Workers::ambient(), &prometheus::Registry::new()).unwrap();
    let stream = async move || {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            while sender.send(vec![b'x'; piece].into()).await.is_ok() {
                sleep(pause).await;
            }
        });
        Body::new(Pieces(receiver))
    };
    let app = Router::new().route("/", get(stream));
    let shutdown = CancellationToken::new();
    let doors = Doors::http(listener, 1, |_| app.clone());
    tokio::spawn(server.run(doors, Readiness::default(), shutdown.clone()));
    (address, shutdown.drop_guard())
}

async fn ask(address: SocketAddr) -> TcpStream {
    let mut io = TcpStream::connect(address).await.unwrap();
    io.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    io
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_by_the_limit_on_writing() {
    let (address, _guard) = start(64 << 10, Duration::ZERO).await;
    let mut stuck = ask(address).await;
    // The kernels' buffers fill, and then nothing moves; what the server does to the connection shows in what is left.
    sleep(4 * WRITE_TIMEOUT).await;
    let mut rest = Vec::new();
    let ended = timeout(LIMIT, stuck.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the server still sends, after {} bytes", rest.len());
}

#[tokio::test]
async fn a_client_that_takes_everything_is_served_for_as_long_as_it_likes() {
    let (address, _guard) = start(1, IDLE_TIMEOUT / 4).await;
    let mut quick = ask(address).await;
    let start = Instant::now();
    let mut buffer = [0; 1024];
    while start.elapsed() < 3 * IDLE_TIMEOUT {
        let read = timeout(LIMIT, quick.read(&mut buffer)).await.expect("in time").expect("a byte");
        assert!(read > 0, "closed after {:?}", start.elapsed());
    }
}
