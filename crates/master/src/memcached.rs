//! Memcached on a master: any client of memcached reads and writes the cluster's keys, the same that REST does.
//!
//! What a client sends at once is carried out together: its reads leave for each node in one batch, and answers go back in
//! the order of the requests. Requests for one key keep their order.

mod admin;
mod group;
mod item;
mod reads;
mod session;
mod tallies;
mod writes;

use bytes::BytesMut;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

use annulus_service::stream::{Link, Protocol};

use crate::routes::At;

pub(crate) use tallies::Tallies;

/// Answers memcached's clients.
pub(crate) struct Front {
    at: At,
}

impl Front {
    /// A front of this master.
    pub(crate) fn new(at: At) -> Self {
        Self { at }
    }
}

impl<I> Protocol<I> for Front
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    fn serve(&self, io: I, head: BytesMut, link: Link) -> BoxFuture<'static, ()> {
        let at = At { worker: link.worker, ..self.at.clone() };
        Box::pin(session::serve(at, io, head, link))
    }

    fn at_limit(&self) -> &'static [u8] {
        b"ERROR Too many open connections\r\n"
    }
}
