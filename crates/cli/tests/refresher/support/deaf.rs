//! A proxy in front of Redis that loses every message of publish and subscribe, and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How a message begins on the wire (RESP2), behind its length.
const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n";

pub(crate) struct DeafProxy {
    address: SocketAddr,
    lost: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl DeafProxy {
    pub(crate) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lost = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&lost);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                connections.spawn(carry(client, server, count));
            }
        });
        Self { address, lost, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Messages lost so far.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for DeafProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr, lost: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let requests = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
    };
    let answers = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let Ok(read @ 1..) = from_server.read(&mut buffer).await else { return };
            // Redis writes a message whole, and on such a connection nothing but messages and answers to pings.
            if buffer[..read].starts_with(MESSAGE) {
                lost.fetch_add(1, Ordering::Relaxed);
            } else if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = answers => {}
    }
}
