//! The stream of bytes into requests.

use memchr::memchr;

use super::key::WireKey;
use super::meta::{self, Shape};
use super::request::{Action, Request};
use super::text;
use super::token::{Tokens, first_line};
use super::wants::{Form, Tally, Wants};

/// Spaces in front of such a `get` at most.
const MAX_LEADING_SPACES: usize = 100;

/// Bounds on what one request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest value, in bytes.
    pub max_value_bytes: usize,
    /// Longest line, in bytes: a `get` of many keys.
    pub max_line_bytes: usize,
}

impl Default for Limits {
    /// Values to 1 MiB, lines to 1 MiB.
    fn default() -> Self {
        Self { max_value_bytes: 1 << 20, max_line_bytes: 1 << 20 }
    }
}

/// Reads requests off the front of a buffer, one at a time. One for each connection: it remembers what of a refused value
/// is still to come, and how far it has looked for the end of a line.
///
/// After each step the caller drops `consumed` bytes from the front of the buffer. It appends when more has arrived.
#[derive(Debug, Clone)]
pub struct Parser {
    limits: Limits,
    /// Bytes of the line in front of the buffer that are known to hold no end.
    scanned: usize,
    /// Bytes of a refused value that have not been seen yet.
    swallow: u64,
}

/// What the front of the buffer is.
#[derive(Debug, Clone, Copy)]
pub enum Step<'b> {
    /// The beginning of something: call again once the buffer holds `wanted` bytes. Nothing is consumed.
    ///
    /// It is more than the buffer holds, and never more than the limits add up to, whatever a client claims.
    Incomplete {
        /// Bytes from the front of the buffer, at least.
        wanted: usize,
    },
    /// A request.
    Request {
        /// It borrows from the buffer.
        request: Request<'b>,
        /// Its bytes, the value's included.
        consumed: usize,
    },
    /// A request that can not be taken.
    Refused(Refused<'b>),
    /// More of a refused value: nothing to do but to drop it.
    Skipped {
        /// Its bytes, 1 or more.
        consumed: usize,
    },
}

/// A request that was not taken.
#[derive(Debug, Clone, Copy)]
pub struct Refused<'b> {
    /// What to answer; nothing for one with `noreply`.
    pub answer: &'static [u8],
    /// Its bytes, 1 or more unless the connection ends. What belongs to it and is yet to come, the parser skips.
    pub consumed: usize,
    /// Whether the connection ends here, once the answers so far are out.
    pub close: bool,
    /// A key whose item has to go: its new value was too large, and the old one must not be taken for it.
    pub forget: Option<WireKey<'b>>,
}

/// A line that makes no request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refusal<'a> {
    pub(super) answer: &'static [u8],
    /// Bytes behind the line that are to be thrown away.
    pub(super) swallow: u64,
    pub(super) forget: Option<WireKey<'a>>,
    /// Whether the connection ends.
    pub(super) close: bool,
}

pub(super) fn refuse<'a>(answer: &'static [u8]) -> Refusal<'a> {
    Refusal { answer, swallow: 0, forget: None, close: false }
}

pub(super) fn bad_format<'a>() -> Refusal<'a> {
    refuse(b"CLIENT_ERROR bad command line format\r\n")
}

impl<'a> Refusal<'a> {
    /// Throws away the value of `length` bytes that belongs to the line.
    pub(super) fn swallowing(self, length: usize) -> Self {
        Self { swallow: length as u64 + 2, ..self }
    }

    /// A value of `length` bytes is over the limit. `forgets` tells whether the old value goes.
    pub(super) fn too_large(key: WireKey<'a>, length: usize, forgets: bool, quiet: bool) -> Self {
        let answer: &[u8] = if quiet { b"" } else { b"SERVER_ERROR object too large for cache\r\n" };
        Self { forget: forgets.then_some(key), ..refuse(answer).swallowing(length) }
    }
}

/// A line that was understood.
pub(super) enum Parsed<'a> {
    Request(Request<'a>),
    /// The beginning of a store.
    Value(Head<'a>),
}

/// A store whose value is still to be read.
pub(super) struct Head<'a> {
    pub(super) key: WireKey<'a>,
    pub(super) length: usize,
    pub(super) wants: Wants,
    pub(super) shape: Shape,
}

impl Parser {
    /// A line without an end is kept up to this length, in bytes, unless it begins as a `get` of many keys.
    pub const MAX_OPEN_LINE_BYTES: usize = 2048;

    /// For a new connection.
    pub fn new(limits: Limits) -> Self {
        Self { limits, scanned: 0, swallow: 0 }
    }

