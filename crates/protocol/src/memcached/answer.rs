//! Answers, as a client reads them.

use super::token::{Tokens, first_line, parse_u32, parse_u64};

/// Bounds on what one answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerLimits {
    /// Longest value, in bytes.
    pub max_value_bytes: usize,
    /// Longest line, in bytes.
    pub max_line_bytes: usize,
}

impl Default for AnswerLimits {
    /// Values to 64 MiB, lines to 8 KiB.
    fn default() -> Self {
        Self { max_value_bytes: 64 << 20, max_line_bytes: 8 << 10 }
    }
}

/// Reads answers off the front of a buffer, one line with its value at a time.
#[derive(Debug, Clone)]
pub struct AnswerParser {
    limits: AnswerLimits,
    /// Bytes of the line in front that are known to hold no end.
    scanned: usize,
}

/// What the front of the buffer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerStep<'b> {
    /// The beginning of an answer: call again once the buffer holds `wanted` bytes.
    Incomplete {
        /// Bytes from the front of the buffer, at least; no more than the limits add up to.
        wanted: usize,
    },
    /// An answer.
    Answer {
        /// It borrows from the buffer.
        answer: Answer<'b>,
        /// Its bytes, the value's included.
        consumed: usize,
    },
    /// No answer, or one beyond the limits. What follows means nothing: the connection must be closed.
    Malformed,
}

/// One line of an answer, with the value that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<'b> {
    /// `VALUE`: an item of a `get`'s answer.
    Value {
        /// Its key.
        key: &'b [u8],
        /// Its client flags.
        flags: u32,
        /// Its CAS unique, in the answer to `gets` and `gats`.
        cas: Option<u64>,
        /// Its value.
        value: &'b [u8],
    },
    /// `END` of a list.
    End,
    /// `STORED`
    Stored,
    /// `NOT_STORED`
    NotStored,
    /// `EXISTS`
    Exists,
    /// `NOT_FOUND`
    NotFound,
    /// `DELETED`
    Deleted,
    /// `TOUCHED`
    Touched,
    /// `OK`
    Ok,
    /// `RESET`
    Reset,
    /// The number of an `incr` or `decr`.
    Number(u64),
    /// `VERSION`, with the text behind it.
    Version(&'b [u8]),
    /// `STAT`
    Stat {
        /// The figure's name.
        name: &'b [u8],
        /// Its value; may hold spaces.
        value: &'b [u8],
    },
    /// The answer to a meta command.
    Meta(MetaAnswer<'b>),
    /// `ERROR`: no such command.
    Error,
    /// `CLIENT_ERROR`, with the text behind it.
    ClientError(&'b [u8]),
    /// `SERVER_ERROR`, with the text behind it.
    ServerError(&'b [u8]),
    /// Any other line.
    Other(&'b [u8]),
}

/// The code in front of the answer to a meta command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetaCode {
    /// `VA`: a hit, with a value.
    Value,
    /// `HD`: done, or a hit without a value.
    Done,
    /// `EN`: a miss.
    Miss,
    /// `NS`
    NotStored,
    /// `EX`
    Exists,
    /// `NF`
    NotFound,
    /// `MN`
    Noop,
    /// `ME`: the description of an item.
    Debug,
}

/// The answer to a meta command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetaAnswer<'b> {
    /// Its code.
    pub code: MetaCode,
    /// The value of `VA`.
    pub value: Option<&'b [u8]>,
    flags: &'b [u8],
}

impl<'b> MetaAnswer<'b> {
    /// The flags: the letter of each, and the text behind it.
    pub fn flags(&self) -> impl Iterator<Item = (u8, &'b [u8])> + use<'b> {
        Tokens::new(self.flags).filter_map(|token| token.split_first()).map(|(letter, text)| (*letter, text))
    }

    /// The text of one flag, if it is there.
    pub fn flag(&self, letter: u8) -> Option<&'b [u8]> {
        self.flags().find(|(other, _)| *other == letter).map(|(_, text)| text)
    }

    /// The number of one flag, if it is there and is one: `c`, `f`, `l`, `h`, `s`, and `t` unless it is -1.
    pub fn number(&self, letter: u8) -> Option<u64> {
        self.flag(letter).and_then(parse_u64)
    }

    /// Whether this client is to replace the item.
    pub fn won(&self) -> bool {
        self.flag(b'W').is_some()
    }

    /// Whether another client has been told to replace it.
    pub fn is_taken(&self) -> bool {
        self.flag(b'Z').is_some()
    }

    /// Whether the item was invalidated.
    pub fn is_stale(&self) -> bool {
        self.flag(b'X').is_some()
    }

    /// The line behind the code.
    pub fn line(&self) -> &'b [u8] {
        self.flags
    }
}

impl AnswerParser {
    /// For a new connection.
    pub fn new(limits: AnswerLimits) -> Self {
        Self { limits, scanned: 0 }
    }

    /// Looks at the front of the buffer, which starts where the last answer's `consumed` bytes ended.
    pub fn next<'b>(&mut self, buffer: &'b [u8]) -> AnswerStep<'b> {
        let Some((line, line_bytes)) = first_line(buffer, self.scanned) else {
            if buffer.len() > self.limits.max_line_bytes {
                return AnswerStep::Malformed;
            }
            self.scanned = buffer.len();
            return AnswerStep::Incomplete { wanted: buffer.len() + 1 };
        };
        if line.len() > self.limits.max_line_bytes {
            return AnswerStep::Malformed;
        }
        let Some((answer, value_bytes)) = parse_line(line) else { return AnswerStep::Malformed };
        let Some(value_bytes) = value_bytes else {
            self.scanned = 0;
            return AnswerStep::Answer { answer, consumed: line_bytes };
        };
        if value_bytes > self.limits.max_value_bytes {
            return AnswerStep::Malformed;
        }
        let end = line_bytes + value_bytes;
        if buffer.len() < end + 2 {
            self.scanned = line_bytes - 1;
            return AnswerStep::Incomplete { wanted: end + 2 };
        }
        self.scanned = 0;
        if &buffer[end..end + 2] != b"\r\n" {
            return AnswerStep::Malformed;
        }
        AnswerStep::Answer { answer: answer.with_value(&buffer[line_bytes..end]), consumed: end + 2 }
    }
}

