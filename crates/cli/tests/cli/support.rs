//! Running the program and reading what it says.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The standard output of a run that has to succeed.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The standard error of a run that has to fail with `code`.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.stdout, "", "an error belongs on stderr");
        self.stderr
    }
}

/// The program with an empty environment: what the developer's shell has set is no part of a test.
pub(crate) fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annulus"));
    command.args(args).env_clear();
    command
}

/// Runs the program to its end.
pub(crate) fn annulus(args: &[&str]) -> Ran {
    ran(program(args).output().unwrap())
}

/// Runs the program to its end with variables set.
pub(crate) fn annulus_with(env: &[(&str, &str)], args: &[&str]) -> Ran {
    ran(program(args).envs(env.iter().copied()).output().unwrap())
}

/// Runs the program to its end with bytes on its standard input, and gives its standard output as bytes.
pub(crate) fn annulus_fed(input: &[u8], args: &[&str]) -> Output {
    let mut child = program(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A server of the program. It is killed when the test ends.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// What it had printed when it was up.
    pub(crate) greeting: String,
}

impl Running {
    /// Starts the program and reads on until a line holds `until`.
    pub(crate) fn start(args: &[&str], until: &str) -> Self {
        Self::start_with(&[], args, until)
    }

    /// The same with variables set.
    pub(crate) fn start_with(env: &[(&str, &str)], args: &[&str], until: &str) -> Self {
        let mut child = program(args).envs(env.iter().copied()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, stdout, greeting: String::new() };
        while !running.greeting.lines().any(|line| line.contains(until)) {
            let read = running.stdout.read_line(&mut running.greeting).unwrap();
            assert!(read > 0, "{args:?} ended after saying {:?}", running.greeting);
        }
        running
    }

    /// A whole cluster on free ports.
    pub(crate) fn dev(args: &[&str]) -> Self {
        Self::start(&[&["dev", "--port-base", "0"], args].concat(), "Ctrl-C stops it")
    }

    /// The URL of the node of this name, from the table.
    pub(crate) fn url(&self, name: &str) -> String {
        let mut rows = self.greeting.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.get(1) == Some(&name)).unwrap_or_else(|| panic!("{}", self.greeting));
        row[2].to_owned()
    }

    /// Sends a signal and waits for the end: the exit code, and what was printed since the start.
    pub(crate) fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
