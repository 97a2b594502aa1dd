//! A real Redis, as it comes with Debian, on a port of its own.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::eventually;

const START_LIMIT: Duration = Duration::from_secs(10);
/// Free ports tried: another process may take one before Redis does.
const PORTS_TRIED: usize = 10;

/// It keeps nothing on disk, and is killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    address: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts an empty one and waits until it answers.
    ///
    /// # Errors
    /// Where the program is missing or finds no port.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(arguments: &[&str]) -> Result<Self> {
        for _ in 0..PORTS_TRIED {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let arguments = arguments.iter().map(ToString::to_string).collect();
            let mut server = Self { address, folder: TempDir::new()?, process: None, arguments };
            if server.run().await? {
                return Ok(server);
            }
        }
        bail!("redis-server found no free port")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As `cluster.redis` takes it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Whether it holds something under this key.
    pub async fn has(&self, key: &str) -> bool {
        self.answers(&format!("EXISTS {key}"), ":1").await
    }

    /// SIGKILL: it is gone at once, with all that it held.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a child can be killed");
            process.wait().expect("a killed child ends");
        }
    }

    /// Starts it again on the same port, empty; kills it first where it still runs.
    ///
    /// # Errors
    /// Where it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        if self.run().await? {
            Ok(())
        } else {
            bail!("redis-server does not start again on {}", self.address)
        }
    }

    /// SIGSTOP: its kernel accepts connections, and nobody answers.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT: it goes on where it stopped.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("redis-server runs");
        let pid = Pid::from_raw(process.id().cast_signed());
        kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to redis-server: {error}"));
    }

    /// Whether it runs, in the end.
    async fn run(&mut self) -> Result<bool> {
        let mut process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server does not start; on Debian: apt-get install redis-server")?;
        let mut has_ended = false;
        eventually("redis-server answers or ends", START_LIMIT, async || {
            has_ended = process.try_wait().expect("a child can be waited for").is_some();
            has_ended || self.answers("PING", "+PONG").await
        })
        .await;
        self.process = Some(process);
        Ok(!has_ended)
    }

    async fn answers(&self, command: &str, expected: &str) -> bool {
        let expected = format!("{expected}\r\n");
        let mut answer = vec![0; expected.len()];
        let ask = async {
            let mut connection = TcpStream::connect(self.address).await?;
            connection.write_all(format!("{command}\r\n").as_bytes()).await?;
            connection.read_exact(&mut answer).await
        };
        ask.await.is_ok() && answer == expected.as_bytes()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
