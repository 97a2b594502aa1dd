//! What each fault of the proxy does to a client and an echo server.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_testkit::{Direction, FaultProxy, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// When a test gives up; nothing takes that long.
const LIMIT: Duration = Duration::from_secs(20);
/// Longer than any test runs.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

/// Sends back what it gets.
struct Echo {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    resets: Arc<AtomicU64>,
}

impl Echo {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, resets) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let echo = Self { address, accepted: Arc::clone(&accepted), resets: Arc::clone(&resets) };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let resets = Arc::clone(&resets);
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    match tokio::io::copy(&mut from, &mut to).await {
                        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                            resets.fetch_add(1, Ordering::SeqCst);
                        }
                        _ => drop(to.shutdown().await),
                    }
                });
            }
        });
        echo
    }
}

struct Client(TcpStream);

impl Client {
    async fn connect(proxy: &FaultProxy) -> Self {
        Self(TcpStream::connect(proxy.address()).await.unwrap())
    }

    /// Connects and hears an echo, so that the connection is known to reach the server.
    async fn connected(proxy: &FaultProxy) -> Self {
        let mut client = Self::connect(proxy).await;
        client.send("hello").await;
        client.hears("hello").await;
        client
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hears(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        timeout(LIMIT, self.0.read_exact(&mut heard)).await.expect("an echo comes").unwrap();
        assert_eq!(heard, text.as_bytes());
    }

    /// What is read where no bytes come any more.
    async fn end(&mut self) -> io::Result<usize> {
        timeout(LIMIT, self.0.read(&mut [0; 1])).await.expect("the connection ends")
    }

    async fn is_reset(&mut self) {
        assert_eq!(self.end().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

async fn echo_and_proxy() -> (Echo, FaultProxy) {
    let echo = Echo::start().await;
    let proxy = FaultProxy::start(echo.address).await.unwrap();
    (echo, proxy)
}

/// Waits until the proxy has read so many bytes from clients.
async fn received(proxy: &FaultProxy, bytes: u64) {
    let received = async || proxy.counts().to_server.received == bytes;
    eventually("the proxy has what was sent", LIMIT, received).await;
}

#[tokio::test]
async fn bytes_and_ends_cross_both_ways_and_are_counted() {
    let (_echo, proxy) = echo_and_proxy().await;
    let mut client = Client::connected(&proxy).await;
    assert_eq!((proxy.counts().accepted, proxy.counts().open), (1, 1));
    client.send("last words").await;
    client.0.shutdown().await.unwrap();
    client.hears("last words").await;
    assert_eq!(client.end().await.unwrap(), 0);
    eventually("the connection is over", LIMIT, async || proxy.counts().open == 0).await;
    let counts = proxy.counts();
    assert_eq!((counts.to_server.received, counts.to_server.delivered), (15, 15));
    assert_eq!((counts.to_client.received, counts.to_client.delivered), (15, 15));
}

#[tokio::test]
async fn a_cut_towards_the_server_holds_requests_until_it_heals() {
    let (_echo, proxy) = echo_and_proxy().await;
    let mut old = Client::connected(&proxy).await;
    proxy.cut(Direction::ToServer);
    let mut new = Client::connect(&proxy).await;
    old.send("from old").await;
    new.send("from new").await;
    received(&proxy, 21).await;
    assert_eq!(proxy.counts().to_server.delivered, 5);
    proxy.heal();
    old.hears("from old").await;
    new.hears("from new").await;
}

#[tokio::test]
async fn a_cut_towards_the_client_holds_answers_only() {
    let (_echo, proxy) = echo_and_proxy().await;
    let mut client = Client::connected(&proxy).await;
    proxy.cut(Direction::ToClient);
    client.send("heard").await;
    client.0.shutdown().await.unwrap();
    let answered = async || proxy.counts().to_client.received == 10;
    eventually("the server has answered", LIMIT, answered).await;
    assert_eq!(proxy.counts().to_client.delivered, 5);
    assert_eq!(proxy.counts().open, 1);
    proxy.heal();
    client.hears("heard").await;
    assert_eq!(client.end().await.unwrap(), 0);
}

#[tokio::test]
async fn a_cut_of_one_process_spares_the_others() {
    let (_echo, proxy) = echo_and_proxy().await;
    let mut old = Client::connected(&proxy).await;
    let mut other = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    proxy.only_of(other.id());
    proxy.cut(Direction::Both);
    old.send("not me").await;
    old.hears("not me").await;
    Client::connected(&proxy).await;
    proxy.only_of(std::process::id());
    let mut new = Client::connect(&proxy).await;
    let before = proxy.counts().to_server;
    old.send("old").await;
    new.send("new").await;
    received(&proxy, before.received + 6).await;
    assert_eq!(proxy.counts().to_server.delivered, before.delivered);
    proxy.heal();
    old.hears("old").await;
    new.hears("new").await;
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test]
async fn what_a_cut_holds_is_bounded() {
    // More than all buffers of the system between a client and the proxy.
    const SENT: usize = 64 << 20;
    let (_echo, proxy) = echo_and_proxy().await;
    let client = Client::connected(&proxy).await;
    proxy.cut(Direction::ToServer);
    let (mut from, mut to) = client.0.into_split();
    let sending = tokio::spawn(async move { to.write_all(&vec![b'x'; SENT]).await });
    let held = || {
        let now = proxy.counts().to_server;
        now.received - now.delivered
    };
    eventually("the proxy holds all that it may", LIMIT, async || held() >= 64 << 10).await;
    assert!(held() < 128 << 10);
    assert!(!sending.is_finished());
    proxy.heal();
    timeout(LIMIT, from.read_exact(&mut vec![0; SENT])).await.expect("all comes back").unwrap();
    sending.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_crosses_once_a_cut_has_returned_and_all_arrives_in_order_in_the_end() {
    const SENT: usize = 32 << 20;
    let byte_at = |i: usize| (i % 251) as u8;
    let (_echo, proxy) = echo_and_proxy().await;
    let client = Client::connected(&proxy).await;
    let (mut from, mut to) = client.0.into_split();
    let sent: Vec<u8> = (0..SENT).map(byte_at).collect();
    let sending = tokio::spawn(async move { to.write_all(&sent).await });
    let reading = tokio::spawn(async move {
        let mut heard = vec![0; SENT];
        from.read_exact(&mut heard).await.map(|_| heard)
    });
    let delivered = || (proxy.counts().to_server.delivered, proxy.counts().to_client.delivered);
    let mut before = delivered();
    while !reading.is_finished() {
        let moves = async || reading.is_finished() || delivered() != before;
        eventually("bytes cross again", LIMIT, moves).await;
        proxy.cut(Direction::Both);
        before = delivered();
        for _ in 0..100 {
            tokio::task::yield_now().await;
            assert_eq!(delivered(), before);
        }
        proxy.heal();
    }
    let heard = reading.await.unwrap().unwrap();
    assert!(heard.iter().enumerate().all(|(i, byte)| *byte == byte_at(i)));
    sending.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_delay_holds_bytes_for_its_time_and_changes_at_once() {
    let (_echo, proxy) = echo_and_proxy().await;
    let mut client = Client::connected(&proxy).await;
    proxy.delay(Direction::ToServer, FOR_EVER);
    client.send("late").await;
    received(&proxy, 9).await;
    assert_eq!(proxy.counts().to_server.delivered, 5);
    proxy.delay(Direction::Both, Duration::from_millis(20));
    client.hears("late").await;
    proxy.delay(Direction::ToClient, Duration::MAX);
    client.send("last").await;
    let answered = async || proxy.counts().to_client.received == 13;
    eventually("the server has answered", LIMIT, answered).await;
    assert_eq!(proxy.counts().to_client.delivered, 9);
    proxy.heal();
    client.hears("last").await;
}

#[tokio::test]
async fn half_open_accepts_and_never_answers() {
    let (echo, proxy) = echo_and_proxy().await;
    let mut old = Client::connected(&proxy).await;
    proxy.half_open();
    let mut new = Client::connect(&proxy).await;
    new.send("anybody there").await;
    old.send("still there").await;
    received(&proxy, 16).await;
    eventually("both are accepted", LIMIT, async || proxy.counts().open == 2).await;
    assert_eq!(proxy.counts().to_server.delivered, 5);
    assert_eq!(echo.accepted.load(Ordering::SeqCst), 1);
    proxy.heal();
    old.hears("still there").await;
    new.hears("anybody there").await;
}

#[tokio::test]
async fn a_reset_ends_all_connections_on_both_sides_and_spares_new_ones() {
    let (echo, proxy) = echo_and_proxy().await;
    let mut carried = Client::connected(&proxy).await;
    proxy.cut(Direction::Both);
    let mut cut = Client::connect(&proxy).await;
    eventually("it has reached the server", LIMIT, async || echo.accepted.load(Ordering::SeqCst) == 2).await;
    proxy.half_open();
    // Accepted by the proxy or by the kernel only: nobody can tell, and it makes no difference.
    let mut waiting = Client::connect(&proxy).await;
    proxy.reset();
    for client in [&mut carried, &mut cut, &mut waiting] {
        client.is_reset().await;
    }
    eventually("the server sees it too", LIMIT, async || echo.resets.load(Ordering::SeqCst) == 2).await;
    eventually("none is left", LIMIT, async || proxy.counts().open == 0).await;
    proxy.heal();
    Client::connected(&proxy).await;
}

#[tokio::test]
async fn refused_clients_connect_again_to_the_same_port_after_healing() {
    let (_echo, proxy) = echo_and_proxy().await;
    let mut old = Client::connected(&proxy).await;
    for _ in 0..3 {
        proxy.refuse();
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        // A reset of what there is brings no listener back.
        proxy.reset();
        old.is_reset().await;
        assert!(TcpStream::connect(proxy.address()).await.is_err());
        proxy.heal();
        old = Client::connected(&proxy).await;
    }
    proxy.refuse();
    old.send("I was here first").await;
    old.hears("I was here first").await;
}

#[tokio::test]
async fn nobody_else_gets_the_port_of_a_proxy_that_refuses() {
    let (_echo, proxy) = echo_and_proxy().await;
    proxy.refuse();
    let taken = TcpListener::bind(proxy.address()).await.unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_server_that_is_away_resets_and_another_takes_its_place() {
    let (echo, proxy) = echo_and_proxy().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    proxy.retarget(nobody);
    Client::connect(&proxy).await.is_reset().await;
    proxy.retarget(echo.address);
    Client::connected(&proxy).await;
}

#[tokio::test]
async fn a_reset_by_one_side_reaches_the_other() {
    let (echo, proxy) = echo_and_proxy().await;
    let client = Client::connected(&proxy).await;
    client.0.set_zero_linger().unwrap();
    drop(client);
    eventually("the server sees it", LIMIT, async || echo.resets.load(Ordering::SeqCst) == 1).await;
    eventually("it is over", LIMIT, async || proxy.counts().open == 0).await;
}

#[tokio::test]
async fn what_a_server_sent_before_its_reset_is_heard_and_then_the_reset() {
    const ANSWER: usize = 64 << 10;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    let mut client = Client::connect(&proxy).await;
    client.send("too much").await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.readable().await.unwrap();
    proxy.cut(Direction::ToClient);
    server.write_all(&vec![b'n'; ANSWER]).await.unwrap();
    let answered = async || proxy.counts().to_client.received == ANSWER as u64;
    eventually("the server has answered", LIMIT, answered).await;
    // It closes with bytes unread, which resets the connection; what the client sends now can go nowhere.
    drop(server);
    client.send("!").await;
    received(&proxy, 9).await;
    for _ in 0..10 {
        client.send("!").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(proxy.counts().open, 1);
    proxy.heal();
    timeout(LIMIT, client.0.read_exact(&mut vec![0; ANSWER])).await.expect("the answer comes").unwrap();
    client.is_reset().await;
}

#[tokio::test]
async fn a_dropped_proxy_closes_everything() {
    let (_echo, proxy) = echo_and_proxy().await;
    let mut client = Client::connected(&proxy).await;
    let address = proxy.address();
    drop(proxy);
    assert!(TcpStream::connect(address).await.is_err());
    assert!(matches!(client.end().await, Ok(0) | Err(_)));
}
