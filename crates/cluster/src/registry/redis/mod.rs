//! A registry in Redis: the roster as JSON under `PREFIX:roster`, each lease under `PREFIX:lease:NAME`, and changes told on
//! the channel `PREFIX:changed`. One server, or a primary behind one address.

mod link;
mod listener;
mod scripts;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use ::redis::{Client, IntoConnectionInfo as _, cmd};
use tokio::sync::watch;

pub(crate) use self::link::Link;
pub(crate) use self::listener::{Listener, Told};
use self::scripts::Scripts;
use super::memory::next_change;
use super::{Registry, RegistryError, text};
use crate::Roster;

/// Where Redis is and how long to wait for it.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://[user]:[password]@host:port/database`, `rediss://` for TLS, or `host:port` alone. The password is never shown.
    pub url: String,
    /// Instead of the URL's.
    pub user: Option<String>,
    /// Instead of the URL's.
    pub password: Option<String>,
    /// Instead of the URL's.
    pub database: Option<i64>,
    /// What all keys begin with: clusters that share a Redis need one each.
    pub prefix: String,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long sending a command may take.
    pub write_timeout: Duration,
    /// How long to wait for its answer then.
    pub read_timeout: Duration,
}

impl RedisSettings {
    /// The usual prefix and timeouts.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            user: None,
            password: None,
            database: None,
            prefix: "annulus".to_owned(),
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::ZERO,
            read_timeout: Duration::from_secs(3),
        }
    }

    /// How long a command may take: whether it is on its way to the server or back cannot be told apart.
    pub(crate) fn command_timeout(&self) -> Duration {
        self.write_timeout + self.read_timeout
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            url: _,
            user: _,
            password: _,
            database,
            prefix,
            connect_timeout,
            write_timeout,
            read_timeout,
        } = self;
        f.debug_struct("RedisSettings")
            .field("database", database)
            .field("prefix", prefix)
            .field("connect_timeout", connect_timeout)
            .field("write_timeout", write_timeout)
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
        check_prefix(&settings.prefix)?;
        let link = Link::new(open(&settings)?, settings.connect_timeout, settings.command_timeout());
        let prefix = settings.prefix;
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
            let changes = self.changes.clone();
            Listener::start(self.link.client().clone(), vec![self.channel()], move |told| {
                // What was told while nobody listened is lost, so it wakes for a new connection too.
                if !matches!(told, Told::Lost) {
                    changes.send_replace(());
                }
            })
        });
        change
    }
}

impl fmt::Debug for RedisRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRegistry").field("roster_key", &self.roster_key).finish_non_exhaustive()
    }
}

/// Whether keys may begin like this.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), RegistryError> {
    if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = "the Redis key prefix must be visible ASCII characters, as in annulus";
        return Err(RegistryError::Settings(why.to_owned()));
    }
    Ok(())
}

/// The URL may hold a password, so no error shows any of it.
pub(crate) fn open(settings: &RedisSettings) -> Result<Client, RegistryError> {
    let url = &settings.url;
    let given = if url.contains("://") { url.clone() } else { format!("redis://{url}") };
    let wrong = |error: ::redis::RedisError| {
        let why = error.category();
        RegistryError::Settings(format!(
            "the Redis URL does not work ({why}): write redis://host:port, redis://:password@host:port/database, \
             rediss://host:port for TLS, or host:port"
        ))
    };
    let info = given.as_str().into_connection_info().map_err(wrong)?;
    let mut login = info.redis_settings().clone();
    if let Some(user) = &settings.user {
        login = login.set_username(user);
    }
    if let Some(password) = &settings.password {
        login = login.set_password(password);
    }
    if let Some(database) = settings.database {
        login = login.set_db(database);
    }
    Client::open(info.set_redis_settings(login)).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_is_none_is_refused_without_being_shown() {
        for url in
            ["", "http://secret@h:1", "redis://:secret@h:x", "rediss://:secret@h:x", "redis://h/secret"]
        {
            let error = RedisRegistry::new(RedisSettings::new(url)).unwrap_err().to_string();
            assert!(error.contains("redis://host:port"), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
        for url in ["127.0.0.1:6379", "redis", "redis://[::1]:6379/3", "rediss://user:secret@h:1"] {
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
