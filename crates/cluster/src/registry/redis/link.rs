//! One connection for all requests, made again after errors.

use std::pin::Pin;
use std::time::Duration;

use futures_util::FutureExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::Mutex;
use tokio::time::{Sleep, sleep, timeout};

use crate::registry::RegistryError;

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Link {
    client: Client,
    connect_timeout: Duration,
    read_timeout: Duration,
    /// Held while connecting, so that there is one attempt at a time and one result for all who wait.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Counts connections, so that an error takes down none but its own.
    generation: u64,
    failures: u32,
    pause: Option<Pause>,
}

/// After an attempt that failed: nobody tries again until it is over.
struct Pause {
    end: Pin<Box<Sleep>>,
    error: RegistryError,
}

impl Link {
    pub(crate) fn new(client: Client, connect_timeout: Duration, read_timeout: Duration) -> Self {
        Self { client, connect_timeout, read_timeout, state: Mutex::default() }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Asks something about `key`. Ends within the connect timeout, twice where another attempt was under way, and the read
    /// timeout.
    pub(crate) async fn ask<T>(
        &self,
        key: &str,
        question: impl AsyncFnOnce(MultiplexedConnection) -> RedisResult<T>,
    ) -> Result<T, RegistryError> {
        let (connection, generation) = self.connection().await?;
        let why = match timeout(self.read_timeout, question(connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                if is_about_the_connection(&error) {
                    self.drop_connection(generation).await;
                }
                format!("failed ({error})")
            }
            Err(_) => {
                self.drop_connection(generation).await;
                format!("took longer than {:?}", self.read_timeout)
            }
        };
        let address = self.client.get_connection_info().addr();
        Err(RegistryError::Unreachable(format!(
            "asking Redis at {address} for {key} {why}; it is tried again"
        )))
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RegistryError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        if let Some(pause) = &mut state.pause
            && pause.end.as_mut().now_or_never().is_none()
        {
            return Err(pause.error.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                let generation = state.generation + 1;
                *state = State { connection: Some(connection.clone()), generation, ..State::default() };
                Ok((connection, generation))
            }
            Err(error) => {
                let pause = Duration::from_millis(50 << state.failures.min(5)).min(MAX_PAUSE);
                state.failures += 1;
                state.pause = Some(Pause { end: Box::pin(sleep(pause)), error: error.clone() });
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RegistryError> {
        // Time is limited here, whatever the library's own limits cover.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = self.client.get_multiplexed_async_connection_with_config(&config);
        let why = match timeout(self.connect_timeout, connecting).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it took longer than {:?}", self.connect_timeout),
        };
        let address = self.client.get_connection_info().addr();
        Err(RegistryError::Unreachable(format!(
            "cannot connect to Redis at {address} ({why}): check that it runs there and lets this node in; it is tried \
             again"
        )))
    }

    async fn drop_connection(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
    }
}

/// Whether another connection may do better: this one is broken, or leads to a server that is no longer the primary.
fn is_about_the_connection(error: &RedisError) -> bool {
    !matches!(error.kind(), ErrorKind::Server(_))
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
