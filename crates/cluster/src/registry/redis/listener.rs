//! A connection of its own that hears of changes.

use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::PubSub;
use redis::{Client, RedisResult};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// How long a step of connecting, or the answer to a ping, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where nothing is heard for so long, a ping tells a quiet connection from a dead one.
const QUIET: Duration = Duration::from_secs(15);

/// The longest pause between two attempts to connect.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Listens until dropped.
pub(super) struct Listener {
    task: AbortHandle,
}

impl Listener {
    /// Starts listening on `channel`. Failures are silent: whoever waits for changes polls besides.
    pub(super) fn start(client: Client, channel: String, changes: watch::Sender<()>) -> Self {
        let task = tokio::spawn(async move {
            let mut failures = 0_u32;
            loop {
                if let Ok(Ok(connection)) = timeout(STEP_TIMEOUT, subscribe(&client, &channel)).await {
                    failures = 0;
                    // What was told while nobody listened is lost.
                    changes.send_replace(());
                    listen(connection, &changes).await;
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

async fn subscribe(client: &Client, channel: &str) -> RedisResult<PubSub> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(channel).await?;
    Ok(connection)
}

/// Until the connection is lost.
async fn listen(connection: PubSub, changes: &watch::Sender<()>) {
    let (mut sink, mut messages) = connection.split();
    loop {
        match timeout(QUIET, messages.next()).await {
            Ok(Some(_)) => {
                changes.send_replace(());
            }
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
