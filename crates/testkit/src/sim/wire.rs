//! The simulated network: who is on it, which links are broken, and what is on its way. Event in, action out: what time it is
//! comes from outside, and all chance from a seed.
//!
//! It carries TCP as programs see it. Segments of one connection arrive in order and each after a delay of its own; one that a
//! broken link swallows leaves a gap, behind which nothing more arrives, as if it were sent again for longer than anybody
//! waits. A machine that is off answers nothing; what was sent to it arrives when it is on again, where nobody knows of it.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::ReadBuf;

use super::end::{End, State};

/// How long a segment is on its way at least and at most. How much longer than the least is exponentially distributed.
const LATENCY_US: std::ops::Range<u64> = 1_000..15_000;
/// The mean of what is added to the least, as a share of the range.
const MEAN_SHARE: f64 = 0.4;

/// A host by its number.
pub(super) type HostId = usize;
/// A connection by its number.
pub(super) type ConnectionId = u64;
/// One of the two ends of a connection: the one that dialled, or the one that was dialled.
pub(super) type Side = usize;
/// The end that dialled.
pub(super) const DIALLER: Side = 0;
/// The end that was dialled.
pub(super) const ACCEPTER: Side = 1;

/// What may be wrong with a link, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// What is sent is lost.
    Cut,
    /// What is sent is kept until the link is released.
    Held,
}

#[derive(Debug)]
enum Segment {
    Dial { port: u16 },
    Accept,
    Data(Bytes),
    End,
    Reset,
}

/// A segment on its way.
struct Flight {
    from: HostId,
    to: HostId,
    connection: ConnectionId,
    side: Side,
    segment: Segment,
}

impl Flight {
    fn goes(&self, from: HostId, to: HostId) -> bool {
        (self.from, self.to) == (from, to)
    }
}

struct Host {
    name: String,
    is_on: bool,
    /// How often it was started: sockets of an earlier life are dead.
    life: u64,
    listeners: BTreeMap<u16, Listening>,
    /// What arrived while it was off.
    parked: Vec<Flight>,
}

#[derive(Default)]
struct Listening {
    backlog: VecDeque<ConnectionId>,
    waker: Option<Waker>,
}

/// The simulated network.
pub(super) struct Wire {
    random: SmallRng,
    hosts: Vec<Host>,
    /// Links that are not whole, by where they come from and where they go.
    links: BTreeMap<(HostId, HostId), Broken>,
    connections: BTreeMap<ConnectionId, [End; 2]>,
    next_connection: ConnectionId,
    /// By when they arrive, and by a number that no two share.
    flights: BTreeMap<(u64, u64), Flight>,
    held: Vec<Flight>,
    sent: u64,
    /// Who is to be woken where something arrives before this time.
    carrier: Option<(u64, Waker)>,
}

