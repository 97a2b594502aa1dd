//! The simulated network and time as the services' [`Net`].

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use annulus_service::net::{Clock, Listener, Net};
use parking_lot::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::wire::{ACCEPTER, ConnectionId, DIALLER, HostId, Side, Wire};

/// When simulations begin, by the clock of the wall: somewhen in 2027.
const EPOCH_US: u64 = 1_800_000_000_000_000;

/// The network of a run and its time. Clones are the same network.
#[derive(Clone)]
pub(super) struct Network {
    wire: Arc<Mutex<Wire>>,
    start: Instant,
}

impl Network {
    /// A network whose time begins now, on a runtime whose clock is paused.
    pub(super) fn new(seed: u64) -> Self {
        Self { wire: Arc::new(Mutex::new(Wire::new(seed))), start: Instant::now() }
    }

    /// How long the simulation has been running.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// What is on the network.
    pub(super) fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock()
    }

    fn now_us(&self) -> u64 {
        self.elapsed().as_micros() as u64
    }

    /// Starts a life of a host, whose clock is before the others' by so much.
    pub(super) fn start(&self, host: HostId, ahead_ms: u64) -> SimNet {
        let life = self.wire().start(host, self.now_us());
        let clock = SimClock { start: self.start, ahead_us: ahead_ms * 1000 };
        SimNet { network: self.clone(), host, life, clock: Arc::new(clock) }
    }

    /// Ends a life of a host.
    pub(super) fn stop(&self, host: HostId) {
        self.wire().stop(host, self.now_us());
    }

    /// Makes a link whole again, in one direction.
    pub(super) fn mend(&self, from: HostId, to: HostId) {
        self.wire().mend(from, to, self.now_us());
    }

    /// Lets everything that is sent arrive when it is due, until cancelled from outside.
    pub(super) async fn carry(self) {
        let mut due = pin!(tokio::time::sleep_until(self.start));
        poll_fn(|cx| {
            loop {
                let mut wire = self.wire();
                wire.deliver(self.now_us());
                let next_us = wire.next_us();
                wire.wait(next_us.unwrap_or(u64::MAX), cx.waker());
                drop(wire);
                let Some(next_us) = next_us else { return Poll::<()>::Pending };
                due.as_mut().reset(self.start + Duration::from_micros(next_us));
                if due.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
}

/// The simulated network as one life of a host sees it, with a clock that may be wrong.
#[derive(Clone)]
pub(super) struct SimNet {
    network: Network,
    host: HostId,
    life: u64,
    clock: Arc<SimClock>,
}

impl SimNet {
    /// Returns while this life goes on, and never after it: whatever a crash left of a program gets no further.
    pub(super) async fn while_alive(&self) {
        if !self.is_alive() {
            std::future::pending::<()>().await;
        }
    }

    /// How long the simulation has been running.
    pub(super) fn elapsed(&self) -> Duration {
        self.network.elapsed()
    }

    /// A time that no other host has. What concerns many hosts at once reaches them one after the other by it, always in the
    /// same order; the order in which tokio's channels wake those who wait differs from run to run.
    pub(super) fn own_latency(&self) -> Duration {
        Duration::from_millis(self.host as u64 + 1)
    }

    fn is_alive(&self) -> bool {
        self.network.wire().lives(self.host, self.life)
    }

    fn find(&self, address: &str) -> io::Result<(HostId, u16)> {
        let (host, port) = address.rsplit_once(':').ok_or(ErrorKind::InvalidInput)?;
        let port = port.parse().map_err(|_| ErrorKind::InvalidInput)?;
        let host = match host.parse() {
            Ok(address) => host_at(address).filter(|host| self.network.wire().has_host(*host)),
            Err(_) => self.network.wire().find_host(host),
        };
        Ok((host.ok_or(ErrorKind::NotFound)?, port))
    }
}

/// The address of a host, and the host of an address.
fn address_of(host: HostId) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, host as u8 + 1)
}

fn host_at(address: Ipv4Addr) -> Option<HostId> {
    usize::from(address.octets()[3]).checked_sub(1)
}

struct SimClock {
    start: Instant,
    ahead_us: u64,
}

impl Clock for SimClock {
    fn now_us(&self) -> u64 {
        EPOCH_US + self.start.elapsed().as_micros() as u64 + self.ahead_us
    }
}

impl Net for SimNet {
    type Io = SimStream;
    type Listener = SimListener;

    async fn bind(&self, address: &str) -> io::Result<SimListener> {
        self.while_alive().await;
        let port = address.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.ok_or(ErrorKind::InvalidInput)?;
        self.network.wire().listen(self.host, port);
        Ok(SimListener { net: self.clone(), port })
    }

    async fn dial(&self, address: &str) -> io::Result<SimStream> {
        self.while_alive().await;
        let (host, port) = self.find(address)?;
        let network = self.network.clone();
        let connection = network.wire().dial(self.host, host, port, network.now_us());
        // Given up where it is dropped before it is open.
        let stream = SimStream { network, connection, side: DIALLER };
        poll_fn(|cx| stream.network.wire().poll_open(connection, cx)).await?;
        Ok(stream)
    }

    async fn resolve(&self, address: &str) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = self.find(address)?;
        Ok(vec![SocketAddr::new(IpAddr::from(address_of(host)), port)])
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock) as Arc<dyn Clock>
    }
}

/// A simulated listening socket.
pub(super) struct SimListener {
    net: SimNet,
    port: u16,
}

impl Listener for SimListener {
    type Io = SimStream;
    type Accepted = SimStream;

