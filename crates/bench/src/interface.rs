//! What requests look like over HTTP, and what an answer of 200 says.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};
use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::protocol::{Call, Operation};

/// All but the characters that no server may tell apart from their escapes (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same with the dot, behind which webdis reads a format.
const ESCAPED_DOT: &AsciiSet = &ESCAPED.add(b'.');
/// As much of webdis' answer as says how the command went.
const KEPT_OUTCOME_BYTES: usize = 256;

/// Which HTTP interface is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Interface {
    /// A master's, values as their bytes: `GET /data/KEY?raw`, `PUT`, `DELETE`
    Raw,
    /// A master's, values in JSON: `GET /data/KEY`, `POST /data`, `DELETE`
    Json,
    /// That of webdis before a Redis, to compare: `GET /GET/KEY`, `PUT /SET/KEY`, `GET /DEL/KEY`
    Webdis,
}

/// A request without its host.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) method: Method,
    pub(crate) path: Bytes,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Bytes,
}

/// What an answer of 200 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    Hit,
    Miss,
    Done,
    /// That the command failed, or nothing that is understood.
    Failed,
}

impl Interface {
    /// The request for `call`; its path is made in `buffer`.
    pub(crate) fn request(self, call: &Call<'_>, ttl_s: Option<u64>, buffer: &mut BytesMut) -> Parts {
        match (self, call) {
            (Self::Webdis, _) => webdis(call, ttl_s, buffer),
            (_, Call::Post { key, value }) | (Self::Json, Call::Put { key, value }) => Parts {
                method: Method::POST,
                path: Bytes::from_static(b"/data"),
                content_type: Some("application/json"),
                body: document(key, value, ttl_s),
            },
            (_, Call::Get { keys }) => {
                let query = if self == Self::Raw { "?raw" } else { "" };
                let path = path(buffer, "/data/", keys.first(), ESCAPED, query);
                Parts { method: Method::GET, path, content_type: None, body: Bytes::new() }
            }
            (_, Call::Put { key, value }) => {
                let query = ttl_s.map_or_else(String::new, |ttl_s| format!("?ttl={ttl_s}"));
                let path = path(buffer, "/data/", key, ESCAPED, &query);
                let content_type = Some("application/octet-stream");
                Parts { method: Method::PUT, path, content_type, body: (*value).clone() }
            }
            (_, Call::Delete { key }) => {
                let path = path(buffer, "/data/", key, ESCAPED, "");
                Parts { method: Method::DELETE, path, content_type: None, body: Bytes::new() }
            }
        }
    }

    /// How much of the body of an answer of 200 must be kept.
    pub(crate) fn kept_bytes(self, operation: Operation, keeps_values: bool) -> usize {
        match (self, operation) {
            (_, Operation::Get) if keeps_values => usize::MAX,
            (Self::Webdis, _) => KEPT_OUTCOME_BYTES,
            _ => 0,
        }
    }

    /// What `body`, as far as it was kept, says.
    pub(crate) fn read(self, operation: Operation, body: &[u8]) -> Said {
        match (self, operation) {
            (Self::Webdis, Operation::Get) if body == b"{\"GET\":null}" => Said::Miss,
            (Self::Webdis, Operation::Get) if body.starts_with(b"{\"GET\":\"") => Said::Hit,
            (Self::Webdis, Operation::Set)
                if body.starts_with(b"{\"SET\":[true") || body.starts_with(b"{\"SETEX\":[true") =>
            {
                Said::Done
            }
            (Self::Webdis, Operation::Delete) if matches!(body, b"{\"DEL\":0}" | b"{\"DEL\":1}") => {
                Said::Done
            }
            (Self::Webdis, _) => Said::Failed,
            (_, Operation::Get) => Said::Hit,
            (_, Operation::Set | Operation::Delete) => Said::Done,
        }
    }

    /// The value in the whole body of a hit; `None` where there is none in it.
    pub(crate) fn value(self, body: &[u8]) -> Option<Cow<'_, [u8]>> {
        let field = match self {
            Self::Raw => return Some(body.into()),
            Self::Json => "value",
            Self::Webdis => "GET",
        };
        let document: serde_json::Value = serde_json::from_slice(body).ok()?;
        Some(document.get(field)?.as_str()?.as_bytes().to_vec().into())
    }
}

