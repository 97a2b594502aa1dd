//! HTTP/1.1 by the byte: sends whatever it is told, well-formed or not, and reads answers strictly.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use annulus_protocol::{ErrorCode, Problem};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// One connection.
#[derive(Debug)]
pub struct RawHttp {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub enum Received {
    /// A whole answer.
    Answer(Answer),
    /// The server closed the connection, before an answer or in the middle of one.
    Closed,
    /// Neither, until the deadline.
    Nothing,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers in order, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
}

impl RawHttp {
    /// Connects.
    ///
    /// # Errors
    /// What the operating system says.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Where the server has closed the connection.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Sends `bytes` piece by piece, one each `interval`, until all are sent or the server has closed the connection.
    ///
    /// # Errors
    /// Where the server closed it, which is what a client this slow deserves.
    pub async fn send_slowly(&mut self, bytes: &[u8], piece: usize, interval: Duration) -> io::Result<()> {
        let mut ticks = tokio::time::interval(interval);
        for piece in bytes.chunks(piece) {
            ticks.tick().await;
            self.send(piece).await?;
        }
        Ok(())
    }

    /// Says that no more will be sent, and keeps listening.
    ///
    /// # Errors
    /// Where the connection is closed already.
    pub async fn finish_sending(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Waits for the answer to a request that was not `HEAD`.
    pub async fn receive(&mut self, limit: Duration) -> Received {
        self.receive_answer(limit, false).await
    }

    /// Waits for the answer to a `HEAD` request, which has no body whatever its headers say.
    pub async fn receive_head(&mut self, limit: Duration) -> Received {
        self.receive_answer(limit, true).await
    }

    /// Waits until the server closes the connection, throwing away what it still says; `false` where it does not.
    pub async fn closes_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut sink = [0; 4096];
        loop {
            match timeout_at(deadline, self.stream.read(&mut sink)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }

    async fn receive_answer(&mut self, limit: Duration, head: bool) -> Received {
        match timeout_at(Instant::now() + limit, self.read_answer(head)).await {
            Ok(Ok(answer)) => Received::Answer(answer),
            Ok(Err(_)) => Received::Closed,
            Err(_) => Received::Nothing,
        }
    }

    async fn read_answer(&mut self, head: bool) -> io::Result<Answer> {
        let line = self.read_line().await?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.filter(|_| line.starts_with("HTTP/1.1 ")).unwrap_or_else(|| panic!("{line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer { status, headers, body: Vec::new() };
        if head || matches!(status, 100..=199 | 204 | 304) {
            return Ok(answer);
        }
        answer.body = if answer.header("transfer-encoding") == Some("chunked") {
            self.read_chunks().await?
        } else {
            let length = answer.header("content-length").and_then(|length| length.parse().ok());
            self.read_exactly(length.expect("an answer says how long its body is")).await?
        };
        Ok(answer)
    }

    async fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.read_line().await?;
            let size = usize::from_str_radix(&size, 16).expect("a chunk says its size");
            body.extend(self.read_exactly(size).await?);
            self.read_line().await?;
            if size == 0 {
                return Ok(body);
            }
        }
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.unread.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8(line).expect("the head of an answer is text"));
            }
            self.read_more().await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            self.read_more().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

impl Received {
    /// The answer.
    ///
    /// # Panics
    /// Where there is none.
    #[track_caller]
    pub fn answer(self) -> Answer {
        match self {
            Self::Answer(answer) => answer,
            Self::Closed => panic!("the connection was closed without an answer"),
            Self::Nothing => panic!("no answer in time"),
        }
    }
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        let parsed = serde_json::from_slice(&self.body);
        parsed.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks that this is a problem of the kind `code`, by its media type, its status and its body.
    ///
    /// # Panics
    /// Where it is not.
    #[track_caller]
    pub fn problem(&self, code: ErrorCode) -> Problem {
        let shown = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, code.status(), "{shown}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{shown}");
        let problem: Problem = serde_json::from_slice(&self.body).expect("a problem document");
        assert_eq!((problem.code, problem.status), (code, self.status), "{shown}");
        assert!(!problem.detail.is_empty(), "{shown}");
        problem
    }
}