    async fn accept(&mut self) -> SimStream {
        let SimNet { network, host, .. } = &self.net;
        self.net.while_alive().await;
        let connection = poll_fn(|cx| network.wire().poll_accept(*host, self.port, cx)).await;
        SimStream { network: network.clone(), connection, side: ACCEPTER }
    }

    fn open(accepted: SimStream) -> io::Result<SimStream> {
        Ok(accepted)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(IpAddr::from(address_of(self.net.host)), self.port))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        if self.net.is_alive() {
            let SimNet { network, host, .. } = &self.net;
            network.wire().unlisten(*host, self.port, network.now_us());
        }
    }
}

/// One end of a simulated connection.
pub(super) struct SimStream {
    network: Network,
    connection: ConnectionId,
    side: Side,
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.network.wire().poll_read(self.connection, self.side, buf, cx)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now_us = self.network.now_us();
        self.network.wire().poll_write(self.connection, self.side, bytes, now_us, cx)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.wire().shut(self.connection, self.side, self.network.now_us());
        Poll::Ready(Ok(()))
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.network.wire().close(self.connection, self.side, self.network.now_us());
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{sleep, timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Two hosts, and who carries what they send.
    struct Pair {
        network: Network,
        one: SimNet,
        two: SimNet,
    }

    impl Pair {
        fn new() -> Self {
            let network = Network::new(1);
            let hosts = ["one", "two"].map(|name| network.wire().add_host(name.to_owned()));
            let [one, two] = hosts.map(|host| network.start(host, 0));
            tokio::spawn(network.clone().carry());
            Self { network, one, two }
        }

        /// A connection from one to two.
        async fn connect(&self) -> (SimStream, SimStream) {
            let mut listener = self.two.bind("0.0.0.0:80").await.unwrap();
            let (dialled, accepted) = tokio::join!(self.one.dial("two:80"), listener.accept());
            (dialled.unwrap(), accepted)
        }
    }

    async fn read(stream: &mut SimStream) -> io::Result<String> {
        let mut bytes = [0; 16];
        let length = timeout(LONG, stream.read(&mut bytes)).await??;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_arrives_in_order_and_then_its_end() {
        let pair = Pair::new();
        let (mut one, mut two) = pair.connect().await;
        for number in 0..100 {
            one.write_all(format!("{number:02}").as_bytes()).await.unwrap();
        }
        one.shutdown().await.unwrap();
        let mut all = String::new();
        two.read_to_string(&mut all).await.unwrap();
        let expected: Vec<_> = (0..100).map(|number| format!("{number:02}")).collect();
        assert_eq!(all, expected.concat());
    }

    #[tokio::test(start_paused = true)]
    async fn who_dials_a_closed_port_or_over_a_cut_link_is_refused() {
        let pair = Pair::new();
        assert_eq!(pair.one.dial("two:80").await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        let _listener = pair.two.bind("0.0.0.0:80").await.unwrap();
        pair.network.wire().cut(pair.two.host, pair.one.host);
        assert_eq!(pair.one.dial("two:80").await.err().unwrap().kind(), ErrorKind::ConnectionRefused);
        pair.network.mend(pair.two.host, pair.one.host);
        assert!(pair.one.dial("two:80").await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn behind_what_was_lost_nothing_arrives_any_more_in_that_direction() {
        let pair = Pair::new();
        let (mut one, mut two) = pair.connect().await;
        pair.network.wire().cut(pair.one.host, pair.two.host);
        one.write_all(b"lost").await.unwrap();
        pair.network.mend(pair.one.host, pair.two.host);
        one.write_all(b"late").await.unwrap();
        two.write_all(b"back").await.unwrap();
        assert_eq!(read(&mut one).await.unwrap(), "back");
        assert_eq!(read(&mut two).await.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_arrives_when_it_is_released() {
        let pair = Pair::new();
        let (mut one, mut two) = pair.connect().await;
        one.write_all(b"a").await.unwrap();
        pair.network.wire().hold(pair.one.host, pair.two.host);
        one.write_all(b"b").await.unwrap();
        sleep(LONG / 2).await;
        pair.network.mend(pair.one.host, pair.two.host);
        let before = pair.network.elapsed();
        assert_eq!(read(&mut two).await.unwrap() + &read(&mut two).await.unwrap(), "ab");
        assert!(pair.network.elapsed() < before + Duration::from_millis(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_dies_closes_what_it_had_open_and_gets_no_further() {
        let pair = Pair::new();
        let (mut one, mut two) = pair.connect().await;
        pair.network.stop(pair.two.host);
        assert_eq!(read(&mut one).await.unwrap(), "");
        assert!(two.write_all(b"from beyond").await.is_err());
        assert!(timeout(LONG, pair.two.dial("one:80")).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_is_off_answers_when_it_is_on_again() {
        let pair = Pair::new();
        let (mut one, _two) = pair.connect().await;
        pair.network.stop(pair.two.host);
        one.write_all(b"to the dead").await.unwrap();
        assert!(timeout(LONG, pair.one.dial("two:80")).await.is_err());
        pair.network.start(pair.two.host, 0);
        sleep(LONG).await;
        assert_eq!(read(&mut one).await.unwrap(), "");
        assert!(timeout(LONG, one.write_all(b"again")).await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_read_when_a_connection_is_closed_resets_it() {
        let pair = Pair::new();
        let (mut one, two) = pair.connect().await;
        one.write_all(b"unread").await.unwrap();
        sleep(LONG).await;
        drop(two);
        assert_eq!(read(&mut one).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