fn webdis(call: &Call<'_>, ttl_s: Option<u64>, buffer: &mut BytesMut) -> Parts {
    let mut at = |command, key, rest: &str| path(buffer, command, key, ESCAPED_DOT, rest);
    let (method, path, body) = match call {
        Call::Get { keys } => (Method::GET, at("/GET/", keys.first(), ""), Bytes::new()),
        Call::Delete { key } => (Method::GET, at("/DEL/", key, ""), Bytes::new()),
        Call::Put { key, value } | Call::Post { key, value } => {
            let path = match ttl_s {
                Some(ttl_s) => at("/SETEX/", key, &format!("/{ttl_s}")),
                None => at("/SET/", key, ""),
            };
            (Method::PUT, path, (*value).clone())
        }
    };
    Parts { method, path, content_type: None, body }
}

/// Once hyper has let go of the path, the buffer takes its memory back for the next request.
fn path(buffer: &mut BytesMut, before: &str, key: &str, escaped: &'static AsciiSet, after: &str) -> Bytes {
    buffer.put_slice(before.as_bytes());
    for piece in utf8_percent_encode(key, escaped) {
        buffer.put_slice(piece.as_bytes());
    }
    buffer.put_slice(after.as_bytes());
    buffer.split().freeze()
}

fn document(key: &str, value: &Bytes, ttl_s: Option<u64>) -> Bytes {
    let mut document = BytesMut::with_capacity(key.len() + value.len() + 64);
    document.put_slice(b"{\"key\":");
    document.put_slice(serde_json::Value::from(key).to_string().as_bytes());
    document.put_slice(b",\"value\":\"");
    document.put_slice(value);
    document.put_slice(b"\"");
    if let Some(ttl_s) = ttl_s {
        document.put_slice(format!(",\"ttl\":{ttl_s}").as_bytes());
    }
    document.put_slice(b"}");
    document.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(interface: Interface, ttl_s: Option<u64>) -> Vec<String> {
        let value = Bytes::from_static(b"v");
        let key = "a.b/c";
        let calls =
            [Call::Put { key, value: &value }, Call::Post { key, value: &value }, Call::Delete { key }];
        let text = |call| {
            let parts = interface.request(call, ttl_s, &mut BytesMut::new());
            let [path, body] = [&parts.path, &parts.body].map(|bytes| String::from_utf8_lossy(bytes));
            format!("{} {path} {body}", parts.method)
        };
        calls.iter().map(text).collect()
    }

    #[test]
    fn each_interface_has_its_own_words() {
        let json = "POST /data {\"key\":\"a.b/c\",\"value\":\"v\"}";
        assert_eq!(
            paths(Interface::Raw, None),
            ["PUT /data/a.b%2Fc v", json, "DELETE /data/a.b%2Fc "],
            "a replay stores as a user of the JSON interface does"
        );
        assert_eq!(paths(Interface::Raw, Some(7))[0], "PUT /data/a.b%2Fc?ttl=7 v");
        assert_eq!(paths(Interface::Json, None)[..2], [json, json]);
        let webdis = ["PUT /SET/a%2Eb%2Fc v", "PUT /SET/a%2Eb%2Fc v", "GET /DEL/a%2Eb%2Fc "];
        assert_eq!(paths(Interface::Webdis, None), webdis);
        assert_eq!(paths(Interface::Webdis, Some(7))[0], "PUT /SETEX/a%2Eb%2Fc/7 v");
    }

    #[test]
    fn webdis_says_in_the_body_how_it_went() {
        let read = |operation, body: &str| Interface::Webdis.read(operation, body.as_bytes());
        assert_eq!(read(Operation::Get, "{\"GET\":\"abc\"}"), Said::Hit);
        assert_eq!(read(Operation::Get, "{\"GET\":null}"), Said::Miss);
        assert_eq!(read(Operation::Get, "{\"GET\":[false,\"WRONGTYPE\"]}"), Said::Failed);
        assert_eq!(read(Operation::Set, "{\"SET\":[true,\"OK\"]}"), Said::Done);
        assert_eq!(read(Operation::Set, "{\"SET\":[false,\"OOM\"]}"), Said::Failed);
        assert_eq!(read(Operation::Delete, "{\"DEL\":1}"), Said::Done);
        assert_eq!(Interface::Webdis.value(b"{\"GET\":\"abc\"}").as_deref(), Some(&b"abc"[..]));
        let json = br#"{"key":"k","value":"abc","version":"7"}"#;
        assert_eq!(Interface::Json.value(json).as_deref(), Some(&b"abc"[..]));
        assert_eq!(Interface::Json.value(b"abc"), None);
    }
}
