//! What a setting may hold, and how its text is read.

use std::net::IpAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::units::{format_bytes, format_duration, parse_bytes, parse_duration};

/// The shape and bounds of a value.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A host name or an IP address, without a port.
    Host,
    /// The name of a node or of a zone; may be empty, which means "not given".
    OptionalName,
    /// Visible ASCII characters; may be empty, which means "not given".
    OptionalText,
    /// The same, and never shown: of a URL the user and the password are left out, anything else is left out whole.
    Secret,
    /// Texts without commas; may be empty.
    List,
    /// A whole number, both ends included.
    Count(u64, u64),
    /// A whole number, both ends included, or empty, which means "not given".
    OptionalCount(u64, u64),
    /// A size in bytes, both ends included.
    Bytes(u64, u64),
    /// A duration, both ends included.
    Duration(Duration, Duration),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A log level, or directives such as `info,annulus_master=debug`.
    Directives,
}

/// A value in its shortest spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Canonical {
    NotGiven,
    Text(String),
    List(Vec<String>),
}

impl Canonical {
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::NotGiven => String::new(),
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(","),
        }
    }
}

impl Kind {
    /// What is allowed, to follow "must be" in an error and to stand alone in a table.
    pub fn allowed(&self) -> String {
        match self {
            Self::Host => "a host name or an IP address".to_owned(),
            Self::OptionalName => {
                "at most 253 visible ASCII characters other than `,` `=` `@` `*`, or empty".to_owned()
            }
            Self::OptionalText | Self::Secret => "visible ASCII characters, or empty".to_owned(),
            Self::List => "a list, in TOML an array, elsewhere comma separated".to_owned(),
            Self::Count(0, u64::MAX) => "a whole number".to_owned(),
            Self::Count(min, max) => format!("a whole number from {min} to {max}"),
            Self::OptionalCount(min, max) => format!("a whole number from {min} to {max}, or empty"),
            Self::Bytes(min, max) => format!("a size from {} to {}", format_bytes(*min), format_bytes(*max)),
            Self::Duration(min, max) => {
                format!("a duration from {} to {}", format_duration(*min), format_duration(*max))
            }
            Self::Choice(words) => {
                let quoted = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>();
                match quoted.split_last() {
                    Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
                    _ => quoted.concat(),
                }
            }
            Self::Directives => "`off`, `error`, `warn`, `info`, `debug` or `trace`, \
                                 with exceptions as in `info,annulus_master=debug`"
                .to_owned(),
        }
    }

    /// Reads a value and gives its shortest spelling. `bare_seconds` lets a bare number be a duration in seconds.
    pub(super) fn read(&self, text: &str, bare_seconds: bool) -> Result<Canonical, String> {
        let text = text.trim();
        let must_be = || format!("must be {}", self.allowed());
        let within = |holds: bool, canonical: String| {
            if holds { Ok(Canonical::Text(canonical)) } else { Err(must_be()) }
        };
        match self {
            Self::Host => within(is_host(text), text.to_owned()),
            Self::OptionalName | Self::OptionalCount(..) | Self::OptionalText | Self::Secret
                if text.is_empty() =>
            {
                Ok(Canonical::NotGiven)
            }
            Self::OptionalText | Self::Secret => {
                within(text.bytes().all(|byte| byte.is_ascii_graphic()), text.to_owned())
            }
            Self::OptionalName => within(is_name(text), text.to_owned()),
            Self::List => self.read_list(text.split(',').filter(|_| !text.is_empty())),
            Self::Count(min, max) | Self::OptionalCount(min, max) => {
                let count: u64 = text.parse().map_err(|_| must_be())?;
                within((*min..=*max).contains(&count), count.to_string())
            }
            Self::Bytes(min, max) => {
                let bytes = parse_bytes(text).map_err(|why| format!("{why}; {}", must_be()))?;
                within((*min..=*max).contains(&bytes), format_bytes(bytes))
            }
            Self::Duration(min, max) => {
                let duration = match text.parse() {
                    Ok(seconds) if bare_seconds => Duration::from_secs(seconds),
                    _ => parse_duration(text).map_err(|why| format!("{why}; {}", must_be()))?,
                };
                within((*min..=*max).contains(&duration), format_duration(duration))
            }
            Self::Choice(words) => within(words.contains(&text), text.to_owned()),
            Self::Directives => within(are_directives(text), text.to_owned()),
        }
    }

