//! What `stats` answers: counters by command, the figures of a server, its settings, counters by prefix of the key.

mod figures;
mod prefixes;

use std::fmt::Display;
use std::ops::AddAssign;

use bytes::BufMut;

use super::outcome::Outcome;
use super::wants::{Tally, Wants};

pub use figures::{Figures, Settings};
pub use prefixes::{PrefixCounts, Prefixes};

/// The memcached whose protocol is spoken, and this program's own version.
pub const VERSION: &str = concat!("1.6.45-annulus-", env!("CARGO_PKG_VERSION"));
/// What `version` answers.
pub const VERSION_LINE: &str = concat!("VERSION 1.6.45-annulus-", env!("CARGO_PKG_VERSION"), "\r\n");
/// What `stats sizes` answers: there are no size classes to count by.
pub const SIZES: &[u8] = b"STAT sizes_status disabled\r\nEND\r\n";
/// What `stats reset` answers.
pub const RESET: &[u8] = b"RESET\r\n";

/// Writes one figure. Control characters are left out of it.
pub fn put_stat(name: &str, value: impl Display, out: &mut impl BufMut) {
    let text = format!("STAT {name} {value}");
    text.bytes().filter(|byte| !byte.is_ascii_control()).for_each(|byte| out.put_u8(byte));
    out.put_slice(b"\r\n");
}

/// Writes one item of `stats cachedump`: the key (in base64 where it came so), the length of its value, and when it
/// expires, in seconds since the Unix epoch, or 0.
pub fn put_dumped_item(
    key: &[u8],
    binary: bool,
    value_bytes: usize,
    expires_unix_s: u64,
    out: &mut impl BufMut,
) {
    out.put_slice(b"ITEM ");
    super::render::put_key(key, binary, out);
    out.put_slice(format!(" [{value_bytes} b; {expires_unix_s} s]\r\n").as_bytes());
}

/// Counters by command, as memcached counts them. Plain numbers: a server keeps one set for each connection or thread
/// and adds them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names are those of the figures, which memcached documents")]
pub struct Counts {
    pub cmd_get: u64,
    pub cmd_set: u64,
    pub cmd_flush: u64,
    pub cmd_touch: u64,
    pub cmd_meta: u64,
    pub get_hits: u64,
    pub get_misses: u64,
    pub get_expired: u64,
    pub get_flushed: u64,
    pub delete_misses: u64,
    pub delete_hits: u64,
    pub incr_misses: u64,
    pub incr_hits: u64,
    pub decr_misses: u64,
    pub decr_hits: u64,
    pub cas_misses: u64,
    pub cas_hits: u64,
    pub cas_badval: u64,
    pub touch_hits: u64,
    pub touch_misses: u64,
    pub store_too_large: u64,
    pub store_no_memory: u64,
}

impl Counts {
    /// Counts what came of one key.
    pub fn count(&mut self, wants: &Wants, outcome: &Outcome<'_>) {
        let is_miss = matches!(outcome, Outcome::NotFound);
        match outcome {
            Outcome::TooLarge => self.store_too_large += 1,
            Outcome::NoMemory => self.store_no_memory += 1,
            _ => {}
        }
        match wants.tally {
            Tally::Get => {
                self.cmd_get += 1;
                *either(is_miss, &mut self.get_misses, &mut self.get_hits) += 1;
            }
            Tally::Touch => {
                self.cmd_touch += 1;
                *either(is_miss, &mut self.touch_misses, &mut self.touch_hits) += 1;
            }
            Tally::Store => self.cmd_set += 1,
            Tally::Swap => {
                self.cmd_set += 1;
                match outcome {
                    Outcome::NotFound => self.cas_misses += 1,
                    Outcome::Exists => self.cas_badval += 1,
                    Outcome::Stored { .. } => self.cas_hits += 1,
                    _ => {}
                }
            }
            Tally::Delete => {
                let missed = is_miss || matches!(outcome, Outcome::Exists);
                *either(missed, &mut self.delete_misses, &mut self.delete_hits) += 1;
            }
            Tally::Up => self.count_delta(outcome, true),
            Tally::Down => self.count_delta(outcome, false),
            Tally::Flush => self.cmd_flush += 1,
            Tally::Debug => self.cmd_meta += 1,
            Tally::Nothing => {}
        }
    }

    fn count_delta(&mut self, outcome: &Outcome<'_>, up: bool) {
        match outcome {
            Outcome::Number(_) => *either(up, &mut self.incr_hits, &mut self.decr_hits) += 1,
            Outcome::NotFound => *either(up, &mut self.incr_misses, &mut self.decr_misses) += 1,
            _ => {}
        }
    }