impl<'b> Answer<'b> {
    fn with_value(self, bytes: &'b [u8]) -> Self {
        match self {
            Self::Value { key, flags, cas, .. } => Self::Value { key, flags, cas, value: bytes },
            Self::Meta(meta) => Self::Meta(MetaAnswer { value: Some(bytes), ..meta }),
            other => other,
        }
    }
}

/// The answer, and the length of the value that follows. `None` where a length can not be read.
fn parse_line(line: &[u8]) -> Option<(Answer<'_>, Option<usize>)> {
    let mut tokens = Tokens::new(line);
    let word = tokens.next().unwrap_or_default();
    let rest = tokens.rest();
    let meta = |code| Answer::Meta(MetaAnswer { code, value: None, flags: rest });
    let answer = match word {
        b"VALUE" => return value_line(tokens),
        b"VA" => {
            let value_bytes = usize::try_from(parse_u64(tokens.next()?)?).ok()?;
            let flags = tokens.rest();
            let answer = Answer::Meta(MetaAnswer { code: MetaCode::Value, value: None, flags });
            return Some((answer, Some(value_bytes)));
        }
        b"HD" => meta(MetaCode::Done),
        b"EN" => meta(MetaCode::Miss),
        b"NS" => meta(MetaCode::NotStored),
        b"EX" => meta(MetaCode::Exists),
        b"NF" => meta(MetaCode::NotFound),
        b"MN" => meta(MetaCode::Noop),
        b"ME" => meta(MetaCode::Debug),
        b"END" => Answer::End,
        b"STORED" => Answer::Stored,
        b"NOT_STORED" => Answer::NotStored,
        b"EXISTS" => Answer::Exists,
        b"NOT_FOUND" => Answer::NotFound,
        b"DELETED" => Answer::Deleted,
        b"TOUCHED" => Answer::Touched,
        b"OK" => Answer::Ok,
        b"RESET" => Answer::Reset,
        b"ERROR" => Answer::Error,
        b"CLIENT_ERROR" => Answer::ClientError(rest),
        b"SERVER_ERROR" => Answer::ServerError(rest),
        b"VERSION" => Answer::Version(rest),
        b"STAT" => {
            let name = tokens.next().unwrap_or_default();
            Answer::Stat { name, value: tokens.rest() }
        }
        number if number.iter().all(u8::is_ascii_digit) => {
            parse_u64(number).map_or(Answer::Other(line), Answer::Number)
        }
        _ => Answer::Other(line),
    };
    Some((answer, None))
}

