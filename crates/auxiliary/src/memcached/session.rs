//! One client's connection.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annulus_protocol::memcached::{KeyScratch, Limits, Parser, Refused, Step, Update};
use annulus_service::stream::{self, Next, Output};
use bytes::{Buf as _, BytesMut};

use super::turn::{Ended, Turn};
use crate::Node;

/// The longest line, in bytes: a `get` of many keys. The bytes of a long one draw on the budget, as those of a value do.
const MAX_LINE_BYTES: usize = 1 << 20;

/// A line up to this length draws on no budget.
const SHORT_LINE_BYTES: usize = 8 << 10;

/// One client's connection: what it has been sent in part.
pub(crate) struct Session {
    node: Arc<Node>,
    worker: usize,
    parser: Parser,
    /// Where values are put together.
    scratch: Vec<u8>,
    key: KeyScratch,
    /// Keys of the request in front that have been answered already.
    answered: usize,
}

/// What values are put together in is kept up to this size, in bytes.
const KEPT_SCRATCH_BYTES: usize = 16 << 10;

impl Session {
    pub(super) fn new(node: Arc<Node>, worker: usize) -> Self {
        let limits = Limits { max_value_bytes: node.max_value_bytes, max_line_bytes: MAX_LINE_BYTES };
        node.memcached.connections.fetch_add(1, Ordering::Relaxed);
        node.memcached.connections_ever.fetch_add(1, Ordering::Relaxed);
        let (parser, key) = (Parser::new(limits), KeyScratch::default());
        Self { node, worker, parser, scratch: Vec::new(), key, answered: 0 }
    }
}

impl stream::Session for Session {
    fn advance(&mut self, input: &mut BytesMut, output: &mut Output) -> Next {
        let Self { node, worker, parser, scratch, key, answered } = self;
        if input.is_empty() {
            return Next::More { wanted: 0 };
        }
        let mut turn = Turn::new(node, output, scratch, key);
        let mut at = 0;
        let next = loop {
            if turn.is_full() {
                break Next::Again;
            }
            match parser.next(&input[at..]) {
                Step::Incomplete { wanted } => {
                    break Next::More { wanted: missing(input.len() - at, wanted) };
                }
                Step::Skipped { consumed } => at += consumed,
                Step::Refused(Refused { answer, consumed, close, forget }) => {
                    if let Some(key) = forget {
                        turn.change(key, &Update::DELETE, None);
                    }
                    turn.answer(answer);
                    at += consumed;
                    if close {
                        break Next::Close;
                    }
                }
                Step::Request { request, consumed } => match turn.carry_out(&request, answered) {
                    Ended::Whole => at += consumed,
                    Ended::InPart => break Next::Again,
                    Ended::Quit => {
                        at += consumed;
                        break Next::Close;
                    }
                },
            }
        };
        turn.end(*worker, at);
        input.advance(at);
        if scratch.capacity() > KEPT_SCRATCH_BYTES {
            *scratch = Vec::new();
        }
        next
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.node.memcached.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many bytes are to be made room for, of which `there` of `wanted` are there; 0 where nobody knows.
fn missing(there: usize, wanted: usize) -> usize {
    let missing = wanted.saturating_sub(there);
    // One more byte is what a line without an end asks for.
    if there == 0 || missing == 1 && there < SHORT_LINE_BYTES { 0 } else { missing }
}

#[cfg(test)]
mod tests {
    use super::missing;

    #[test]
    fn values_and_long_lines_say_how_much_they_take_and_short_lines_do_not() {
        assert_eq!(missing(0, 1), 0);
        assert_eq!(missing(100, 101), 0);
        assert_eq!(missing(20, 1_000_000), 999_980);
        assert_eq!(missing(9_000, 9_001), 1);
    }
}
