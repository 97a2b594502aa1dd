//! Outcomes into bytes.

use bytes::BufMut;

use super::expiry::seconds_left;
use super::item::Marks;
use super::key::encode;
use super::outcome::{Hit, Number, Outcome};
use super::token::is_plain;
use super::wants::{Form, Wants};

/// What ends a line, and a value.
const LINE_END: &[u8] = b"\r\n";

const NOT_A_NUMBER: &[u8] = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
const NO_MEMORY: &[u8] = b"SERVER_ERROR out of memory storing object\r\n";

/// What follows the bytes of a value that [`Wants::render_head`] announced.
pub const VALUE_END: &[u8] = LINE_END;

/// The end of a list.
pub const END: &[u8] = b"END\r\n";

/// Most digits of a number.
const NUMBER_BYTES: usize = 20;

/// What is collected before it is passed on.
const LINE_BYTES: usize = 128;

/// The pieces of a line: collected here, because many short copies cost more than one.
struct Line<'o, B: BufMut> {
    bytes: [u8; LINE_BYTES],
    len: usize,
    out: &'o mut B,
}

impl<'o, B: BufMut> Line<'o, B> {
    fn new(out: &'o mut B) -> Self {
        Self { bytes: [0; LINE_BYTES], len: 0, out }
    }

    /// Passes on what was collected.
    fn flush(&mut self) {
        self.out.put_slice(&self.bytes[..self.len]);
        self.len = 0;
    }

    fn put(&mut self, piece: &[u8]) {
        if piece.len() > LINE_BYTES - self.len {
            self.flush();
            if piece.len() > LINE_BYTES {
                self.out.put_slice(piece);
                return;
            }
        }
        self.bytes[self.len..self.len + piece.len()].copy_from_slice(piece);
        self.len += piece.len();
    }

    fn put_number(&mut self, mut number: u64) {
        if LINE_BYTES - self.len < NUMBER_BYTES {
            self.flush();
        }
        let end = self.len + digits(number);
        for place in self.bytes[self.len..end].iter_mut().rev() {
            *place = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.len = end;
    }

    fn put_flag(&mut self, letter: u8, number: u64) {
        self.put(&[b' ', letter]);
        self.put_number(number);
    }

    fn put_ttl(&mut self, ttl_ms: Option<u64>) {
        match ttl_ms {
            Some(ms) => self.put_flag(b't', seconds_left(ms)),
            None => self.put(b" t-1"),
        }
    }

    /// `VA` and a length, or `HD`.
    fn put_code(&mut self, value_bytes: Option<usize>) {
        match value_bytes {
            Some(len) => {
                self.put(b"VA ");
                self.put_number(len as u64);
            }
            None => self.put(b"HD"),
        }
    }

    /// A key that was written as base64, or could not stand in a line as it is, in base64 with ` b` behind it.
    fn put_key(&mut self, key: &[u8], binary: bool) {
        self.put(b" k");
        if binary || !is_plain(key) {
            self.flush();
            encode(key, self.out);
            self.put(b" b");
        } else {
            self.put(key);
        }
    }

    fn end(&mut self) {
        self.put(LINE_END);
        self.flush();
    }
}

/// How many digits a number has.
pub(super) fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

impl Wants {
    /// Writes what is to be said of one key; `key` is the key itself, decoded. It may be nothing.
    pub fn render(&self, key: &[u8], outcome: &Outcome<'_>, out: &mut impl BufMut) {
        if let Some(value) = self.render_head(key, outcome, out) {
            out.put_slice(value);
            out.put_slice(VALUE_END);
        }
    }