    /// The value as it may be shown.
    pub(super) fn shown(&self, text: &str) -> String {
        if !matches!(self, Self::Secret) || text.is_empty() {
            return text.to_owned();
        }
        match text.split_once("://") {
            None => "(hidden)".to_owned(),
            Some((scheme, rest)) => match rest.rsplit_once('@') {
                None => text.to_owned(),
                Some((_, host)) => format!("{scheme}://(hidden)@{host}"),
            },
        }
    }

    /// Reads a value that was given as several items. Only a list takes them.
    pub(super) fn read_list<'a>(
        &self,
        items: impl IntoIterator<Item = &'a str>,
    ) -> Result<Canonical, String> {
        if !matches!(self, Self::List) {
            return Err(format!("must be {}", self.allowed()));
        }
        let items: Vec<String> = items.into_iter().map(|item| item.trim().to_owned()).collect();
        if items.iter().any(String::is_empty) {
            return Err("one of its items is empty".to_owned());
        }
        Ok(Canonical::List(items))
    }
}

fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label))
}

fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_graphic() && !b",=@*".contains(&byte))
}

/// A word alone must be a level: the filter itself would take `inof` for the name of a module and trace it.
fn are_directives(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    text.split(',').all(|part| part.contains('=') || LEVELS.contains(&part.trim()))
        && EnvFilter::builder().parse(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: Kind, given: &str) -> Result<String, String> {
        kind.read(given, false).map(|canonical| canonical.to_text())
    }

    #[test]
    fn a_misspelt_level_is_refused_rather_than_traced() {
        assert_eq!(
            text(Kind::Directives, "info,annulus_master=debug"),
            Ok("info,annulus_master=debug".to_owned())
        );
        for wrong in ["", "inof", "info,", "annulus=loud", "info,annulus_master"] {
            assert!(text(Kind::Directives, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_are_included() {
        let kind = Kind::Count(1, 16);
        assert_eq!(text(kind, "1"), Ok("1".to_owned()));
        assert_eq!(text(kind, "16"), Ok("16".to_owned()));
        assert_eq!(text(kind, "17"), Err("must be a whole number from 1 to 16".to_owned()));
        assert_eq!(text(kind, "-1"), Err("must be a whole number from 1 to 16".to_owned()));
    }

    #[test]
    fn a_host_has_no_port_and_no_spaces() {
        for right in ["0.0.0.0", "::", "localhost", "cache_1.example.org"] {
            assert_eq!(text(Kind::Host, right), Ok(right.to_owned()));
        }
        for wrong in ["", "localhost:80", "a b", "a..b", "[::1]", "http://a"] {
            assert!(text(Kind::Host, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_list_is_comma_separated_and_has_no_holes() {
        assert_eq!(text(Kind::List, " a:1, b:2 "), Ok("a:1,b:2".to_owned()));
        assert_eq!(Kind::List.read("", false), Ok(Canonical::List(Vec::new())));
        assert!(text(Kind::List, "a:1,,b:2").is_err());
    }

    #[test]
    fn bare_seconds_hold_only_where_they_are_asked_for() {
        let kind = Kind::Duration(Duration::from_millis(1), Duration::from_secs(60));
        assert_eq!(kind.read("10", true), Ok(Canonical::Text("10s".to_owned())));
        assert_eq!(kind.read("1500ms", true), Ok(Canonical::Text("1500ms".to_owned())));
        assert!(kind.read("10", false).is_err());
        assert!(kind.read("61", true).is_err());
    }
}
