//! A TCP proxy that breaks on demand: between a client and a server that are real, and a network that is not.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::lane::{Broken, Lane};
use self::peer::Peer;

mod lane;
mod peer;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long to wait before accepting again when that has failed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(10);

/// A TCP proxy on loopback in front of one server, with faults that a test turns on and off.
///
/// A fault holds from the moment its method returns, on connections that are open and on those to come: no byte crosses a
/// direction that is cut, though what has crossed before may still be on its way into the reader. Faults add up until
/// [`Self::heal`]. Nothing is ever lost or reordered within a connection, as TCP promises; what a fault holds back is
/// bounded, so a sender blocks sooner or later, as on a network that has stopped.
///
/// Dropped, it closes everything.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    counters: Arc<Counters>,
    runtime: Handle,
    /// Bound and never listening: it keeps the port while connections are refused.
    _port: TcpSocket,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: answers.
    ToClient,
    /// Both.
    Both,
}

/// What a proxy has seen since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections accepted from clients.
    pub accepted: u64,
    /// Those still open.
    pub open: u64,
    /// Bytes from clients to the server.
    pub to_server: Carried,
    /// Bytes from the server to clients.
    pub to_client: Carried,
}

/// Bytes that went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Carried {
    /// Read from the sender.
    pub received: u64,
    /// Written to the receiver; the difference is held back or was lost with its connection.
    pub delivered: u64,
}

/// What is broken at the moment. Whoever delivers a byte reads this while he does, so a change of it waits for him and he
/// never acts on an old one.
#[derive(Debug)]
struct Faults {
    target: SocketAddr,
    /// Absent while connections are refused.
    listener: Option<TcpListener>,
    /// How often all connections have been reset; one that was accepted before the last time is over.
    resets: u64,
    half_open: bool,
    to_server: Fault,
    to_client: Fault,
    /// The process whose connections meet the faults of a direction; `None`: all do.
    only_of: Option<u32>,
}

/// What is broken one way.
#[derive(Debug, Clone, Copy, Default)]
struct Fault {
    cut: bool,
    delay: Duration,
}

#[derive(Debug, Default)]
struct Counters {
    accepted: AtomicU64,
    open: AtomicU64,
    to_server: ByteCounters,
    to_client: ByteCounters,
}

#[derive(Debug, Default)]
struct ByteCounters {
    received: AtomicU64,
    delivered: AtomicU64,
}

impl FaultProxy {
    /// Listens on a port of loopback and passes every connection on to `target`, which need not listen yet.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let port = bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = port.local_addr()?;
        let listener = Some(listen(address)?);
        let faults = Faults {
            target,
            listener,
            resets: 0,
            half_open: false,
            to_server: Fault::default(),
            to_client: Fault::default(),
            only_of: None,
        };
        let faults = watch::Sender::new(faults);
        let counters = Arc::<Counters>::default();
        tokio::spawn(accept(address, faults.subscribe(), Arc::clone(&counters)));
        Ok(Self { address, faults, counters, runtime: Handle::current(), _port: port })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Passes new connections on to another server, such as one that took a port after the proxy had to be known.
    pub fn retarget(&self, target: SocketAddr) {
        self.faults.send_modify(|faults| faults.target = target);
    }

    /// From now on cuts and delays meet only the connections of one process, those to come included, until
    /// [`Self::heal`]: so one client is cut off from a server and the others are not, though all know it by one address.
    pub fn only_of(&self, pid: u32) {
        self.faults.send_modify(|faults| faults.only_of = Some(pid));
    }

    /// Stops a direction without closing anything: bytes, and the ends of connections, are held until [`Self::heal`].
    /// New connections still reach the server.
    pub fn cut(&self, direction: Direction) {
        self.each_way(direction, |fault| fault.cut = true);
    }