    /// Looks at the front of the buffer. `buffer` starts where the last step's `consumed` bytes ended.
    pub fn next<'b>(&mut self, buffer: &'b [u8]) -> Step<'b> {
        if self.swallow > 0 {
            return self.skip(buffer);
        }
        let Some((line, line_bytes)) = first_line(buffer, self.scanned) else {
            return self.open_line(buffer);
        };
        if line.len() > self.limits.max_line_bytes {
            return close(buffer);
        }
        match parse_line(line, line_bytes, self.limits.max_value_bytes) {
            Ok(Parsed::Request(request)) => {
                self.scanned = 0;
                Step::Request { request, consumed: line_bytes }
            }
            Ok(Parsed::Value(head)) => self.value(&head, buffer, line_bytes),
            Err(refusal) => {
                self.scanned = 0;
                let behind = (buffer.len() - line_bytes) as u64;
                let swallowed = refusal.swallow.min(behind);
                self.swallow = refusal.swallow - swallowed;
                Step::Refused(Refused {
                    answer: refusal.answer,
                    consumed: line_bytes + swallowed as usize,
                    close: refusal.close,
                    forget: refusal.forget,
                })
            }
        }
    }

    /// A line without an end so far.
    fn open_line<'b>(&mut self, buffer: &'b [u8]) -> Step<'b> {
        let is_long = buffer.len() > Self::MAX_OPEN_LINE_BYTES;
        if is_long && (buffer.len() > self.limits.max_line_bytes || !is_text_get(buffer)) {
            return close(buffer);
        }
        self.scanned = buffer.len();
        Step::Incomplete { wanted: buffer.len() + 1 }
    }

    fn value<'b>(&mut self, head: &Head<'b>, buffer: &'b [u8], line_bytes: usize) -> Step<'b> {
        let end = line_bytes + head.length;
        let consumed = end + 2;
        if buffer.len() < consumed {
            // The line is short; it is read again when the value is there.
            self.scanned = line_bytes - 1;
            return Step::Incomplete { wanted: consumed };
        }
        self.scanned = 0;
        if &buffer[end..consumed] != b"\r\n" {
            let is_quiet = head.wants.is_quiet() && head.wants.form == Form::Store;
            let answer: &[u8] = if is_quiet { b"" } else { b"CLIENT_ERROR bad data chunk\r\n" };
            return Step::Refused(Refused { answer, consumed, close: false, forget: None });
        }
        let action = head.shape.action(head.key, &buffer[line_bytes..end]);
        Step::Request { request: Request { action, wants: head.wants }, consumed }
    }

    fn skip<'b>(&mut self, buffer: &'b [u8]) -> Step<'b> {
        if buffer.is_empty() {
            return Step::Incomplete { wanted: 1 };
        }
        let skipped = self.swallow.min(buffer.len() as u64);
        self.swallow -= skipped;
        Step::Skipped { consumed: skipped as usize }
    }
}

fn close(buffer: &[u8]) -> Step<'_> {
    Step::Refused(Refused { answer: b"", consumed: buffer.len(), close: true, forget: None })
}

fn is_text_get(buffer: &[u8]) -> bool {
    let spaces = buffer.iter().take_while(|byte| **byte == b' ').count();
    let line = &buffer[spaces..];
    spaces <= MAX_LEADING_SPACES && (line.starts_with(b"get ") || line.starts_with(b"gets "))
}

/// Shorter lines, their end included, are no command.
const MIN_LINE_BYTES: usize = 4;

fn parse_line(line: &[u8], line_bytes: usize, max_value_bytes: usize) -> Result<Parsed<'_>, Refusal<'_>> {
    if line_bytes < MIN_LINE_BYTES {
        return Err(bad_format());
    }
    let (command, rest) = line.split_at(memchr(b' ', line).unwrap_or(line.len()));
    let mut tokens = Tokens::new(rest);
    let tokens = &mut tokens;
    match command {
        b"get" => text::get(tokens, false),
        b"gets" => text::get(tokens, true),
        b"mg" => meta::get(tokens),
        b"set" => text::store(tokens, text::Command::Set, max_value_bytes),
        b"ms" => meta::set(tokens, max_value_bytes),
        b"md" => meta::delete(tokens),
        b"ma" => meta::arithmetic(tokens),
        b"mn" => Ok(request(Action::Noop, Form::MetaNoop, Tally::Nothing)),
        b"me" => meta::debug(tokens),
        b"add" => text::store(tokens, text::Command::Add, max_value_bytes),
        b"replace" => text::store(tokens, text::Command::Replace, max_value_bytes),
        b"append" => text::store(tokens, text::Command::Append, max_value_bytes),
        b"prepend" => text::store(tokens, text::Command::Prepend, max_value_bytes),
        b"cas" => text::store(tokens, text::Command::Cas, max_value_bytes),
        b"delete" => text::delete(tokens),
        command => text::others(command, tokens),
    }
}

