//! A connection of its own that hears of changes.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{Client, RedisResult};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// How long a step of connecting, or the answer to a ping, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where nothing is heard for so long, a ping tells a quiet connection from a dead one.
const QUIET: Duration = Duration::from_secs(15);

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What a listener is told.
pub(crate) enum Told<'a> {
    /// It hears from now on; what was told before is lost.
    Listening,
    /// A message.
    Message(&'a [u8]),
    /// The connection is lost; another is on its way.
    Lost,
}

/// Listens until dropped.
pub(crate) struct Listener {
    task: AbortHandle,
}

impl Listener {
    /// Starts listening on some channels. Failures are silent: whoever waits for changes polls besides.
    pub(crate) fn start(
        client: Client,
        channels: Vec<String>,
        tell: impl Fn(Told<'_>) + Send + Sync + 'static,
    ) -> Self {
        let task = tokio::spawn(async move {
            let mut failures = 0_u32;
            loop {
                if let Ok(Ok(connection)) = timeout(STEP_TIMEOUT, subscribe(&client, &channels)).await {
                    failures = 0;
                    tell(Told::Listening);
                    listen(connection, &tell).await;
                    tell(Told::Lost);
                }
                let pause = Duration::from_millis(50 << failures.min(5));
                failures += 1;
                sleep(pause.min(MAX_PAUSE)).await;
            }
        });
        Self { task: task.abort_handle() }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn subscribe(client: &Client, channels: &[String]) -> RedisResult<PubSub> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channels).await?;
    Ok(connection)
}

/// Until the connection is lost.
async fn listen(connection: PubSub, tell: &(impl Fn(Told<'_>) + Send + Sync)) {
    let (mut sink, mut messages) = connection.split();
    loop {
        match timeout(QUIET, messages.next()).await {
            Ok(Some(message)) => tell(Told::Message(message.get_payload_bytes())),
            Ok(None) => return,
            Err(_) => {
                let ping = sink.ping::<redis::Value>();
                if !matches!(timeout(STEP_TIMEOUT, ping).await, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}
