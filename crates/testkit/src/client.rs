//! A client for well-formed requests. It opens a connection for each, so that no request depends on another.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use annulus_protocol::Key;

use crate::raw_http::{Answer, RawHttp};

/// Longer than any request may take: an answer that does not come by then never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Talks to one node.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Request {
    address: SocketAddr,
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// The path of a key's entry.
///
/// # Panics
/// Where the bytes are no key: such a path is for the test to write.
pub fn path_of(key: impl AsRef<[u8]>) -> String {
    format!("/data/{}", Key::new(key.as_ref().to_vec()).expect("a key of 1 to 250 bytes"))
}

impl Client {
    /// A client of the node that listens there.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A request that sends `target` as it is.
    pub fn request(&self, method: &'static str, target: impl Into<String>) -> Request {
        let (headers, body) = (Vec::new(), Vec::new());
        Request { address: self.address, method, target: target.into(), headers, body }
    }

    /// `GET` of a path.
    pub async fn get(&self, target: impl Into<String>) -> Answer {
        self.request("GET", target).send().await
    }

    /// `POST` of a JSON document.
    pub async fn post(&self, target: impl Into<String>, document: &serde_json::Value) -> Answer {
        self.request("POST", target).json(document.to_string()).send().await
    }

    /// `PUT` of bytes as an entry.
    pub async fn put(&self, target: impl Into<String>, value: impl Into<Vec<u8>>) -> Answer {
        self.request("PUT", target).body(value).send().await
    }

    /// Stores a text as JSON and expects it to work; returns its version.
    pub async fn store(&self, key: &str, value: &str) -> String {
        let answer = self.post("/data", &serde_json::json!({ "key": key, "value": value })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["version"].as_str().expect("a version").to_owned()
    }
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a JSON body, which need not be JSON at all.
    pub fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    /// Sends it and reads the answer.
    ///
    /// # Panics
    /// Where there is no answer: every well-formed request has one.
    pub async fn send(self) -> Answer {
        let shown = format!("{} {} to {}", self.method, self.target, self.address);
        let connection = RawHttp::connect(self.address).await;
        let mut connection = connection.unwrap_or_else(|error| panic!("{shown}: {error}"));
        // An answer may come before the request is sent whole, and says more than the broken connection does.
        let sent = connection.send(self.bytes()).await;
        let received = match self.method {
            "HEAD" => connection.receive_head(PATIENCE).await,
            _ => connection.receive(PATIENCE).await,
        };
        match received {
            crate::Received::Answer(answer) => answer,
            other => panic!("{shown}: {other:?} (sending: {sent:?})"),
        }
    }

    /// The request as it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", self.method, self.target, self.address);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let has_body = !self.body.is_empty() || matches!(self.method, "POST" | "PUT");
        if has_body && !self.headers.iter().any(|(name, _)| name == "content-length") {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_as_it_is_written() {
        let client = Client::new("127.0.0.1:1".parse().unwrap());
        let bytes = client.request("PUT", "/data/a%2Fb").header("x", "1").body("v").bytes();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(
            text,
            "PUT /data/a%2Fb HTTP/1.1\r\nhost: 127.0.0.1:1\r\nx: 1\r\ncontent-length: 1\r\n\r\nv"
        );
    }

    #[test]
    fn a_key_is_escaped_for_its_path() {
        assert_eq!(path_of(b"a/\xff"), "/data/a%2F%FF");
    }
}
