//! What the flags' values look like: shares, sizes, URLs.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::protocol::Protocol;

/// The largest value the generator makes, in bytes; its pool of bytes is this long at most.
pub(crate) const MAX_VALUE_BYTES: usize = 64 << 20;

/// A share between 0 and 1.
pub(crate) fn ratio(text: &str) -> Result<f64, String> {
    let ratio: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err("must be from 0 to 1".to_owned()) }
}

/// A positive, finite number.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("must be more than 0".to_owned()) }
}

fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let each: usize = match unit {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        _ => return Err(format!("unknown unit {unit:?}: write 100, 4Ki or 1Mi")),
    };
    let number: usize =
        number.parse().map_err(|_| "not a size: write 100, 4Ki, 1Mi or 100-1000".to_owned())?;
    match number.checked_mul(each) {
        Some(bytes) if bytes <= MAX_VALUE_BYTES => Ok(bytes),
        _ => Err("a value is at most 64Mi".to_owned()),
    }
}

/// The size of a written value: one size (`100`), or a range that sizes are drawn from uniformly (`100-1000`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueSize(RangeInclusive<usize>);

impl ValueSize {
    /// The smallest size, in bytes.
    pub fn min_bytes(&self) -> usize {
        *self.0.start()
    }

    /// The largest size, in bytes.
    pub fn max_bytes(&self) -> usize {
        *self.0.end()
    }
}

impl FromStr for ValueSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = match text.split_once('-') {
            Some((low, high)) => (bytes(low)?, bytes(high)?),
            None => (bytes(text)?, bytes(text)?),
        };
        if low <= high { Ok(Self(low..=high)) } else { Err("the range's end is below its start".to_owned()) }
    }
}

impl fmt::Display for ValueSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.start())?;
        if self.0.start() == self.0.end() { Ok(()) } else { write!(f, "-{}", self.0.end()) }
    }
}

/// memcached's usual port, and the first master's of `annulus dev`.
const MEMCACHED_PORT: u16 = 11211;

/// Where a server listens: `http://HOST:PORT` or `memcached://HOST:PORT`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    protocol: Protocol,
    authority: String,
    port: u16,
}

impl Url {
    /// `HOST:PORT` to dial.
    pub(crate) fn dial(&self) -> String {
        if self.authority.ends_with(&format!(":{}", self.port)) {
            self.authority.clone()
        } else {
            format!("{}:{}", self.authority, self.port)
        }
    }

    /// What is spoken there.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// What the `Host` header says.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected http://HOST:PORT or memcached://HOST:PORT";
        let uri: http::Uri = text.trim().parse().map_err(|_| expected.to_owned())?;
        let (protocol, default_port) = match uri.scheme_str() {
            Some("http") => (Protocol::Http, 80),
            Some("memcached") => (Protocol::Memcached, MEMCACHED_PORT),
            Some("https") => {
                return Err("TLS is not spoken here: name the master's own http:// address".to_owned());
            }
            _ => return Err(expected.to_owned()),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(format!("{expected}, without a path"));
        }
        let authority = uri.authority().ok_or(expected)?;
        if authority.as_str().contains('@') {
            return Err(format!("{expected}, without a user"));
        }
        let port = authority.port_u16().unwrap_or(default_port);
        Ok(Self { protocol, authority: authority.as_str().to_owned(), port })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.protocol.scheme(), self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_sizes_are_fixed_or_a_range() {
        let size = |text: &str| text.parse::<ValueSize>();
        assert_eq!(size("100").unwrap().to_string(), "100");
        assert_eq!(size("100-1Ki").unwrap(), ValueSize(100..=1024));
        for wrong in ["", "-", "5-", "9-3", "1Gi", "65Mi", "x"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_is_a_host_and_a_port_and_nothing_else() {
        let url = |text: &str| text.parse::<Url>();
        assert_eq!(url("http://127.0.0.1:8000").unwrap().dial(), "127.0.0.1:8000");
        assert_eq!(url("http://cache/").unwrap().dial(), "cache:80");
        assert_eq!(url("http://[::1]:8000").unwrap().dial(), "[::1]:8000");
        let memcached = url("memcached://cache").unwrap();
        assert_eq!((memcached.dial(), memcached.protocol()), ("cache:11211".to_owned(), Protocol::Memcached));
        assert_eq!(memcached.to_string(), "memcached://cache");
        for wrong in
            ["https://a:1", "a:1", "127.0.0.1", "http://a/x", "http://u@a:1", "http://", "http://a?b"]
        {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
