//! The home in Redis. Under the prefix: the lease `leader` and its token `leader:token`; for each dataset what is known of it
//! (`dataset:NAME`, a hash), its data (`dataset:NAME:data`, with a TTL) and data on its way there (`dataset:NAME:next:TERM:ATTEMPT`).
//! One server, or a primary behind one address.

mod answers;
mod publish;
mod scripts;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{FromRedisValue, RedisResult, ScriptInvocation};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use self::scripts::Scripts;
use super::notice::{CHANNEL_SIZE, channel};
use super::{
    Claim, Confirmed, FencedStore, Head, Heard, Known, Notice, Publication, Published, StoreError, Writer,
};
use crate::registry::redis::{Link, Listener, Told, check_prefix, open};
use crate::registry::{RedisSettings, RegistryError};

/// A home in Redis. It connects when it is first used, and again after errors.
pub struct RedisStore {
    prefix: String,
    lease: String,
    token: String,
    scripts: Scripts,
    /// For the lease: nothing large stands before it in a queue.
    own: Link,
    /// For data, each in turn; empty where all share one connection.
    pool: Vec<Link>,
    turn: AtomicUsize,
    /// For each dataset, how often this store has begun to publish it.
    attempts: Mutex<BTreeMap<String, u64>>,
    is_connected: Arc<AtomicBool>,
}

impl RedisStore {
    /// Does not connect yet, so that a replica starts while Redis is away. `pool_size` is how many connections it uses, beside
    /// the one that listens.
    ///
    /// # Errors
    /// A URL that is none; a prefix that is empty or has blanks or control characters in it.
    pub fn new(settings: &RedisSettings, pool_size: usize) -> Result<Self, RegistryError> {
        check_prefix(&settings.prefix)?;
        let client = open(settings)?;
        let link = || Link::new(client.clone(), settings.connect_timeout, settings.command_timeout());
        Ok(Self {
            lease: format!("{}:leader", settings.prefix),
            token: format!("{}:leader:token", settings.prefix),
            prefix: settings.prefix.clone(),
            scripts: Scripts::new(),
            own: link(),
            pool: (1..pool_size).map(|_| link()).collect(),
            turn: AtomicUsize::new(0),
            attempts: Mutex::default(),
            is_connected: Arc::default(),
        })
    }

    fn head_key(&self, dataset: &str) -> String {
        format!("{}:dataset:{dataset}", self.prefix)
    }

    fn data_key(&self, dataset: &str) -> String {
        format!("{}:dataset:{dataset}:data", self.prefix)
    }

    fn data_link(&self) -> &Link {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.pool.get(turn % self.pool.len().max(1)).unwrap_or(&self.own)
    }

    /// Runs a script that names its keys; `key` is the one that an error names.
    async fn run<T: FromRedisValue>(
        &self,
        link: &Link,
        key: &str,
        script: ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let invoke = async |mut connection: MultiplexedConnection| -> RedisResult<T> {
            script.invoke_async(&mut connection).await
        };
        let answer = link.ask(key, invoke).await;
        self.is_connected.store(answer.is_ok(), Ordering::Relaxed);
        answer
    }
}

impl FencedStore for RedisStore {
    fn acquire<'a>(
        &'a self,
        id: &'a str,
        known_token: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Claim, StoreError>> {
        Box::pin(async move {
            let mut script = self.scripts.acquire.key(&self.lease);
            script.key(&self.token).arg(id).arg(known_token).arg(ms(ttl));
            let (granted, number): (u64, u64) = self.run(&self.own, &self.lease, script).await?;
            Ok(match granted {
                1 => Claim::Granted { token: number },
                _ => Claim::Held { left: Duration::from_millis(number) },
            })
        })
    }