    /// As [`Wants::render`], but stops in front of the item's value and gives it back: then the caller sends those bytes
    /// as it likes, and [`VALUE_END`] behind them.
    pub fn render_head<'v>(
        &self,
        key: &[u8],
        outcome: &Outcome<'v>,
        out: &mut impl BufMut,
    ) -> Option<&'v [u8]> {
        match (self.form, outcome) {
            (Form::Get { cas }, Outcome::Hit(hit)) => {
                value_line(key, hit, cas, out);
                return Some(hit.item.value);
            }
            (Form::Get { .. }, Outcome::NotFound) => {}
            (Form::MetaGet { value }, Outcome::Hit(hit)) => {
                let value = value && self.unless_cas != Some(hit.item.cas);
                self.meta_hit(key, hit, value, out);
                return value.then_some(hit.item.value);
            }
            (Form::MetaDebug, Outcome::Hit(hit)) => debug_line(key, hit, out),
            (Form::MetaDelta { value }, Outcome::Number(number)) => {
                if !self.quiet {
                    self.meta_number(key, number, value, out);
                }
            }
            (Form::Delta, Outcome::Number(number)) if !self.quiet => {
                let mut line = Line::new(out);
                line.put_number(number.number);
                line.end();
            }
            (Form::MetaGet { .. } | Form::MetaSet | Form::MetaDelete | Form::MetaDelta { .. }, outcome) => {
                self.meta_line(key, outcome, out);
            }
            (_, outcome) => self.text_line(outcome, out),
        }
        None
    }

    /// Writes what follows the last key: the end of a `get`'s answer; nothing for other requests.
    pub fn render_end(&self, out: &mut impl BufMut) {
        if matches!(self.form, Form::Get { .. }) {
            out.put_slice(END);
        }
    }

    fn text_line(&self, outcome: &Outcome<'_>, out: &mut impl BufMut) {
        if self.quiet {
            return;
        }
        out.put_slice(match outcome {
            Outcome::Stored { .. } => b"STORED\r\n",
            Outcome::NotStored => b"NOT_STORED\r\n",
            Outcome::Exists => b"EXISTS\r\n",
            Outcome::NotFound if self.form == Form::MetaDebug => b"EN\r\n",
            Outcome::Done if self.form == Form::MetaNoop => b"MN\r\n",
            Outcome::NotFound => b"NOT_FOUND\r\n",
            Outcome::Deleted => b"DELETED\r\n",
            Outcome::Touched => b"TOUCHED\r\n",
            Outcome::Done | Outcome::Hit(_) | Outcome::Number(_) => b"OK\r\n",
            _ => return error_line(outcome, out),
        });
    }

    fn meta_line(&self, key: &[u8], outcome: &Outcome<'_>, out: &mut impl BufMut) {
        let (code, is_usual): (&[u8; 2], bool) = match (self.form, outcome) {
            (Form::MetaGet { .. }, Outcome::NotFound) => (b"EN", true),
            (_, Outcome::NotFound) => (b"NF", false),
            (_, Outcome::NotStored) => (b"NS", false),
            (_, Outcome::Exists) => (b"EX", false),
            (_, Outcome::NotANumber | Outcome::TooLarge | Outcome::NoMemory | Outcome::Failed(_)) => {
                return error_line(outcome, out);
            }
            _ => (b"HD", true),
        };
        if self.quiet && is_usual {
            return;
        }
        let mut line = Line::new(out);
        line.put(code);
        let (cas, value_bytes) = match outcome {
            Outcome::Stored { cas, value_bytes } => (*cas, *value_bytes as u64),
            _ => (0, u64::from(self.value_bytes)),
        };
        for letter in self.letters.as_slice() {
            match letter {
                b'c' if self.form == Form::MetaSet => line.put_flag(b'c', cas),
                b's' if self.form == Form::MetaSet => line.put_flag(b's', value_bytes),
                _ => self.echo(*letter, key, self.binary, &mut line),
            }
        }
        line.end();
    }

    fn meta_hit(&self, key: &[u8], hit: &Hit<'_>, value: bool, out: &mut impl BufMut) {
        let item = &hit.item;
        let mut line = Line::new(out);
        line.put_code(value.then_some(item.value.len()));
        let mut ttl_ms = item.ttl_ms;
        for letter in self.letters.as_slice() {
            match letter {
                b'T' | b'N' => ttl_ms = hit.ttl_ms,
                b's' => line.put_flag(b's', item.value.len() as u64),
                b't' => line.put_ttl(ttl_ms),
                b'c' => line.put_flag(b'c', item.cas),
                b'f' => line.put_flag(b'f', u64::from(item.flags)),
                b'l' => line.put_flag(b'l', u64::from(item.idle_s)),
                b'h' => line.put_flag(b'h', u64::from(item.fetched)),
                _ => self.echo(*letter, key, item.marks.has(Marks::BINARY_KEY), &mut line),
            }
        }
        for (shown, text) in
            [(item.marks.has(Marks::WON), b" Z"), (item.marks.has(Marks::STALE), b" X"), (hit.won, b" W")]
        {
            if shown {
                line.put(text);
            }
        }
        line.end();
    }

    fn meta_number(&self, key: &[u8], number: &Number, value: bool, out: &mut impl BufMut) {
        let mut line = Line::new(out);
        line.put_code(value.then_some(digits(number.number)));
        let mut ttl_ms = number.ttl_before_ms;
        for letter in self.letters.as_slice() {
            match letter {
                b'T' | b'N' => ttl_ms = number.ttl_ms,
                b't' => line.put_ttl(ttl_ms),
                b'c' => line.put_flag(b'c', number.cas),
                _ => self.echo(*letter, key, self.binary, &mut line),
            }
        }
        if value {
            line.put(LINE_END);
            line.put_number(number.number);
        }
        line.end();
    }

    /// The flags that every answer gives back.
    fn echo(&self, letter: u8, key: &[u8], binary: bool, line: &mut Line<'_, impl BufMut>) {
        match letter {
            b'O' => {
                line.put(b" ");
                line.put(self.opaque.as_slice());
            }
            b'k' => line.put_key(key, binary),
            _ => {}
        }
    }
}

