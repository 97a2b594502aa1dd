//! An upstream whose answers a test decides.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What it answers.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// 200 with this JSON.
    Json(String),
    /// 200 with this JSON and this `ETag`; 304 to who names it.
    Tagged(String, String),
    /// Nothing but this, as it stands.
    Raw(String),
    /// 200 without a length, and then bytes until the other side has enough; so many at once, with a pause after each.
    Endless(usize, Duration),
    /// As `Json`, without the last byte until it is released.
    Held(String),
}

/// Decides what the answer to the call of this number is, counted from 1.
type Answers = Box<dyn Fn(u64) -> Reply + Send>;

/// An HTTP server on loopback. Dropped, it is gone.
pub(crate) struct Upstream {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    released: watch::Sender<bool>,
    task: JoinHandle<()>,
}

struct State {
    answers: Answers,
    calls: VecDeque<Call>,
}

/// A call as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) head: String,
}

impl Upstream {
    /// Answers with a number that rises from call to call.
    pub(crate) async fn start() -> Self {
        Self::start_on("127.0.0.1:0".parse().unwrap()).await
    }

    pub(crate) async fn start_on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Answers = Box::new(|call| Reply::Json(format!("{{\"call\":{call}}}")));
        let state = Arc::new(Mutex::new(State { answers, calls: VecDeque::new() }));
        let released = watch::Sender::new(false);
        let task = tokio::spawn(accept(listener, Arc::clone(&state), released.subscribe()));
        Self { address, state, released, task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers so.
    pub(crate) fn answers(&self, answers: impl Fn(u64) -> Reply + Send + 'static) {
        self.state.lock().unwrap().answers = Box::new(answers);
    }

    /// From now on it answers this.
    pub(crate) fn answer(&self, reply: Reply) {
        self.answers(move |_| reply.clone());
    }

    /// Whole answers for all that are held.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    pub(crate) fn count(&self) -> usize {
        self.state.lock().unwrap().calls.len()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.iter().cloned().collect()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>, released: watch::Receiver<bool>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (io, _) = accepted.unwrap();
                connections.spawn(serve(io, Arc::clone(&state), released.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One call: each comes on a connection of its own. What the other side does not take is no concern here.
async fn serve(mut io: TcpStream, state: Arc<Mutex<State>>, mut released: watch::Receiver<bool>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match io.read_buf(&mut head).await {
            Ok(1..) => {}
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let reply = {
        let mut state = state.lock().unwrap();
        state.calls.push_back(Call { at: Instant::now(), head: head.clone() });
        (state.answers)(state.calls.len() as u64)
    };
    let ok = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let json = |body: &str, more: &str| format!("{ok}{more}content-length: {}\r\n\r\n{body}", body.len());
    match reply {
        Reply::Raw(text) => drop(io.write_all(text.as_bytes()).await),
        Reply::Json(body) => drop(io.write_all(json(&body, "").as_bytes()).await),
        Reply::Tagged(body, etag) => {
            let is_known = head.to_ascii_lowercase().contains(&format!("if-none-match: \"{etag}\"\r\n"));
            let text = if is_known {
                format!("HTTP/1.1 304 Not Modified\r\netag: \"{etag}\"\r\n\r\n")
            } else {
                json(&body, &format!("etag: \"{etag}\"\r\n"))
            };
            drop(io.write_all(text.as_bytes()).await);
        }
        Reply::Endless(piece, pause) => {
            let _ = io.write_all(format!("{ok}\r\n").as_bytes()).await;
            let bytes = vec![b' '; piece];
            while io.write_all(&bytes).await.is_ok() {
                tokio::time::sleep(pause).await;
            }
        }
        Reply::Held(body) => {
            let text = json(&body, "");
            let (most, last) = text.split_at(text.len() - 1);
            let _ = io.write_all(most.as_bytes()).await;
            let _ = released.wait_for(|released| *released).await;
            let _ = io.write_all(last.as_bytes()).await;
        }
    }
    let _ = io.shutdown().await;
    // Until the other side has read it.
    let _ = io.read(&mut [0; 64]).await;
}
