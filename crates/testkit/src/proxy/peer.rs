//! Whose connection it is.

use std::net::SocketAddr;

use parking_lot::Mutex;

use crate::proc_files::owns_connection;

/// The client's end of a connection.
pub(super) struct Peer {
    client: SocketAddr,
    proxy: SocketAddr,
    /// What was asked last: a process, and whether the connection is its.
    known: Mutex<Option<(u32, bool)>>,
}

impl Peer {
    pub(super) fn new(client: SocketAddr, proxy: SocketAddr) -> Self {
        Self { client, proxy, known: Mutex::new(None) }
    }

    /// Whether the connection is a process's. The system is asked once: a connection does not change hands.
    pub(super) fn is_of(&self, pid: u32) -> bool {
        let mut known = self.known.lock();
        match *known {
            Some((asked, is_its)) if asked == pid => is_its,
            _ => {
                let is_its = match (self.client, self.proxy) {
                    (SocketAddr::V4(client), SocketAddr::V4(proxy)) => owns_connection(pid, client, proxy),
                    _ => false,
                };
                *known = Some((pid, is_its));
                is_its
            }
        }
    }
}
