//! A registry in Redis: the roster as JSON under `PREFIX:roster`, each lease under `PREFIX:lease:NAME`, and changes told on
//! the channel `PREFIX:changed`. One server, or a primary behind one address.

mod link;
mod listener;
mod scripts;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use ::redis::{Client, cmd};
use tokio::sync::watch;

use self::link::Link;
use self::listener::Listener;
use self::scripts::Scripts;
use super::memory::next_change;
use super::{Registry, RegistryError, text};
use crate::Roster;

/// Where Redis is and how long to wait for it.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://[user]:[password]@host:port/database`, or `host:port` alone. The password is never shown.
    pub url: String,
    /// What all keys begin with: clusters that share a Redis need one each.
    pub prefix: String,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer.
    pub read_timeout: Duration,
}

impl RedisSettings {
    /// The usual prefix and timeouts.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "annulus".to_owned(),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(3),
        }
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url: _, prefix, connect_timeout, read_timeout } = self;
        f.debug_struct("RedisSettings")
            .field("prefix", prefix)
            .field("connect_timeout", connect_timeout)
            .field("read_timeout", read_timeout)
            .finish_non_exhaustive()
    }
}

/// A registry in Redis. It connects when it is first used, and again after errors.
pub struct RedisRegistry {
    prefix: String,
    roster_key: String,
    link: Link,
    scripts: Scripts,
    changes: watch::Sender<()>,
    listener: OnceLock<Listener>,
}

impl RedisRegistry {
    /// Does not connect yet, so that a node starts while Redis is away.
    ///
    /// # Errors
    /// A URL that is none; a prefix that is empty or has blanks or control characters in it.
    pub fn new(settings: RedisSettings) -> Result<Self, RegistryError> {
        let RedisSettings { url, prefix, connect_timeout, read_timeout } = settings;
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = "the Redis key prefix must be visible ASCII characters, as in annulus";
            return Err(RegistryError::Settings(why.to_owned()));
        }
        let link = Link::new(open(&url)?, connect_timeout, read_timeout);
        let roster_key = format!("{prefix}:roster");
        let changes = watch::Sender::new(());
        Ok(Self { prefix, roster_key, link, scripts: Scripts::new(), changes, listener: OnceLock::new() })
    }

    fn lease_key(&self, name: &str) -> String {
        format!("{}:lease:{name}", self.prefix)
    }

    fn channel(&self) -> String {
        format!("{}:changed", self.prefix)
    }
}

impl Registry for RedisRegistry {
    async fn load(&self) -> Result<Option<Roster>, RegistryError> {
        let key = &self.roster_key;
        let get = async |mut connection| cmd("GET").arg(key).query_async(&mut connection).await;
        let found: Option<Vec<u8>> = self.link.ask(key, get).await?;
        let garbled = |why| RegistryError::Garbled { key: key.clone(), why };
        found.map(|found| text::read(&found).map_err(garbled)).transpose()
    }

    async fn replace(&self, expected_revision: Option<u64>, next: &Roster) -> Result<bool, RegistryError> {
        let key = &self.roster_key;
        let garbled = |error| RegistryError::Garbled { key: key.clone(), why: format!("{error}") };
        let next = text::write(next).map_err(garbled)?;
        let expected = expected_revision.map_or_else(String::new, |revision| revision.to_string());
        let mut script = self.scripts.replace.key(key);
        script.arg(expected).arg(next).arg(self.channel());
        self.link.ask(key, async |mut connection| script.invoke_async(&mut connection).await).await
    }

    async fn renew(&self, name: &str, incarnation: u64, ttl: Duration) -> Result<bool, RegistryError> {
        let key = self.lease_key(name);
        let mut script = self.scripts.renew.key(&key);
        script.arg(incarnation).arg(ttl.as_millis().max(1) as u64);
        self.link.ask(&key, async |mut connection| script.invoke_async(&mut connection).await).await
    }

    async fn holders(&self, names: &[&str]) -> Result<Vec<Option<u64>>, RegistryError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = names.iter().map(|name| self.lease_key(name)).collect();
        let what = format!("{}:lease:*", self.prefix);
        let get = async |mut connection| cmd("MGET").arg(&keys).query_async(&mut connection).await;
        let found: Vec<Option<Vec<u8>>> = self.link.ask(&what, get).await?;
        let holder = |(key, value): (&String, Option<Vec<u8>>)| {
            let Some(value) = value else { return Ok(None) };
            let number = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
            let why = "it is no number of a life";
            number.map(Some).ok_or_else(|| RegistryError::Garbled { key: key.clone(), why: why.to_owned() })
        };
        keys.iter().zip(found).map(holder).collect()
    }

    async fn release(&self, name: &str, incarnation: u64) -> Result<(), RegistryError> {
        let key = self.lease_key(name);
        let mut script = self.scripts.release.key(&key);
        script.arg(incarnation);
        self.link.ask(&key, async |mut connection| script.invoke_async(&mut connection).await).await
    }

    fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        let change = next_change(&self.changes);
        self.listener.get_or_init(|| {
            Listener::start(self.link.client().clone(), self.channel(), self.changes.clone())
        });
        change
    }
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry").field("roster_key", &self.roster_key).finish_non_exhaustive()
    }
}

/// The URL may hold a password, so no error shows any of it.
fn open(url: &str) -> Result<Client, RegistryError> {
    let given = if url.contains("://") { url.to_owned() } else { format!("redis://{url}") };
    Client::open(given).map_err(|error| {
        let why = error.category();
        RegistryError::Settings(format!(
            "the Redis URL does not work ({why}): write redis://host:port, redis://:password@host:port/database or \
             host:port; TLS (rediss://) is not supported"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_without_being_shown() {
        for url in
            ["", "http://secret@h:1", "redis://:secret@h:x", "rediss://:secret@h:1", "redis://h/secret"]
        {
            let error = RedisRegistry::new(RedisSettings::new(url)).unwrap_err().to_string();
            assert!(error.contains("redis://host:port"), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for url in ["127.0.0.1:6379", "redis", "redis://[::1]:6379/3", "redis://user:secret@h:1"] {
            let settings = RedisSettings::new(url);
            assert!(!format!("{settings:?}").contains("secret"));
            let registry = RedisRegistry::new(settings).unwrap();
            assert!(!format!("{registry:?}").contains("secret"));
        }
    }

    #[test]
    fn a_prefix_is_needed() {
        for prefix in ["", "a b", "a\n"] {
            let settings = RedisSettings { prefix: prefix.to_owned(), ..RedisSettings::new("h:1") };
            assert!(RedisRegistry::new(settings).is_err());
        }
    }
}