fn value_line(mut tokens: Tokens<'_>) -> Option<(Answer<'_>, Option<usize>)> {
    let key = tokens.next()?;
    let flags = parse_u32(tokens.next()?)?;
    let value_bytes = usize::try_from(parse_u64(tokens.next()?)?).ok()?;
    let cas = match tokens.next() {
        Some(token) => Some(parse_u64(token)?),
        None => None,
    };
    Some((Answer::Value { key, flags, cas, value: b"" }, Some(value_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(stream: &[u8]) -> Vec<Answer<'_>> {
        let (mut parser, mut rest, mut answers) =
            (AnswerParser::new(AnswerLimits::default()), stream, Vec::new());
        while let AnswerStep::Answer { answer, consumed } = parser.next(rest) {
            answers.push(answer);
            rest = &rest[consumed..];
        }
        assert!(rest.is_empty(), "{rest:?}");
        answers
    }

    #[test]
    fn every_kind_of_answer_is_told() {
        assert_eq!(
            answers(b"VALUE a 7 2\r\nhi\r\nVALUE b 0 0 9\r\n\r\nEND\r\nSTORED\r\n12\r\nVERSION 1.6\r\nSTAT x a b\r\n"),
            [
                Answer::Value { key: b"a", flags: 7, cas: None, value: b"hi" },
                Answer::Value { key: b"b", flags: 0, cas: Some(9), value: b"" },
                Answer::End,
                Answer::Stored,
                Answer::Number(12),
                Answer::Version(b"1.6"),
                Answer::Stat { name: b"x", value: b"a b" },
            ]
        );
        assert_eq!(
            answers(b"ERROR\r\nCLIENT_ERROR a b\r\nSERVER_ERROR c\r\nOK\r\nPREFIX x\r\n"),
            [
                Answer::Error,
                Answer::ClientError(b"a b"),
                Answer::ServerError(b"c"),
                Answer::Ok,
                Answer::Other(b"PREFIX x"),
            ]
        );
    }

    #[test]
    fn the_flags_of_a_meta_answer_can_be_asked_for() {
        let [Answer::Meta(hit), Answer::Meta(miss)] =
            answers(b"VA 2 c9 t-1 Oabc kfoo X W\r\nhi\r\nEN O2\r\n")[..]
        else {
            panic!()
        };
        assert_eq!((hit.code, hit.value), (MetaCode::Value, Some(&b"hi"[..])));
        assert_eq!((hit.number(b'c'), hit.number(b't'), hit.flag(b'k')), (Some(9), None, Some(&b"foo"[..])));
        assert!(hit.won() && hit.is_stale() && !hit.is_taken());
        assert_eq!((miss.code, miss.flag(b'O'), miss.line()), (MetaCode::Miss, Some(&b"2"[..]), &b"O2"[..]));
    }

    #[test]
    fn a_value_says_how_many_bytes_it_wants_and_a_bad_one_is_told() {
        let mut parser = AnswerParser::new(AnswerLimits { max_value_bytes: 10, max_line_bytes: 20 });
        assert_eq!(parser.next(b"VA 5 c1"), AnswerStep::Incomplete { wanted: 8 });
        assert_eq!(parser.next(b"VA 5 c1\r\nhe"), AnswerStep::Incomplete { wanted: 16 });
        for bad in
            [&b"VA 5\r\nhello!!"[..], b"VA 11\r\n", b"VA x\r\n", b"VALUE a b\r\n", b"xxxxxxxxxxxxxxxxxxxxx"]
        {
            let mut parser = AnswerParser::new(AnswerLimits { max_value_bytes: 10, max_line_bytes: 20 });
            assert_eq!(parser.next(bad), AnswerStep::Malformed, "{bad:?}");
        }
    }
}
