//! Memcached as clients see it, and the real one.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use annulus_protocol::memcached::exchange::{Case, SCRIPTS, SYNC, SYNCED, is_answered};
use anyhow::{Context as _, Result, bail};

/// How long an answer may take; debug builds on busy machines are slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// What a server is made with before a case: nothing in it, nothing counted.
const FRESH: &[u8] = b"flush_all\r\nstats reset\r\nstats detail off\r\n";
/// Free ports tried: another process may take one before memcached does.
const PORTS_TRIED: usize = 10;
const START_TRIES: usize = 200;
const START_PAUSE: Duration = Duration::from_millis(50);

/// A connection that sends just what it is told and waits for the answer. It blocks its thread.
#[derive(Debug)]
pub struct MemcachedClient(TcpStream);

impl MemcachedClient {
    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Self(stream))
    }

    /// Sends bytes and gives back what comes until they are answered, or until the server closes the connection.
    ///
    /// # Errors
    /// What the system says; `WouldBlock` where the answer takes too long.
    pub fn exchange(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut answer = self.answer(&[bytes, SYNC].concat())?;
        if answer.ends_with(SYNCED) {
            answer.truncate(answer.len() - SYNCED.len());
        }
        Ok(answer)
    }

    /// The same for bytes that end with [`SYNC`], whose answer is left in.
    fn answer(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
        self.0.write_all(bytes)?;
        while !is_answered(bytes, &answer) {
            match self.0.read(&mut chunk)? {
                0 => break,
                len => answer.extend_from_slice(&chunk[..len]),
            }
        }
        Ok(answer)
    }

    /// The stream, for what does not wait for an answer.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }
}

/// Goes through all written exchanges with a server that holds nothing that matters, but for those that `skips`; gives back
/// where it does not answer as written. It blocks its thread.
///
/// # Errors
/// Where the server cannot be reached, or does not answer in time.
pub fn differing_exchanges(address: SocketAddr, skips: impl Fn(&Case<'_>) -> bool) -> Result<Vec<String>> {
    let mut differing = Vec::new();
    let cases = SCRIPTS.iter().flat_map(|(_, script)| Case::all(script));
    for case in cases.filter(|case| !skips(case)) {
        let mut client = MemcachedClient::connect(address)?;
        client.exchange(FRESH)?;
        let mut failed = None;
        let done = case.run(|bytes| {
            client.answer(bytes).unwrap_or_else(|error| {
                failed = Some(error);
                Vec::new()
            })
        });
        if let Some(error) = failed {
            bail!("{}: {error}", case.name);
        }
        differing.extend(done.err());
    }
    Ok(differing)
}

/// Debian's memcached on a port of its own. It is killed when dropped.
#[derive(Debug)]
pub struct MemcachedServer {
    address: SocketAddr,
    process: Child,
}

impl MemcachedServer {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// Where it is not installed, or does not answer.
    pub fn start() -> Result<Self> {
        for _ in 0..PORTS_TRIED {
            let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            let process = Command::new("memcached")
                .args(["-l", "127.0.0.1", "-U", "0", "-t", "2", "-u", "nobody", "-p"])
                .arg(address.port().to_string())
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .context("the tests need memcached: apt-get install memcached")?;
            let mut server = Self { address, process };
            if server.answers()? {
                return Ok(server);
            }
        }
        bail!("memcached did not start on any of {PORTS_TRIED} ports")
    }

    /// Waits until it answers; false where it has ended.
    fn answers(&mut self) -> Result<bool> {
        for _ in 0..START_TRIES {
            if self.process.try_wait()?.is_some() {
                return Ok(false);
            }
            if MemcachedClient::connect(self.address).is_ok_and(|mut client| client.exchange(b"").is_ok()) {
                return Ok(true);
            }
            std::thread::sleep(START_PAUSE);
        }
        bail!("memcached does not answer on {}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MemcachedServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