impl Wire {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            hosts: Vec::new(),
            links: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            flights: BTreeMap::new(),
            held: Vec::new(),
            sent: 0,
            carrier: None,
        }
    }

    /// Adds a host, which is off.
    pub(super) fn add_host(&mut self, name: String) -> HostId {
        self.hosts.push(Host { name, is_on: false, life: 0, listeners: BTreeMap::new(), parked: Vec::new() });
        self.hosts.len() - 1
    }

    /// The host of this name.
    pub(super) fn find_host(&self, name: &str) -> Option<HostId> {
        self.hosts.iter().position(|host| host.name == name)
    }

    /// Whether there is a host of this number.
    pub(super) fn has_host(&self, host: HostId) -> bool {
        host < self.hosts.len()
    }

    /// Starts a host, and tells which life of it this is.
    pub(super) fn start(&mut self, host: HostId, now_us: u64) -> u64 {
        let starting = &mut self.hosts[host];
        starting.is_on = true;
        starting.life += 1;
        let life = starting.life;
        for flight in std::mem::take(&mut starting.parked) {
            self.arrive(flight, now_us);
        }
        life
    }

    /// Ends a host's life. The system closes what its program had open.
    pub(super) fn stop(&mut self, host: HostId, now_us: u64) {
        let stopping = &mut self.hosts[host];
        stopping.is_on = false;
        stopping.life += 1;
        stopping.listeners.clear();
        let mut open = Vec::new();
        for (connection, ends) in &self.connections {
            for (side, end) in ends.iter().enumerate() {
                // What was dialled and has not arrived does not know of this.
                let is_known = side == DIALLER || end.state != State::Opening;
                if end.host == host && end.state != State::Closed && is_known {
                    open.push((*connection, side));
                }
            }
        }
        for (connection, side) in open {
            self.close(connection, side, now_us);
        }
    }

    /// Whether this life of a host goes on.
    pub(super) fn lives(&self, host: HostId, life: u64) -> bool {
        self.hosts[host].is_on && self.hosts[host].life == life
    }

    /// Loses everything between two hosts from now on, and what is on its way.
    pub(super) fn cut(&mut self, from: HostId, to: HostId) {
        self.links.insert((from, to), Broken::Cut);
        let mut lost = self.take_flying(from, to);
        lost.append(&mut self.take_held(from, to));
        for flight in lost {
            self.lose(&flight);
        }
    }

    /// Keeps everything between two hosts from now on, and what is on its way.
    pub(super) fn hold(&mut self, from: HostId, to: HostId) {
        self.links.insert((from, to), Broken::Held);
        let mut kept = self.take_flying(from, to);
        self.held.append(&mut kept);
    }

    /// Makes a link whole again. What was held arrives at once.
    pub(super) fn mend(&mut self, from: HostId, to: HostId, now_us: u64) {
        self.links.remove(&(from, to));
        for flight in self.take_held(from, to) {
            self.put(flight, now_us);
        }
    }

    fn take_flying(&mut self, from: HostId, to: HostId) -> Vec<Flight> {
        let flights = std::mem::take(&mut self.flights);
        let (taken, kept): (BTreeMap<_, _>, _) =
            flights.into_iter().partition(|(_, flight)| flight.goes(from, to));
        self.flights = kept;
        taken.into_values().collect()
    }

    fn take_held(&mut self, from: HostId, to: HostId) -> Vec<Flight> {
        let held = std::mem::take(&mut self.held);
        let (taken, kept) = held.into_iter().partition(|flight| flight.goes(from, to));
        self.held = kept;
        taken
    }

    /// When the next segment arrives.
    pub(super) fn next_us(&self) -> Option<u64> {
        self.flights.first_key_value().map(|((at_us, _), _)| *at_us)
    }

    /// Lets everything arrive that is due.
    pub(super) fn deliver(&mut self, now_us: u64) {
        while let Some(first) = self.flights.first_entry().filter(|first| first.key().0 <= now_us) {
            let flight = first.remove();
            self.arrive(flight, now_us);
        }
    }

    /// Wakes `waker` once something is sent that arrives before `before_us`.
    pub(super) fn wait(&mut self, before_us: u64, waker: &Waker) {
        self.carrier = Some((before_us, waker.clone()));
    }

    /// Opens a port for connections. Where it was open already, nobody else is served there.
    pub(super) fn listen(&mut self, host: HostId, port: u16) {
        self.hosts[host].listeners.insert(port, Listening::default());
    }

    /// Closes a port, and the connections that nobody has accepted.
    pub(super) fn unlisten(&mut self, host: HostId, port: u16, now_us: u64) {
        let Some(listening) = self.hosts[host].listeners.remove(&port) else { return };
        for connection in listening.backlog {
            self.close(connection, ACCEPTER, now_us);
        }
    }

    /// The next connection at a port.
    pub(super) fn poll_accept(&mut self, host: HostId, port: u16, cx: &Context<'_>) -> Poll<ConnectionId> {
        let Some(listening) = self.hosts[host].listeners.get_mut(&port) else { return Poll::Pending };
        if listening.backlog.is_empty() {
            listening.waker = Some(cx.waker().clone());
        }
        listening.backlog.pop_front().map_or(Poll::Pending, Poll::Ready)
    }

    /// Begins to connect.
    pub(super) fn dial(&mut self, from: HostId, to: HostId, port: u16, now_us: u64) -> ConnectionId {
        let connection = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(connection, [End::new(from), End::new(to)]);
        self.send(connection, ACCEPTER, Segment::Dial { port }, now_us);
        connection
    }

    /// Whether a connection that was dialled is open.
    pub(super) fn poll_open(&mut self, connection: ConnectionId, cx: &Context<'_>) -> Poll<io::Result<()>> {
        match self.connections.get_mut(&connection) {
            Some(ends) => ends[DIALLER].poll_open(cx),
            None => Poll::Ready(Err(ErrorKind::ConnectionRefused.into())),
        }
    }

    pub(super) fn poll_read(
        &mut self,
        connection: ConnectionId,
        side: Side,
        buf: &mut ReadBuf<'_>,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self.connections.get_mut(&connection) {
            Some(ends) => ends[side].poll_read(buf, cx).map_ok(|()| ends[1 - side].has_credit()),
            None => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
        }
    }

    pub(super) fn poll_write(
        &mut self,
        connection: ConnectionId,
        side: Side,
        bytes: &[u8],
        now_us: u64,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let ends = self.connections.get_mut(&connection);
        let Some(ends) = ends.filter(|ends| ends[side].can_send()) else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if !ends[1 - side].take_credit() {
            ends[side].wait_for_credit(cx.waker());
            return Poll::Pending;
        }
        self.send(connection, 1 - side, Segment::Data(Bytes::copy_from_slice(bytes)), now_us);
        Poll::Ready(Ok(bytes.len()))
    }

    /// Ends what this side sends.
    pub(super) fn shut(&mut self, connection: ConnectionId, side: Side, now_us: u64) {
        let Some(ends) = self.connections.get_mut(&connection) else { return };
        if ends[side].can_send() {
            ends[side].is_shut = true;
            self.send(connection, 1 - side, Segment::End, now_us);
        }
    }

    /// Gives up an end: with what it has not read, the other side learns that it was lost.
    pub(super) fn close(&mut self, connection: ConnectionId, side: Side, now_us: u64) {
        let Some(ends) = self.connections.get_mut(&connection) else { return };
        let (before, can_send) = (ends[side].state, ends[side].can_send());
        let has_unread = ends[side].close();
        match before {
            State::Opening => self.send(connection, 1 - side, Segment::Reset, now_us),
            State::Open if has_unread => self.send(connection, 1 - side, Segment::Reset, now_us),
            State::Open if can_send => self.send(connection, 1 - side, Segment::End, now_us),
            _ => {}
        }
        self.forget_if_closed(connection);
    }

    fn forget_if_closed(&mut self, connection: ConnectionId) {
        let is_closed = |ends: &[End; 2]| ends.iter().all(|end| end.state == State::Closed);
        if self.connections.get(&connection).is_some_and(is_closed) {
            self.connections.remove(&connection);
        }
    }

    fn send(&mut self, connection: ConnectionId, side: Side, segment: Segment, now_us: u64) {
        let Some(ends) = self.connections.get(&connection) else { return };
        let (from, to) = (ends[1 - side].host, ends[side].host);
        let flight = Flight { from, to, connection, side, segment };
        match self.links.get(&(from, to)) {
            None => {
                let at_us = now_us + self.latency_us();
                self.put(flight, at_us);
            }
            Some(Broken::Cut) => self.lose(&flight),
            Some(Broken::Held) => self.held.push(flight),
        }
    }

    fn latency_us(&mut self) -> u64 {
        let exponential = -(1.0 - self.random.random::<f64>()).ln();
        let range = (LATENCY_US.end - LATENCY_US.start) as f64;
        (LATENCY_US.start + (exponential * MEAN_SHARE * range) as u64).min(LATENCY_US.end)
    }

    /// Lets a segment arrive at a time, but not before what was sent to the same end earlier.
    fn put(&mut self, flight: Flight, at_us: u64) {
        let ends = self.connections.get_mut(&flight.connection);
        let at_us = ends.map_or(at_us, |ends| {
            let last_us = &mut ends[flight.side].last_us;
            *last_us = at_us.max(*last_us);
            *last_us
        });
        self.sent += 1;
        self.flights.insert((at_us, self.sent), flight);
        if let Some((_, waker)) = self.carrier.take_if(|(before_us, _)| at_us < *before_us) {
            waker.wake();
        }
    }

    fn lose(&mut self, flight: &Flight) {
        let Some(ends) = self.connections.get_mut(&flight.connection) else { return };
        match flight.segment {
            // Whoever dials is refused at once, as by a router that knows no way: a host behind a link that is held lets it wait.
            Segment::Dial { .. } => {
                ends[ACCEPTER].close();
                ends[DIALLER].break_off();
            }
            Segment::Accept => ends.iter_mut().for_each(End::break_off),
            Segment::Data(_) | Segment::End => ends[flight.side].miss(),
            Segment::Reset => {}
        }
        self.forget_if_closed(flight.connection);
    }

    fn arrive(&mut self, flight: Flight, now_us: u64) {
        if !self.hosts[flight.to].is_on {
            self.hosts[flight.to].parked.push(flight);
            return;
        }
        let Flight { connection, side, segment, to, .. } = flight;
        let Some(ends) = self.connections.get_mut(&connection) else { return };
        let end = &mut ends[side];
        match segment {
            Segment::Dial { port } => self.arrive_dial(connection, to, port, now_us),
            Segment::Accept => end.open(),
            Segment::Data(_) if end.state == State::Closed => {
                self.send(connection, 1 - side, Segment::Reset, now_us);
            }
            Segment::Data(bytes) => end.arrive(bytes),
            Segment::End => end.arrive_end(),
            Segment::Reset => end.break_off(),
        }
    }

    fn arrive_dial(&mut self, connection: ConnectionId, host: HostId, port: u16, now_us: u64) {
        let Some(ends) = self.connections.get_mut(&connection) else { return };
        let Some(listening) = self.hosts[host].listeners.get_mut(&port) else {
            ends[ACCEPTER].close();
            self.send(connection, DIALLER, Segment::Reset, now_us);
            return self.forget_if_closed(connection);
        };
        ends[ACCEPTER].open();
        listening.backlog.push_back(connection);
        listening.waker.take().into_iter().for_each(Waker::wake);
        self.send(connection, DIALLER, Segment::Accept, now_us);
    }
}
