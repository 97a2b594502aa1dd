//! A follower for a program that names its Redis and its datasets.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::{RedisSettings, RedisStore, StoreError};

use super::{Follower, Silent};

const POLL_INTERVAL: Duration = Duration::from_secs(30);
/// For commands; another connection listens.
const CONNECTIONS: usize = 1;

/// Why a follower cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FollowerError {
    /// The Redis settings are wrong.
    #[error(transparent)]
    Redis(#[from] StoreError),
    /// There is nothing to follow.
    #[error("name a dataset to follow, with dataset(\"rates\")")]
    NoDataset,
}

/// Options of a [`Follower`].
#[derive(Clone, Debug)]
pub struct FollowerBuilder {
    redis: RedisSettings,
    datasets: Vec<String>,
    poll_interval: Duration,
}

impl Default for FollowerBuilder {
    fn default() -> Self {
        let redis = RedisSettings::new("redis://127.0.0.1:6379");
        Self { redis, datasets: Vec::new(), poll_interval: POLL_INTERVAL }
    }
}

impl FollowerBuilder {
    /// The Redis of the refreshers: `redis://[user]:[password]@host:port/database`, or `rediss://` for TLS.
    pub fn redis(mut self, url: impl Into<String>) -> Self {
        self.redis.url = url.into();
        self
    }

    /// What the refreshers' keys begin with; `annulus` unless they were told otherwise.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.redis.prefix = prefix.into();
        self
    }

    /// Follows this dataset too.
    pub fn dataset(mut self, name: impl Into<String>) -> Self {
        self.datasets.push(name.into());
        self
    }

    /// How often Redis is asked besides, 30 s by default.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval;
        self
    }

    /// The follower. It starts while Redis is away, too. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where the settings are wrong.
    pub fn start(self) -> Result<Follower, FollowerError> {
        if self.datasets.is_empty() {
            return Err(FollowerError::NoDataset);
        }
        let store = RedisStore::new(&self.redis, CONNECTIONS)?;
        Ok(Follower::start(Arc::new(store), &self.datasets, self.poll_interval, Arc::new(Silent)))
    }
}
