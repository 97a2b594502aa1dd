//! One server process: started, waited for, asked what it uses, and gone with the tool.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use annulus_testkit::Usage;
use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Until it is asked again whether it is ready.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long it may take to answer that.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// As much of a log as is shown where a server does not start.
const SHOWN_LOG_BYTES: usize = 2000;

/// A running server. It is killed when dropped, and by the kernel when the tool dies first.
#[derive(Debug)]
pub(crate) struct Server {
    name: String,
    child: Child,
    log: PathBuf,
}

/// How to tell that a server serves: what it answers to what.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    port: u16,
    request: String,
    answer: &'static str,
}

impl Probe {
    /// memcached's protocol: a get comes to its end, which through a router needs the nodes behind it.
    pub(crate) fn memcached(port: u16) -> Self {
        Self { port, request: "get ready\r\n".to_owned(), answer: "END\r\n" }
    }

    /// `GET path` is answered with 200.
    pub(crate) fn http(port: u16, path: &str) -> Self {
        let head = "Host: 127.0.0.1\r\nConnection: close\r\n\r\n";
        Self { port, request: format!("GET {path} HTTP/1.1\r\n{head}"), answer: "HTTP/1.1 200" }
    }

    /// Redis answers.
    pub(crate) fn redis(port: u16) -> Self {
        Self { port, request: "PING\r\n".to_owned(), answer: "+PONG" }
    }

    async fn answers(&self) -> bool {
        let mut answer = vec![0; self.answer.len()];
        let ask = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            stream.write_all(self.request.as_bytes()).await?;
            stream.read_exact(&mut answer).await
        };
        matches!(timeout(ANSWER_LIMIT, ask).await, Ok(Ok(_))) && answer == self.answer.as_bytes()
    }
}

impl Server {
    /// Starts `program` in `folder`, where a file takes what it says. Must be called on the main thread: the kernel
    /// kills the process when the thread that started it ends.
    pub(crate) fn start(name: &str, program: &Path, args: &[String], folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let said = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(found(program)?).args(args).current_dir(folder);
        // What happens to stand in the environment configures nothing; the path finds the program.
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let child =
            command.spawn().context("setpriv of util-linux, which starts the servers, does not start")?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    /// Waits until it serves.
    pub(crate) async fn ready(&mut self, probe: &Probe) -> Result<()> {
        let started = Instant::now();
        while !probe.answers().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.said());
            }
            if started.elapsed() > START_LIMIT {
                bail!("{} is not ready after {START_LIMIT:?}: {}", self.name, self.said());
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory and CPU time that it uses.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid()).with_context(|| format!("{} has ended: {}", self.name, self.said()))
    }

    /// The end of its log, in one line.
    fn said(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let from = log.len().saturating_sub(SHOWN_LOG_BYTES);
        let text = String::from_utf8_lossy(&log[from..]);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A path that holds in any folder; a name without a folder is left for `PATH` to find.
fn found(program: &Path) -> io::Result<PathBuf> {
    let is_name = program.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    if is_name { Ok(program.to_owned()) } else { std::path::absolute(program) }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