/// A key that was written as base64, or could not stand in a line as it is, in base64.
pub(super) fn put_key(key: &[u8], binary: bool, out: &mut impl BufMut) {
    if binary || !is_plain(key) {
        encode(key, out);
    } else {
        out.put_slice(key);
    }
}

fn value_line(key: &[u8], hit: &Hit<'_>, cas: bool, out: &mut impl BufMut) {
    let mut line = Line::new(out);
    line.put(b"VALUE ");
    line.put(key);
    line.put(b" ");
    line.put_number(u64::from(hit.item.flags));
    line.put(b" ");
    line.put_number(hit.item.value.len() as u64);
    if cas {
        line.put(b" ");
        line.put_number(hit.item.cas);
    }
    line.end();
}

fn debug_line(key: &[u8], hit: &Hit<'_>, out: &mut impl BufMut) {
    let item = &hit.item;
    out.put_slice(b"ME ");
    put_key(key, item.marks.has(Marks::BINARY_KEY), out);
    let mut line = Line::new(out);
    line.put(b" exp=");
    match item.ttl_ms {
        Some(ms) => line.put_number(seconds_left(ms)),
        None => line.put(b"-1"),
    }
    line.put(b" la=");
    line.put_number(u64::from(item.idle_s));
    line.put(b" cas=");
    line.put_number(item.cas);
    line.put(if item.fetched { b" fetch=yes" } else { b" fetch=no" });
    // There are no slab classes.
    line.put(b" cls=1 size=");
    line.put_number(item.memory_bytes as u64);
    line.end();
}

fn error_line(outcome: &Outcome<'_>, out: &mut impl BufMut) {
    match outcome {
        Outcome::NotANumber => out.put_slice(NOT_A_NUMBER),
        Outcome::TooLarge => out.put_slice(TOO_LARGE),
        Outcome::NoMemory => out.put_slice(NO_MEMORY),
        Outcome::Failed(reason) => {
            out.put_slice(b"SERVER_ERROR ");
            reason.bytes().filter(|byte| !byte.is_ascii_control()).for_each(|byte| out.put_u8(byte));
            out.put_slice(LINE_END);
        }
        _ => {}
    }
}

/// Writes a number in decimal.
pub(super) fn put_number(number: u64, out: &mut impl BufMut) {
    let mut line = Line::new(out);
    line.put_number(number);
    line.flush();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::{Item, Limits, Parser, Step};

    fn wants(line: &str) -> Wants {
        match Parser::new(Limits::default()).next(line.as_bytes()) {
            Step::Request { request, .. } => request.wants,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_large_value_can_be_sent_without_a_copy() {
        let value = vec![7; 1 << 20];
        let outcome = Outcome::Hit(Hit::from(Item { value: &value, flags: 3, cas: 9, ..Item::default() }));
        for (line, head) in
            [("gets a\r\n", "VALUE a 3 1048576 9\r\n"), ("mg a v c k\r\n", "VA 1048576 c9 ka\r\n")]
        {
            let (mut out, mut whole) = (Vec::new(), Vec::new());
            let body = wants(line).render_head(b"a", &outcome, &mut out).unwrap();
            assert!(std::ptr::eq(body, &raw const value[..]));
            assert_eq!(out, head.as_bytes());
            wants(line).render(b"a", &outcome, &mut whole);
            assert_eq!(whole, [head.as_bytes(), &value, VALUE_END].concat());
        }
        assert_eq!(wants("mg a c\r\n").render_head(b"a", &outcome, &mut Vec::new()), None);
    }

    #[test]
    fn a_failure_is_one_line_and_only_noreply_keeps_it_back() {
        let failed = Outcome::Failed("no node\r\nanswers\0");
        for (line, answer) in [
            ("get a\r\n", "SERVER_ERROR no nodeanswers\r\n"),
            ("mg a v q\r\n", "SERVER_ERROR no nodeanswers\r\n"),
            ("md a q\r\n", "SERVER_ERROR no nodeanswers\r\n"),
            ("incr a 1\r\n", "SERVER_ERROR no nodeanswers\r\n"),
            ("incr a 1 noreply\r\n", ""),
        ] {
            let mut out = Vec::new();
            wants(line).render(b"a", &failed, &mut out);
            assert_eq!(String::from_utf8_lossy(&out), answer, "{line}");
        }
    }

    #[test]
    fn a_key_that_can_not_stand_in_a_line_is_shown_in_base64_wherever_it_came_from() {
        let mut out = Vec::new();
        let outcome = Outcome::Hit(Hit::from(Item::default()));
        wants("mg YSBi b k\r\n").render(b"a b", &outcome, &mut out);
        assert_eq!(out, b"HD kYSBi b\r\n");
    }

    #[test]
    fn numbers_are_written_in_full() {
        for number in [0, 9, 10, 18_446_744_073_709_551_615] {
            let mut out = Vec::new();
            put_number(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
    }
}
