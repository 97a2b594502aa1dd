//! Where a server listens, and what it speaks there.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};

use super::activity::{Activity, CoarseClock};
use super::connection;
use crate::net::Listener;
use crate::stream::{Link, Protocol};

type Other<I> = Arc<dyn Protocol<I>>;

/// What is read of a connection before it is known what it speaks.
const FIRST_READ_BYTES: usize = 256;

/// What a server listens on.
pub struct Doors<L: Listener> {
    http: L,
    /// One for each worker.
    apps: Arc<[Router]>,
    beside: Option<Other<L::Io>>,
    streams: Vec<(L, Other<L::Io>)>,
}

/// What is spoken on one listener.
pub(super) enum Door<I> {
    Http { apps: Arc<[Router]>, beside: Option<Other<I>> },
    Stream(Other<I>),
}

/// What serves one connection.
pub(super) enum Guest<I> {
    Http { app: Router, beside: Option<Other<I>>, link: Link },
    Stream { protocol: Other<I>, link: Link },
}

impl<L: Listener> Doors<L> {
    /// HTTP on `listener`, with the routes that `app` makes for each of `workers` workers.
    pub fn http(listener: L, workers: usize, app: impl FnMut(usize) -> Router) -> Self {
        Self { http: listener, apps: (0..workers).map(app).collect(), beside: None, streams: Vec::new() }
    }

    /// Besides on the same listener: connections whose first byte is a lower-case letter, which no HTTP method begins with.
    pub fn beside(mut self, protocol: Other<L::Io>) -> Self {
        self.beside = Some(protocol);
        self
    }

    /// On a listener of its own.
    pub fn stream(mut self, listener: L, protocol: Other<L::Io>) -> Self {
        self.streams.push((listener, protocol));
        self
    }

    pub(super) fn open(self) -> impl Iterator<Item = (L, Door<L::Io>)> {
        let http = (self.http, Door::Http { apps: self.apps, beside: self.beside });
        let streams = self.streams.into_iter().map(|(listener, protocol)| (listener, Door::Stream(protocol)));
        std::iter::once(http).chain(streams)
    }
}

impl<I: 'static> Door<I> {
    pub(super) fn at_limit(&self) -> &'static [u8] {
        match self {
            Self::Http { .. } => connection::AT_LIMIT,
            Self::Stream(protocol) => protocol.at_limit(),
        }
    }

    pub(super) fn activity(&self, coarse: &Arc<CoarseClock>) -> Activity {
        match self {
            Self::Http { .. } => Activity::new(Arc::clone(coarse)),
            Self::Stream(_) => Activity::of_patient(Arc::clone(coarse)),
        }
    }

    pub(super) fn guest(
        &self,
        worker: usize,
        activity: &Arc<Activity>,
        closing: &Arc<AtomicBool>,
    ) -> Guest<I> {
        let link = Link { worker, activity: Arc::clone(activity), closing: Arc::clone(closing) };
        match self {
            Self::Http { apps, beside } => {
                Guest::Http { app: apps[worker].clone(), beside: beside.clone(), link }
            }
            Self::Stream(protocol) => Guest::Stream { protocol: Arc::clone(protocol), link },
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + 'static> Guest<I> {
    pub(super) async fn serve(self, mut io: I) {
        match self {
            Self::Stream { protocol, link } => protocol.serve(io, BytesMut::new(), link).await,
            Self::Http { app, beside, link } => {
                let mut head = Vec::with_capacity(FIRST_READ_BYTES);
                // At the end of the stream, or after an error, hyper finds out the same.
                let _ = io.read_buf(&mut head).await;
                match beside.filter(|_| head.first().is_some_and(u8::is_ascii_lowercase)) {
                    Some(protocol) => {
                        link.activity.let_idle();
                        protocol.serve(io, BytesMut::from(&head[..]), link).await;
                    }
                    None => connection::serve(io, head, app, &link.activity, &link.closing).await,
                }
            }
        }
    }
}