/// A request that is always answered.
pub(super) fn request(action: Action<'_>, form: Form, tally: Tally) -> Parsed<'_> {
    Parsed::Request(Request { action, wants: Wants::text(form, tally, false) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memcached::{KeyScratch, StoreMode};

    const LIMITS: Limits = Limits { max_value_bytes: 10, max_line_bytes: 4096 };

    fn refused(step: Step<'_>) -> Refused<'_> {
        match step {
            Step::Refused(refused) => refused,
            other => panic!("{other:?}"),
        }
    }

    fn wanted(step: Step<'_>) -> usize {
        match step {
            Step::Incomplete { wanted } => wanted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_store_says_how_many_bytes_it_wants_and_borrows_key_and_value() {
        let mut parser = Parser::new(LIMITS);
        let stream = b"set key 7 0 5\r\nhello\r\nget key\r\n";
        assert_eq!(wanted(parser.next(&stream[..5])), 6);
        assert_eq!(wanted(parser.next(&stream[..15])), 22);
        assert_eq!(wanted(parser.next(&stream[..21])), 22);
        let Step::Request { request, consumed } = parser.next(stream) else { panic!() };
        let Action::Store(store) = request.action else { panic!("{request:?}") };
        assert_eq!((consumed, store.value, store.flags), (22, &b"hello"[..], 7));
        assert_eq!((store.key.wire(), store.mode), (&b"key"[..], StoreMode::Set));
        assert!(store.is_unconditional() && std::ptr::eq(store.value, &raw const stream[15..20]));
    }

    #[test]
    fn what_needs_no_read_before_the_write_is_told_apart() {
        let action = |line: &'static [u8]| match Parser::new(LIMITS).next(line) {
            Step::Request { request, .. } => request.action,
            other => panic!("{other:?}"),
        };
        assert!(matches!(action(b"get a b\r\n"), Action::Read(keys) if keys.iter().count() == 2));
        assert!(matches!(action(b"mg a v t\r\n"), Action::MetaRead { bump: true, .. }));
        assert!(matches!(action(b"mg a v u\r\n"), Action::MetaRead { bump: false, .. }));
        assert!(matches!(action(b"mg a v N30\r\n"), Action::Update { .. }));
        assert!(matches!(action(b"ms a 1\r\nx\r\n"), Action::Store(store) if store.is_unconditional()));
        assert!(matches!(action(b"ms a 1 C5\r\nx\r\n"), Action::Store(store) if !store.is_unconditional()));
        assert!(matches!(action(b"delete a\r\n"), Action::Delete { .. }));
        assert!(matches!(action(b"md a q\r\n"), Action::Delete { .. }));
        assert!(matches!(action(b"md a I\r\n"), Action::Update { .. }));
        assert!(matches!(action(b"incr a 1\r\n"), Action::Update { .. }));
    }

    #[test]
    fn a_value_over_the_limit_is_thrown_away_as_it_comes_and_the_old_one_goes() {
        let mut parser = Parser::new(LIMITS);
        let step = refused(parser.next(b"set a 0 0 2000000000\r\n"));
        assert_eq!((step.answer, step.consumed), (&b"SERVER_ERROR object too large for cache\r\n"[..], 22));
        assert_eq!(step.forget.map(WireKey::to_vec), Some(b"a".to_vec()));
        let mut left = 2_000_000_002_usize;
        let chunk = [b'x'; 1000];
        while left > 0 {
            let Step::Skipped { consumed } = parser.next(&chunk[..left.min(1000)]) else { panic!() };
            assert_eq!(consumed, left.min(1000));
            left -= consumed;
        }
        assert!(matches!(parser.next(b"mn\r\n"), Step::Request { .. }));
    }

    #[test]
    fn only_a_set_over_the_limit_makes_the_old_value_go() {
        for (line, forgets, answers) in [
            ("set a 0 0 11\r\n", true, true),
            ("set a 0 0 11 noreply\r\n", true, false),
            ("add a 0 0 11\r\n", false, true),
            ("append a 0 0 11\r\n", false, true),
            ("ms a 11 ME\r\n", true, true),
            ("ms a 11 q\r\n", true, true),
        ] {
            let mut parser = Parser::new(LIMITS);
            let step = refused(parser.next(line.as_bytes()));
            assert_eq!((step.forget.is_some(), !step.answer.is_empty()), (forgets, answers), "{line}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_kept_while_it_may_be_a_get() {
        for (begin, limit) in
            [("set ", 2048), ("mg ", 2048), ("get", 2048), ("get ", 4096), ("  gets ", 4096)]
        {
            let mut parser = Parser::new(LIMITS);
            let line = [begin.as_bytes(), &vec![b'x'; limit]].concat();
            assert_eq!(wanted(parser.next(&line[..limit])), limit + 1, "{begin}");
            let step = refused(parser.next(&line[..=limit]));
            assert!(step.close && step.answer.is_empty() && step.consumed == limit + 1, "{begin}");
        }
    }

    #[test]
    fn a_get_of_many_keys_is_one_request() {
        let line = format!("get {}\r\n", "foobarbaz ".repeat(18_725));
        let Step::Request { request, .. } = Parser::new(Limits::default()).next(line.as_bytes()) else {
            panic!()
        };
        let Action::Read(keys) = request.action else { panic!("{request:?}") };
        assert_eq!(
            keys.iter().filter(|key| key.bytes(&mut KeyScratch::default()) == b"foobarbaz").count(),
            18_725
        );
    }
}