    fn renew<'a>(&'a self, writer: Writer<'a>, ttl: Duration) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let mut script = self.scripts.renew.key(&self.lease);
            script.key(&self.token).arg(writer.id).arg(writer.token).arg(ms(ttl));
            self.run(&self.own, &self.lease, script).await
        })
    }

    fn release<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut script = self.scripts.release.key(&self.lease);
            script.arg(id);
            self.run(&self.own, &self.lease, script).await
        })
    }

    fn publish<'a>(
        &'a self,
        writer: Writer<'a>,
        publication: Publication<'a>,
    ) -> BoxFuture<'a, Result<Published, StoreError>> {
        Box::pin(self.publish_in_pieces(writer, publication))
    }

    fn confirm<'a>(
        &'a self,
        writer: Writer<'a>,
        dataset: &'a str,
        revision: u64,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Confirmed, StoreError>> {
        Box::pin(async move {
            let head = self.head_key(dataset);
            let mut script = self.scripts.confirm.key(&self.lease);
            script.key(&self.token).key(&head).key(self.data_key(dataset));
            script.arg(writer.id).arg(writer.token).arg(revision).arg(ms(ttl));
            let done: u64 = self.run(self.data_link(), &head, script).await?;
            Ok(match done {
                0 => Confirmed::Refused,
                1 => Confirmed::Done,
                _ => Confirmed::Lost,
            })
        })
    }

    fn mark_cached<'a>(
        &'a self,
        writer: Writer<'a>,
        dataset: &'a str,
        revision: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let head = self.head_key(dataset);
            let mut script = self.scripts.mark_cached.key(&self.lease);
            script.key(&self.token).key(&head).arg(writer.id).arg(writer.token).arg(revision);
            self.run(self.data_link(), &head, script).await
        })
    }

    fn head<'a>(&'a self, dataset: &'a str, known: Known) -> BoxFuture<'a, Result<Head, StoreError>> {
        Box::pin(async move {
            let key = self.head_key(dataset);
            let mut script = self.scripts.head.key(&key);
            script.key(self.data_key(dataset)).arg(known.revision).arg(known.token);
            let answer: Vec<Vec<u8>> = self.run(self.data_link(), &key, script).await?;
            answers::head(answer).ok_or_else(|| RegistryError::Garbled {
                key,
                why: "a revision, a length or a time in it is no number".to_owned(),
            })
        })
    }

    fn read<'a>(
        &'a self,
        dataset: &'a str,
        revision: u64,
        from: u64,
        length: u64,
    ) -> BoxFuture<'a, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            let key = self.head_key(dataset);
            let mut script = self.scripts.read.key(&key);
            script.key(self.data_key(dataset)).arg(revision).arg(from).arg((from + length).saturating_sub(1));
            let piece: Option<Vec<u8>> = self.run(self.data_link(), &key, script).await?;
            Ok(piece.map(Bytes::from))
        })
    }

    fn listen(&self, datasets: &[String]) -> mpsc::Receiver<Heard> {
        let (sender, receiver) = mpsc::channel(CHANNEL_SIZE);
        let channels = datasets.iter().map(|dataset| channel(&self.prefix, dataset)).collect();
        let is_connected = Arc::clone(&self.is_connected);
        let told = {
            let sender = sender.clone();
            move |told: Told<'_>| {
                let heard = match told {
                    Told::Listening => Some(Heard::Listening),
                    Told::Message(text) => {
                        std::str::from_utf8(text).ok().and_then(Notice::parse).map(Heard::Published)
                    }
                    Told::Lost => {
                        is_connected.store(false, Ordering::Relaxed);
                        Some(Heard::Lost)
                    }
                };
                // Where the listener is slow it has enough to do, and asks besides.
                heard.map_or(Ok(()), |heard| sender.try_send(heard)).ok();
            }
        };
        let listener = Listener::start(self.own.client().clone(), channels, told);
        tokio::spawn(async move {
            sender.closed().await;
            drop(listener);
        });
        receiver
    }

    fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis().max(1) as u64
}
