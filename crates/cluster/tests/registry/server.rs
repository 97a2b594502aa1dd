//! A real Redis on a port of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::world::eventually;

/// Killed when dropped.
pub(crate) struct RedisServer {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
    arguments: Vec<String>,
}

impl RedisServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With further arguments.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        // Another process may take the port before Redis does.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let folder = TempDir::new().unwrap();
            let arguments = arguments.iter().map(ToString::to_string).collect();
            let mut server = Self { port, folder, process: None, arguments };
            if server.run().await {
                return server;
            }
        }
        panic!("redis-server found no free port");
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// As a power cut does: at once, and nothing is kept.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        assert!(self.run().await, "redis-server does not start again");
    }

    /// Asks it something on a connection of its own.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://{}", self.address())).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        words.for_each(|word| {
            asked.arg(word);
        });
        asked.query_async(&mut connection).await
    }

    /// Whether it runs, in the end.
    async fn run(&mut self) -> bool {
        let mut process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server does not start; on Debian: apt-get install redis-server");
        let mut runs = false;
        eventually("redis-server answers or ends", async || {
            // Where it wants a password, saying so is an answer too.
            runs = match self.ask::<String>("PING").await {
                Ok(_) => true,
                Err(error) => !error.is_io_error(),
            };
            runs || process.try_wait().unwrap().is_some()
        })
        .await;
        let has_ended = process.try_wait().unwrap().is_some();
        self.process = Some(process);
        runs && !has_ended
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