    /// What was counted since these were the counts.
    pub fn since(&self, before: &Self) -> Self {
        let mut since = *self;
        since.each_with(before, |count, before| *count -= before);
        since
    }

    /// Each figure with its name, in memcached's order.
    pub fn named(&self) -> [(&'static str, u64); 22] {
        [
            ("cmd_get", self.cmd_get),
            ("cmd_set", self.cmd_set),
            ("cmd_flush", self.cmd_flush),
            ("cmd_touch", self.cmd_touch),
            ("cmd_meta", self.cmd_meta),
            ("get_hits", self.get_hits),
            ("get_misses", self.get_misses),
            ("get_expired", self.get_expired),
            ("get_flushed", self.get_flushed),
            ("delete_misses", self.delete_misses),
            ("delete_hits", self.delete_hits),
            ("incr_misses", self.incr_misses),
            ("incr_hits", self.incr_hits),
            ("decr_misses", self.decr_misses),
            ("decr_hits", self.decr_hits),
            ("cas_misses", self.cas_misses),
            ("cas_hits", self.cas_hits),
            ("cas_badval", self.cas_badval),
            ("touch_hits", self.touch_hits),
            ("touch_misses", self.touch_misses),
            ("store_too_large", self.store_too_large),
            ("store_no_memory", self.store_no_memory),
        ]
    }
}

fn either<'a>(first: bool, one: &'a mut u64, other: &'a mut u64) -> &'a mut u64 {
    if first { one } else { other }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.each_with(&other, |count, more| *count += more);
    }
}

impl Counts {
    /// Does something with each figure and the other's.
    fn each_with(&mut self, other: &Self, mut change: impl FnMut(&mut u64, u64)) {
        change(&mut self.cmd_get, other.cmd_get);
        change(&mut self.cmd_set, other.cmd_set);
        change(&mut self.cmd_flush, other.cmd_flush);
        change(&mut self.cmd_touch, other.cmd_touch);
        change(&mut self.cmd_meta, other.cmd_meta);
        change(&mut self.get_hits, other.get_hits);
        change(&mut self.get_misses, other.get_misses);
        change(&mut self.get_expired, other.get_expired);
        change(&mut self.get_flushed, other.get_flushed);
        change(&mut self.delete_misses, other.delete_misses);
        change(&mut self.delete_hits, other.delete_hits);
        change(&mut self.incr_misses, other.incr_misses);
        change(&mut self.incr_hits, other.incr_hits);
        change(&mut self.decr_misses, other.decr_misses);
        change(&mut self.decr_hits, other.decr_hits);
        change(&mut self.cas_misses, other.cas_misses);
        change(&mut self.cas_hits, other.cas_hits);
        change(&mut self.cas_badval, other.cas_badval);
        change(&mut self.touch_hits, other.touch_hits);
        change(&mut self.touch_misses, other.touch_misses);
        change(&mut self.store_too_large, other.store_too_large);
        change(&mut self.store_no_memory, other.store_no_memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_connections_add_up() {
        let one = Counts { cmd_get: 1, store_no_memory: 2, ..Counts::default() };
        let mut sum = Counts::default();
        sum += one;
        sum += one;
        assert_eq!(sum, Counts { cmd_get: 2, store_no_memory: 4, ..Counts::default() });
        assert_eq!(sum.named().iter().map(|(_, value)| value).sum::<u64>(), 6);
    }

    #[test]
    fn what_a_server_tells_of_itself_ends_and_holds_what_clients_look_for() {
        let mut out = Vec::new();
        Figures { version: "1\r\n2", rusage_user_us: 1_000_002, ..Figures::default() }
            .render(&Counts::default(), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.ends_with("STAT lrutail_reflocked 0\r\nEND\r\n")
                && text.contains("STAT rusage_user 1.000002\r\n")
        );
        assert!(text.contains("STAT version 12\r\n") && text.contains("STAT pointer_size 64\r\n"));
        let settings = Settings {
            maxbytes: 5,
            maxconns: 1024,
            tcpport: 11211,
            inter: "127.0.0.1",
            num_threads: 2,
            item_size_max: 1 << 20,
            detail_enabled: false,
            flush_enabled: true,
        };
        let mut out = Vec::new();
        settings.render(&mut out);
        let text = String::from_utf8(out).unwrap();
        for line in
            ["maxconns 1024", "domain_socket NULL", "evictions on", "cas_enabled yes", "auth_enabled_sasl no"]
        {
            assert!(text.contains(&format!("STAT {line}\r\n")), "{line}");
        }
    }
}