    /// Delivers bytes so long after they were sent, those under way included. Later calls replace earlier ones.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.each_way(direction, |fault| fault.delay = delay);
    }

    /// Accepts connections and never answers, as a server does that hangs: no byte moves either way, and new connections
    /// do not reach the server before [`Self::heal`].
    pub fn half_open(&self) {
        self.faults.send_modify(|faults| faults.half_open = true);
    }

    /// Closes all connections with a reset (RST), those included that wait to be accepted. New ones are served.
    ///
    /// # Panics
    /// Where the operating system does not let it listen again.
    pub fn reset(&self) {
        self.faults.send_modify(|faults| {
            faults.resets += 1;
            // The kernel resets what waits at the old listener, which closes when the new one is there.
            if faults.listener.is_some() {
                faults.listener = Some(self.listen());
            }
        });
    }

    /// Refuses new connections, as a host does on which nobody listens. Those that were accepted go on.
    pub fn refuse(&self) {
        self.faults.send_modify(|faults| faults.listener = None);
    }

    /// Ends all faults: what was held is delivered, and connections are accepted.
    ///
    /// # Panics
    /// Where the operating system does not let it listen again.
    pub fn heal(&self) {
        self.faults.send_modify(|faults| {
            faults.half_open = false;
            faults.to_server = Fault::default();
            faults.to_client = Fault::default();
            faults.only_of = None;
            faults.listener = Some(faults.listener.take().unwrap_or_else(|| self.listen()));
        });
    }

    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        Counts {
            accepted: self.counters.accepted.load(Ordering::Acquire),
            open: self.counters.open.load(Ordering::Acquire),
            to_server: self.counters.to_server.read(),
            to_client: self.counters.to_client.read(),
        }
    }

    fn each_way(&self, direction: Direction, change: impl Fn(&mut Fault)) {
        self.faults.send_modify(|faults| {
            if direction != Direction::ToClient {
                change(&mut faults.to_server);
            }
            if direction != Direction::ToServer {
                change(&mut faults.to_client);
            }
        });
    }

    fn listen(&self) -> TcpListener {
        let _inside = self.runtime.enter();
        listen(self.address)
            .unwrap_or_else(|error| panic!("cannot listen on {} again: {error}", self.address))
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The tasks end once they see that the sender is gone; the port closes at once.
        self.refuse();
    }
}

/// Accepts until the proxy is dropped, which ends the connections too.
async fn accept(proxy: SocketAddr, mut faults: watch::Receiver<Faults>, counters: Arc<Counters>) {
    let mut connections = JoinSet::new();
    let current = faults.clone();
    loop {
        // The listener stays in its place, so that whoever takes it away has closed it.
        let accepted = poll_fn(|context| {
            let faults = current.borrow();
            let Some(listener) = &faults.listener else { return Poll::Pending };
            listener.poll_accept(context).map(|accepted| (accepted, faults.resets))
        });
        tokio::select! {
            changed = faults.changed() => if changed.is_err() {
                return;
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (accepted, resets) = accepted => match accepted {
                Ok((client, address)) => {
                    counters.accepted.fetch_add(1, Ordering::AcqRel);
                    let peer = Peer::new(address, proxy);
                    connections.spawn(serve(client, peer, resets, current.clone(), Arc::clone(&counters)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_BACKOFF).await,
            },
        }
    }
}

/// Serves a connection that was accepted after so many resets.
async fn serve(
    mut client: TcpStream,
    peer: Peer,
    resets: u64,
    faults: watch::Receiver<Faults>,
    counters: Arc<Counters>,
) {
    let _open = Open::new(Arc::clone(&counters));
    let mut server = None;
    let mut over = faults.clone();
    let carried = tokio::select! {
        carried = carry((&mut client, &peer), &mut server, faults, resets, &counters) => carried,
        _ = over.wait_for(|faults| faults.resets != resets) => Err(Broken),
    };
    if carried.is_err() {
        // A connection that is gone already needs no reset.
        let _ = client.set_zero_linger();
        let _ = server.map(|server| server.set_zero_linger());
    }
}

async fn carry(
    (client, peer): (&mut TcpStream, &Peer),
    server: &mut Option<TcpStream>,
    mut faults: watch::Receiver<Faults>,
    resets: u64,
    counters: &Counters,
) -> Result<(), Broken> {
    let target = faults.wait_for(|faults| !faults.half_open).await.map_err(|_| Broken)?.target;
    let server = server.insert(TcpStream::connect(target).await.map_err(|_| Broken)?);
    client.set_nodelay(true).and(server.set_nodelay(true)).map_err(|_| Broken)?;
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let unwritable = AtomicBool::new(false);
    let lane =
        |direction, counters| Lane::new(direction, peer, faults.clone(), resets, counters, &unwritable);
    let requests = lane(Direction::ToServer, &counters.to_server).run(from_client, to_server);
    let answers = lane(Direction::ToClient, &counters.to_client).run(from_server, to_client);
    tokio::try_join!(requests, answers).map(|_| ())
}

/// A socket that shares its address with the others of this proxy, and with nobody who does not ask for that.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

impl Faults {
    /// Whether bytes may cross at the moment.
    fn passes(&self, direction: Direction, peer: &Peer) -> bool {
        !self.half_open && !self.way(direction, peer).cut
    }

    fn way(&self, direction: Direction, peer: &Peer) -> Fault {
        if self.only_of.is_some_and(|pid| !peer.is_of(pid)) {
            return Fault::default();
        }
        if direction == Direction::ToClient { self.to_client } else { self.to_server }
    }
}

impl ByteCounters {
    fn read(&self) -> Carried {
        // In this order, so that never more seems delivered than received.
        let delivered = self.delivered.load(Ordering::Acquire);
        Carried { received: self.received.load(Ordering::Acquire), delivered }
    }
}

/// Counts a connection as open.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: Arc<Counters>) -> Self {
        counters.open.fetch_add(1, Ordering::AcqRel);
        Self(counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}
