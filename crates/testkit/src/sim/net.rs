//! Turmoil's network and time as the services' [`Net`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use annulus_service::net::{Clock, Listener, Net};

/// The simulated network as one host sees it, with a clock that may be wrong.
#[derive(Clone)]
pub struct SimNet {
    clock: Arc<SimClock>,
}

impl SimNet {
    /// A host whose clock is `ahead_ms` before the others'.
    pub fn new(ahead_ms: u64) -> Self {
        Self { clock: Arc::new(SimClock { ahead_ms }) }
    }
}

struct SimClock {
    ahead_ms: u64,
}

impl Clock for SimClock {
    fn now_us(&self) -> u64 {
        turmoil::since_epoch().unwrap_or_default().as_micros() as u64 + self.ahead_ms * 1000
    }
}

impl Net for SimNet {
    type Io = turmoil::net::TcpStream;
    type Listener = SimListener;

    async fn bind(&self, address: &str) -> io::Result<SimListener> {
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        let port: u16 = port.ok_or(io::ErrorKind::InvalidInput)?;
        let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        Ok(SimListener(turmoil::net::TcpListener::bind((any, port)).await?))
    }

    async fn dial(&self, address: &str) -> io::Result<Self::Io> {
        turmoil::net::TcpStream::connect(address).await
    }

    async fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = address.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
        let port = port.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(vec![SocketAddr::new(turmoil::lookup(host), port)])
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }
}

/// A simulated listening socket.
pub struct SimListener(turmoil::net::TcpListener);

impl Listener for SimListener {
    type Io = turmoil::net::TcpStream;
    type Accepted = turmoil::net::TcpStream;

    async fn accept(&mut self) -> Self::Io {
        loop {
            if let Ok((stream, _)) = self.0.accept().await {
                return stream;
            }
        }
    }

    fn open(accepted: Self::Io) -> io::Result<Self::Io> {
        Ok(accepted)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
