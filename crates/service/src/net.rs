//! The one seam to the world: how to listen, how to dial, what time it is.
//!
//! A node is generic over [`Net`] where it opens sockets and holds an `Arc<dyn Clock>` where it asks the time, so that
//! a simulation can stand in for both.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long to wait before accepting again when the process is out of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// How long a connection is silent before the system asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Tells the time of one node: it never steps, so a jump of the machine's wall clock expires nothing.
pub trait Clock: Send + Sync + 'static {
    /// Microseconds since the Unix epoch, never falling.
    fn now_us(&self) -> u64;

    /// Milliseconds since the Unix epoch, never falling.
    fn now_ms(&self) -> u64 {
        self.now_us() / 1000
    }
}

/// The wall clock as it was when the node started, carried on by the monotonic clock.
#[derive(Debug, Clone)]
pub struct SystemClock {
    started: Instant,
    started_unix_us: u64,
}

impl SystemClock {
    /// Reads both clocks once.
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is handed")]
    pub fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_unix_us: unix.as_micros() as u64 }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now_us(&self) -> u64 {
        self.started_unix_us + self.started.elapsed().as_micros() as u64
    }
}

/// A listening socket.
pub trait Listener: Send + 'static {
    /// An open connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// An accepted connection on its way to the worker that will serve it.
    type Accepted: Send + 'static;

    /// Waits for the next connection. Errors that concern one connection only are retried inside.
    fn accept(&mut self) -> impl Future<Output = Self::Accepted> + Send;

    /// Opens an accepted connection on the runtime of the caller, which serves it from then on.
    ///
    /// # Errors
    /// What the operating system says.
    fn open(accepted: Self::Accepted) -> io::Result<Self::Io>;

    /// The address that it is bound to, with the real port where 0 was asked for.
    ///
    /// # Errors
    /// What the operating system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// How a node reaches others and is reached.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connection dialled.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A listening socket.
    type Listener: Listener;

    /// Listens on `host:port`; port 0 lets the system choose.
    ///
    /// # Errors
    /// What the operating system says.
    fn bind(&self, address: &str) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// Connects to `host:port`.
    ///
    /// # Errors
    /// What the resolver or the operating system says.
    fn dial(&self, address: &str) -> impl Future<Output = io::Result<Self::Io>> + Send;

    /// The addresses behind `host:port`, for who has to look at them before it dials one. A network without names takes
    /// addresses only.
    ///
    /// # Errors
    /// What the resolver says.
    fn resolve(&self, address: &str) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        let literal = address.parse().map(|address| vec![address]);
        std::future::ready(literal.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error)))
    }

    /// The time of this node.
    fn clock(&self) -> Arc<dyn Clock>;
}

/// The real network and the real time.
#[derive(Clone)]
pub struct SystemNet {
    clock: Arc<dyn Clock>,
}

impl SystemNet {
    /// The system's sockets and a fresh [`SystemClock`].
    pub fn new() -> Self {
        Self { clock: Arc::new(SystemClock::new()) }
    }
}

impl Default for SystemNet {
    fn default() -> Self {
        Self::new()
    }
}

impl Net for SystemNet {
    type Io = TcpStream;
    type Listener = SystemListener;

    async fn bind(&self, address: &str) -> io::Result<SystemListener> {
        let mut last =
            io::Error::new(io::ErrorKind::InvalidInput, format!("{address} resolves to no address"));
        for resolved in tokio::net::lookup_host(address).await? {
            match listen(resolved) {
                Ok(listener) => return Ok(SystemListener(listener)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn dial(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(address).await?.collect())
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A node that was killed must be able to come back to its port at once.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A TCP listener of the system.
#[derive(Debug)]
pub struct SystemListener(TcpListener);

impl Listener for SystemListener {
    type Io = TcpStream;
    type Accepted = std::net::TcpStream;

    async fn accept(&mut self) -> std::net::TcpStream {
        loop {
            match self.0.accept().await {
                Ok((stream, _)) => {
                    // Without it small answers wait for the peer's delayed acknowledgement.
                    if stream.set_nodelay(true).is_ok()
                        && set_keepalive(&stream).is_ok()
                        && let Ok(stream) = stream.into_std()
                    {
                        return stream;
                    }
                }
                Err(error) if is_per_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn open(accepted: std::net::TcpStream) -> io::Result<TcpStream> {
        TcpStream::from_std(accepted)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A peer that vanished without a word is noticed, also where its connection may stay idle for ever.
fn set_keepalive(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

fn is_per_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
