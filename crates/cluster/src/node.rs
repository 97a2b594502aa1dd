//! A node of the cluster, and how one is written down.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, zone or host.
pub const MAX_NAME_BYTES: usize = 253;

/// The largest weight. Only the ratio of weights matters, and each unit costs points on the ring.
pub const MAX_WEIGHT: u32 = 100;

const SHAPE: &str = "[name=]host:port[@zone][*weight]";

/// One auxiliary as the authority on membership describes it. Reads and writes as `[name=]host:port[@zone][*weight]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Node {
    /// The stable name that places it on the ring. Another name is another node, with other keys.
    pub name: String,
    /// `host:port` as given, an IPv6 address in brackets. It may change while the data stays.
    pub address: String,
    /// The failure zone, where one was given.
    pub zone: Option<String>,
    /// Shares of the key space, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

/// Why a text is not a node, or a node not a valid one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{}\" is no node: {why}; a node is written {SHAPE}, as in a=10.0.0.1:3001@east*2", item.escape_debug())]
pub struct NodeError {
    item: String,
    why: &'static str,
}

impl Node {
    /// A node of weight 1 without a zone.
    pub fn new(name: impl Into<String>, address: impl Into<String>) -> Self {
        Self { name: name.into(), address: address.into(), zone: None, weight: 1 }
    }

    /// What keeps a node from being valid: the rules that reading one from text enforces.
    ///
    /// # Errors
    /// A name or zone that is empty, too long or holds a character that has a meaning in the text form; an address
    /// that is not `host:port`; a weight out of bounds.
    pub fn check(&self) -> Result<(), NodeError> {
        let why = if let Some(why) = wrong_with_address(&self.address) {
            why
        } else if !is_word(&self.name) {
            "its name must be 1 to 253 visible ASCII characters other than , = @ *"
        } else if self.zone.as_deref().is_some_and(|zone| !is_word(zone)) {
            "its zone must be 1 to 253 visible ASCII characters other than , = @ *"
        } else if self.weight == 0 || self.weight > MAX_WEIGHT {
            "its weight must be a whole number from 1 to 100"
        } else {
            return Ok(());
        };
        Err(NodeError { item: self.to_string(), why })
    }
}

impl FromStr for Node {
    type Err = NodeError;

    fn from_str(item: &str) -> Result<Self, NodeError> {
        let (rest, weight) = match item.split_once('*') {
            Some((rest, weight)) => (rest, weight.parse().unwrap_or(0)),
            None => (item, 1),
        };
        let (rest, zone) = match rest.split_once('@') {
            Some((rest, zone)) => (rest, Some(zone.to_owned())),
            None => (rest, None),
        };
        let (name, address) = rest.split_once('=').unwrap_or((rest, rest));
        let node = Self { name: name.to_owned(), address: address.to_owned(), zone, weight };
        match node.check() {
            Ok(()) => Ok(node),
            Err(error) => Err(NodeError { item: item.to_owned(), ..error }),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name != self.address {
            write!(f, "{}=", self.name)?;
        }
        f.write_str(&self.address)?;
        if let Some(zone) = &self.zone {
            write!(f, "@{zone}")?;
        }
        if self.weight != 1 {
            write!(f, "*{}", self.weight)?;
        }
        Ok(())
    }
}

fn is_word(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b",=@*".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_plain)
}

fn wrong_with_address(address: &str) -> Option<&'static str> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Some("its address has no port");
    };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Some("its port must be a number from 1 to 65535");
    }
    if let Some(bracketed) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let valid = bracketed.parse::<Ipv6Addr>().is_ok();
        return (!valid).then_some("what is in brackets is no IPv6 address");
    }
    if host.contains(':') {
        return Some("an IPv6 address needs brackets, as in [::1]:3001");
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let valid = (1..=MAX_NAME_BYTES).contains(&host.len()) && host.bytes().all(is_host);
    (!valid).then_some("its host is neither a host name nor an IP address")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(item: &str) -> Node {
        item.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_node_is_named_after_its_address_unless_it_has_a_name() {
        assert_eq!(read("10.0.0.1:3001"), Node::new("10.0.0.1:3001", "10.0.0.1:3001"));
        assert_eq!(read("a=cache-1.example:3001"), Node::new("a", "cache-1.example:3001"));
        assert_eq!(read("[::1]:3001"), Node::new("[::1]:3001", "[::1]:3001"));
    }

    #[test]
    fn zone_and_weight_may_follow_the_address() {
        let zoned = Node { zone: Some("east".to_owned()), ..Node::new("a", "h:1") };
        assert_eq!(read("a=h:1@east"), zoned);
        assert_eq!(read("a=h:1@east*3"), Node { weight: 3, ..zoned });
        assert_eq!(read("h:1*2"), Node { weight: 2, ..Node::new("h:1", "h:1") });
    }

    #[test]
    fn a_node_is_written_as_it_is_read() {
        for item in ["h:1", "a=h:1", "a=h:1@east", "a=[::1]:1@east*3", "h:1*100"] {
            assert_eq!(read(item).to_string(), item);
        }
    }

    #[test]
    fn what_is_no_node_is_quoted_and_told_the_shape() {
        let error = "10.0.0.1".parse::<Node>().unwrap_err().to_string();
        assert_eq!(
            error,
            "\"10.0.0.1\" is no node: its address has no port; a node is written \
             [name=]host:port[@zone][*weight], as in a=10.0.0.1:3001@east*2"
        );
        let reasons = [
            ("", "address has no port"),
            ("h:0", "port must be"),
            ("h:+1", "port must be"),
            ("h:65536", "port must be"),
            ("h:", "port must be"),
            (":1", "host is neither"),
            ("http://h:1", "brackets"),
            ("h/x:1", "host is neither"),
            ("a b=h:1", "name must be"),
            ("=h:1", "name must be"),
            ("a=b=h:1", "host is neither"),
            ("::1:3001", "brackets"),
            ("[::g]:1", "no IPv6 address"),
            ("h:1@", "zone must be"),
            ("h:1@a@b", "zone must be"),
            ("h:1*0", "weight must be"),
            ("h:1*101", "weight must be"),
            ("h:1*2@east", "weight must be"),
            ("h\n:1", "host is neither"),
        ];
        for (item, reason) in reasons {
            let error = item.parse::<Node>().expect_err(item).to_string();
            assert!(error.contains(reason), "{item:?}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
