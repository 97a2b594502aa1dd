//! Counters by prefix of the key.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::BufMut;

use crate::memcached::Detail;
use crate::memcached::outcome::Outcome;
use crate::memcached::render::{END, put_key};
use crate::memcached::wants::{Tally, Wants};

/// What ends a key's prefix.
pub(super) const PREFIX_END: u8 = b':';

/// Counters by the part of a key in front of its first colon, for `stats detail`. Keys without a colon are not counted,
/// nor is a new prefix where there are [`PrefixCounts::MAX_PREFIXES`].
#[derive(Debug, Clone, Default)]
pub struct PrefixCounts(BTreeMap<Vec<u8>, [u64; 4]>);

impl PrefixCounts {
    /// Prefixes at most: they come from clients.
    pub const MAX_PREFIXES: usize = 1000;

    /// Counts what came of one key.
    pub fn count(&mut self, wants: &Wants, key: &[u8], outcome: &Outcome<'_>) {
        let Some(end) = key.iter().position(|byte| *byte == PREFIX_END) else { return };
        let columns: &[usize] = match (wants.tally, outcome) {
            (Tally::Get, Outcome::Hit(_)) => &[0, 1],
            (Tally::Get, _) => &[0],
            (Tally::Store | Tally::Swap, _) => &[2],
            (Tally::Delete, _) => &[3],
            _ => return,
        };
        let prefix = &key[..end];
        if !self.0.contains_key(prefix) && self.0.len() >= Self::MAX_PREFIXES {
            return;
        }
        let row = self.0.entry(prefix.to_vec()).or_default();
        for column in columns {
            row[*column] += 1;
        }
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        self.0.clear();
    }

    /// Writes the whole answer to `stats detail dump`.
    pub fn render(&self, out: &mut impl BufMut) {
        for (prefix, [get, hit, set, del]) in &self.0 {
            out.put_slice(b"PREFIX ");
            put_key(prefix, false, out);
            out.put_slice(format!(" get {get} hit {hit} set {set} del {del}\r\n").as_bytes());
        }
        out.put_slice(END);
    }
}

/// What a server counts by prefix, from `stats detail on` to `stats detail off`.
#[derive(Debug, Default)]
pub struct Prefixes {
    is_on: AtomicBool,
    counts: Mutex<PrefixCounts>,
}

impl Prefixes {
    /// Counts what came of one key, if that is wanted.
    pub fn count(&self, wants: &Wants, key: &[u8], outcome: &Outcome<'_>) {
        if self.is_on() {
            self.counts().count(wants, key, outcome);
        }
    }

    /// Whether it counts.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Starts anew.
    pub fn reset(&self) {
        self.counts().reset();
    }

    /// Answers `stats detail`.
    pub fn answer(&self, detail: Detail, out: &mut impl BufMut) {
        if detail == Detail::Dump {
            return self.counts().render(out);
        }
        self.is_on.store(detail == Detail::On, Ordering::Relaxed);
        out.put_slice(b"OK\r\n");
    }

    fn counts(&self) -> MutexGuard<'_, PrefixCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::{Limits, Parser, Step};

    #[test]
    fn prefixes_are_bounded_and_those_that_are_known_count_on() {
        let Step::Request { request, .. } = Parser::new(Limits::default()).next(b"get a\r\n") else {
            panic!()
        };
        let mut counts = PrefixCounts::default();
        for i in 0..=PrefixCounts::MAX_PREFIXES {
            counts.count(&request.wants, format!("{i}:key").as_bytes(), &Outcome::NotFound);
        }
        counts.count(&request.wants, b"0:key", &Outcome::NotFound);
        counts.count(&request.wants, b"no prefix", &Outcome::NotFound);
        let mut out = Vec::new();
        counts.render(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), PrefixCounts::MAX_PREFIXES + 1);
        assert!(text.contains("PREFIX 0 get 2 hit 0 set 0 del 0\r\n"));
    }
}
