//! One process of the program: started, killed, stopped, continued and asked what it uses.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::proc_files::Usage;
use crate::{Client, eventually};

/// How long a process may take to say where it listens; debug builds on busy machines are slow.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Log lines kept.
const KEPT_LINES: usize = 200;

/// A process of the program. It is killed when dropped, and shows the end of its log where the test is failing then.
#[derive(Debug)]
pub struct Process {
    program: Program,
    address: SocketAddr,
    child: Child,
    has_ended: bool,
    log: Log,
}

/// What is started. `--port` is added to the arguments, and nothing else is in the environment.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) binary: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// A process that has not said yet where it listens.
#[derive(Debug)]
pub(crate) struct Starting {
    program: Program,
    child: Child,
    log: Log,
    first_line: oneshot::Receiver<String>,
}

/// The last lines that a process wrote to standard error.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Process {
    /// Starts `binary` with `args` and `--port 0`, and waits for the line that says where it listens.
    ///
    /// # Errors
    /// Where it ends or says something else.
    pub async fn start(binary: impl Into<PathBuf>, args: &[String]) -> Result<Self> {
        Self::start_with(binary, args, &[]).await
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        binary: impl Into<PathBuf>,
        args: &[String],
        env: &[(String, String)],
    ) -> Result<Self> {
        Self::start_at(binary, args, env, 0).await
    }

    /// The same on a port of its own choice.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_at(
        binary: impl Into<PathBuf>,
        args: &[String],
        env: &[(String, String)],
        port: u16,
    ) -> Result<Self> {
        let program = Program { binary: binary.into(), args: args.to_vec(), env: env.to_vec() };
        Starting::spawn(&program, port)?.finish().await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Memory and CPU time that it uses.
    ///
    /// # Panics
    /// Where it has ended.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid()).unwrap_or_else(|error| panic!("{error:#}\n{}", self.log.text()))
    }

    /// SIGKILL: it is gone at once, and so is its memory.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
        self.has_ended = true;
    }

    /// Whether it has not been ended since it started; one that is stopped runs.
    pub fn is_running(&self) -> bool {
        !self.has_ended
    }

    /// SIGSTOP: its kernel accepts connections, and nobody answers.
    pub fn stop(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// SIGCONT: it goes on where it stopped.
    pub fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// SIGHUP: it reads its configuration again.
    pub fn hangup(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// SIGTERM, then waits for the end.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let mut status = None;
        eventually("the process ends after SIGTERM", limit, async || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        })
        .await;
        self.has_ended = true;
        status.expect("it has ended")
    }

    /// Starts it again on the same port and waits until it is ready, killing it first where it still runs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn restart(&mut self) -> Result<()> {
        self.respawn().await?;
        self.ready().await;
        Ok(())
    }

    /// The same without waiting until it is ready: it may need others for that.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn respawn(&mut self) -> Result<()> {
        self.kill();
        let started = Starting::spawn(&self.program, self.address.port())?.finish().await?;
        *self = started;
        Ok(())
    }

    /// Waits until `/ready` says yes.
    pub async fn ready(&self) {
        let ready = async || self.client().get("/ready").await.status == 200;
        eventually("the process is ready", START_LIMIT, ready).await;
    }

    /// The last lines of its log.
    pub fn log(&self) -> String {
        self.log.text()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        kill(pid, signal).unwrap_or_else(|error| panic!("{signal} to {pid}: {error}"));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already, as the test wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the end of the log of {:?}:\n{}", self.program.args, self.log.text());
        }
    }
}

impl Starting {
    pub(crate) fn spawn(program: &Program, port: u16) -> Result<Self> {
        let Program { binary, args, env } = program;
        let mut command = Command::new(binary);
        command.args(args).args(["--port", &port.to_string()]);
        // What happens to stand in the environment of whoever runs the tests configures nothing.
        command.env_clear().env("RUST_BACKTRACE", "1").envs(env.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| binary.display().to_string())?;
        let (said, first_line) = oneshot::channel();
        let stdout = child.stdout.take().context("stdout is piped")?;
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            if let Some(line) = lines.next() {
                let _ = said.send(line);
            }
            lines.for_each(drop);
        });
        let log = Log::default();
        let stderr = child.stderr.take().context("stderr is piped")?;
        std::thread::spawn({
            let log = log.clone();
            move || log.read(stderr)
        });
        Ok(Self { program: program.clone(), child, log, first_line })
    }

    pub(crate) async fn finish(self) -> Result<Process> {
        let Self { program, mut child, log, first_line } = self;
        let args = &program.args;
        let line = match timeout(START_LIMIT, first_line).await {
            Ok(Ok(line)) => line,
            Ok(Err(_)) => bail!("{args:?}: ended with {:?}\n{}", child.wait(), log.text()),
            Err(_) => {
                let _ = child.kill();
                bail!("{args:?}: said nothing for {START_LIMIT:?}\n{}", log.text());
            }
        };
        let address = line.split_once("listening on http://").and_then(|(_, rest)| rest.trim().parse().ok());
        let address = address.with_context(|| format!("{args:?}: no address in {line:?}"))?;
        Ok(Process { program, address, child, has_ended: false, log })
    }
}

impl Log {
    fn read(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut kept = self.0.lock().expect("nobody panics with the log");
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().expect("nobody panics with the log");
        kept.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }
}
