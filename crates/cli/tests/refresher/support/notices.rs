//! Listens on Redis as anybody could, and checks what is told: every publication that Redis took.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annulus_testkit::eventually;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::NAME;

/// What was told, since it listens. It connects again where the connection is lost.
pub(crate) struct Notices {
    told: Arc<Mutex<Vec<(Instant, u64)>>>,
    server: watch::Sender<SocketAddr>,
    task: JoinHandle<()>,
}

impl Notices {
    /// Listens from now on.
    pub(crate) async fn listen(server: SocketAddr) -> Self {
        let told = Arc::<Mutex<Vec<(Instant, u64)>>>::default();
        let server = watch::Sender::new(server);
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(follow(server.subscribe(), Arc::clone(&told), Some(ready)));
        is_ready.await.unwrap();
        Self { told, server, task }
    }

    /// Listens to another server from now on.
    pub(crate) fn move_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// Every publication, in order. No revision twice, and none below one before.
    #[track_caller]
    pub(crate) fn rising(&self) -> Vec<u64> {
        let revisions: Vec<u64> = self.told.lock().unwrap().iter().map(|(_, revision)| *revision).collect();
        assert!(revisions.is_sorted_by(|left, right| left < right), "{revisions:?}");
        revisions
    }

    /// Waits until something is told after `since`; returns when, and the revision.
    pub(crate) async fn next_after(&self, since: Instant, limit: Duration) -> (Instant, u64) {
        let mut found = None;
        eventually("a publication is told", limit, async || {
            found = self.told.lock().unwrap().iter().find(|(at, _)| *at > since).copied();
            found.is_some()
        })
        .await;
        found.unwrap()
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(
    mut server: watch::Receiver<SocketAddr>,
    told: Arc<Mutex<Vec<(Instant, u64)>>>,
    mut ready: Option<tokio::sync::oneshot::Sender<()>>,
) {
    loop {
        let address = *server.borrow_and_update();
        let listening = async {
            let mut io = TcpStream::connect(address).await?;
            io.write_all(format!("SUBSCRIBE annulus:{NAME}_data_changed\r\n").as_bytes()).await?;
            let mut lines = BufReader::new(io).lines();
            while let Some(line) = lines.next_line().await? {
                if line == ":1" {
                    ready.take().map(|ready| ready.send(()));
                }
                if let Some(rest) = line.strip_prefix(&format!("{NAME}_updated:")) {
                    let (revision, seconds) = rest.split_once(':').expect("revision and time");
                    assert!(seconds.parse::<u64>().is_ok(), "{line}");
                    told.lock().unwrap().push((Instant::now(), revision.parse().unwrap()));
                }
            }
            Ok::<_, std::io::Error>(())
        };
        tokio::select! {
            _ = listening => sleep(Duration::from_millis(20)).await,
            _ = server.changed() => {}
        }
    }
}
