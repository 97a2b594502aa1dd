//! What an auxiliary answers.

use std::borrow::Cow;

use bytes::Bytes;

use super::Broken;
use super::token::{Words, decode, line, marks, number, push_flag, push_number, push_text};
use crate::Version;
use crate::hop::{CopyState, MissReason, Refusal, Taken, TakenBefore};
use crate::value::{Content, OCTET_STREAM, StoredValue, Used, check_content_type};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What the copy says of the key.
    State(CopyState),
    /// The write was taken.
    Taken(Taken),
    /// It was not.
    Refused(Refusal),
    /// Not done: the node goes by a later roster, in JSON.
    Outdated(Bytes),
    /// Not done: the node goes by an older roster.
    Behind,
    /// Not done: the node is still putting together what it holds.
    Loading,
    /// Not done: the node is in another life.
    AnotherLife,
    /// Nothing was asked.
    Noop,
    /// It could not be done, and why.
    Failed(String),
}

/// An answer up to the bytes that follow its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnswerHead {
    /// All of it.
    Whole(Answer),
    /// A value follows.
    Value {
        /// Everything but the bytes.
        value: StoredValue,
        /// How many there are.
        length: usize,
    },
    /// A roster follows.
    Outdated {
        /// Its bytes.
        length: usize,
    },
}

impl AnswerHead {
    /// Reads the line that `input` begins with, and says where the next thing begins; `None` where it has not ended.
    ///
    /// # Errors
    /// [`Broken`] where it is no answer.
    pub fn read(input: &[u8]) -> Result<Option<(Self, usize)>, Broken> {
        let Some((line, next_at)) = line(input)? else { return Ok(None) };
        let mut words = Words::new(line);
        let status = words.next().unwrap_or_default();
        let whole = match status {
            b"VA" => {
                let length = number(words.next().unwrap_or_default())? as usize;
                return Ok(Some((Self::Value { value: read_value(words)?, length }, next_at)));
            }
            b"XO" => {
                let length = number(words.next().unwrap_or_default())? as usize;
                return Ok(Some((Self::Outdated { length }, next_at)));
            }
            b"EN" => Answer::State(read_miss(words)?),
            b"HD" => Answer::Taken(read_taken(words)?),
            b"NS" => Answer::Refused(read_refusal(words)?),
            b"XB" => Answer::Behind,
            b"XL" => Answer::Loading,
            b"XA" => Answer::AnotherLife,
            b"MN" => Answer::Noop,
            b"SERVER_ERROR" => Answer::Failed(String::from_utf8_lossy(line).into_owned()),
            _ => return Err(Broken("an answer that is none")),
        };
        Ok(Some((Self::Whole(whole), next_at)))
    }

    /// Bytes that follow the line, with the line's end that closes them.
    pub fn body_bytes(&self) -> usize {
        match self {
            Self::Whole(_) => 0,
            Self::Value { length, .. } | Self::Outdated { length } => length + 2,
        }
    }
}

fn read_value(words: Words<'_>) -> Result<StoredValue, Broken> {
    let content = Content { content_type: Cow::Borrowed(OCTET_STREAM), bytes: Bytes::new() };
    let mut value = StoredValue::new(Version::ZERO, content);
    for word in words {
        match word {
            [b'c', digits @ ..] => value.version = Version(number(digits)?),
            [b't', digits @ ..] => value.ttl_left_ms = Some(number(digits)?),
            [b'f', digits @ ..] => {
                value.flags = u32::try_from(number(digits)?).map_err(|_| Broken("flags out of range"))?;
            }
            [b'm', digits @ ..] => value.marks = marks(digits)?,
            b"h" => value.used.before = true,
            [b'l', digits @ ..] => {
                value.used.idle_s =
                    u32::try_from(number(digits)?).map_err(|_| Broken("a time out of range"))?;
            }
            [b'o', digits @ ..] => value.origin = Some(Version(number(digits)?)),
            [b'y', text @ ..] => {
                let mut decoded = Vec::new();
                let text = check_content_type(decode(text, &mut decoded)?)
                    .map_err(|_| Broken("a content type that is none"))?;
                value.content.content_type = Cow::Owned(text.to_owned());
            }
            _ => return Err(Broken("a flag that is none")),
        }
    }
    Ok(value)
}

fn read_miss(words: Words<'_>) -> Result<CopyState, Broken> {
    let (mut version, mut reason, mut tombstone) = (Version::ZERO, MissReason::Cold, false);
    for word in words {
        match word {
            [b'c', digits @ ..] => version = Version(number(digits)?),
            [b'r', digits @ ..] => {
                let code = number(digits)? as usize;
                reason = *MissReason::ALL.get(code).ok_or(Broken("a reason that is none"))?;
            }
            b"d" => tombstone = true,
            _ => return Err(Broken("a flag that is none")),
        }
    }
    Ok(CopyState::Miss { version, reason, tombstone })
}

fn read_taken(words: Words<'_>) -> Result<Taken, Broken> {
    let mut taken = Taken::default();
    for word in words {
        match word {
            [b'p', digits @ ..] => taken.previous = Some(Version(number(digits)?)),
            b"l" => taken.was_live = true,
            _ => return Err(Broken("a flag that is none")),
        }
    }
    Ok(taken)
}

fn read_refusal(mut words: Words<'_>) -> Result<Refusal, Broken> {
    let (first, second) = (words.next().unwrap_or_default(), words.next());
    Ok(match (first, second) {
        ([b'n', digits @ ..], Some(memory)) => {
            let taken = match memory {
                b"a" => TakenBefore::Yes,
                [b'm', ms @ ..] => TakenBefore::NotWithin { ms: number(ms)? },
                _ => return Err(Broken("a flag that is none")),
            };
            Refusal::Newer { version: Version(number(digits)?), taken }
        }
        ([b'p', digits @ ..], None) => Refusal::Promised(Version(number(digits)?)),
        ([b'c', digits @ ..], None) => Refusal::Condition(Some(Version(number(digits)?))),
        (b"e", None) => Refusal::Condition(None),
        (b"s", None) => Refusal::TooLarge,
        (b"b", None) => Refusal::Busy,
        _ => return Err(Broken("a refusal that is none")),
    })
}

/// What is said of a value before its bytes.
#[derive(Debug, Clone, Copy)]
pub struct ValueHead<'a> {
    /// How many bytes follow.
    pub length: usize,
    /// When it was written.
    pub version: Version,
    /// The version under which it was first written.
    pub origin: Option<Version>,
    /// Milliseconds left to live.
    pub ttl_left_ms: Option<u64>,
    /// The memcached client's flags.
    pub flags: u32,
    /// As [`StoredValue::marks`].
    pub marks: u8,
    /// How it was used before, where that was asked.
    pub used: Option<Used>,
    /// The media type.
    pub content_type: &'a str,
}

impl ValueHead<'_> {
    /// Writes the line of a value, whose bytes and `\r\n` have to follow.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"VA ");
        push_number(out, self.length as u64);
        push_flag(out, b'c', self.version.0);
        if self.flags != 0 {
            push_flag(out, b'f', self.flags.into());
        }
        if self.marks != 0 {
            push_flag(out, b'm', self.marks.into());
        }
        if let Some(left) = self.ttl_left_ms {
            push_flag(out, b't', left);
        }
        if let Some(origin) = self.origin {
            push_flag(out, b'o', origin.0);
        }
        if let Some(used) = self.used {
            if used.before {
                out.extend_from_slice(b" h");
            }
            push_flag(out, b'l', used.idle_s.into());
        }
        if self.content_type != OCTET_STREAM {
            push_text(out, b'y', self.content_type);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Writes the answer of a copy that holds no value.
pub fn encode_miss(out: &mut Vec<u8>, version: Version, reason: MissReason, tombstone: bool) {
    out.extend_from_slice(b"EN");
    push_flag(out, b'c', version.0);
    push_flag(out, b'r', reason as u64);
    out.extend_from_slice(if tombstone { b" d\r\n" } else { b"\r\n" });
}

/// Writes the answer to a write.
pub fn encode_put_answer(out: &mut Vec<u8>, answer: &Result<Taken, Refusal>) {
    match answer {
        Ok(taken) => {
            out.extend_from_slice(b"HD");
            if let Some(previous) = taken.previous {
                push_flag(out, b'p', previous.0);
            }
            out.extend_from_slice(if taken.was_live { b" l\r\n" } else { b"\r\n" });
        }
        Err(refusal) => encode_refusal(out, refusal),
    }
}

/// Writes that a write or a promise was refused.
pub fn encode_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    out.extend_from_slice(b"NS");
    match refusal {
        Refusal::Newer { version, taken } => {
            push_flag(out, b'n', version.0);
            match taken {
                TakenBefore::Yes => out.extend_from_slice(b" a"),
                TakenBefore::NotWithin { ms } => push_flag(out, b'm', *ms),
            }
        }
        Refusal::Promised(version) => push_flag(out, b'p', version.0),
        Refusal::Condition(Some(version)) => push_flag(out, b'c', version.0),
        Refusal::Condition(None) => out.extend_from_slice(b" e"),
        Refusal::TooLarge => out.extend_from_slice(b" s"),
        Refusal::Busy => out.extend_from_slice(b" b"),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes that the node goes by a later roster.
pub fn encode_outdated(out: &mut Vec<u8>, roster_json: &[u8]) {
    out.extend_from_slice(b"XO ");
    push_number(out, roster_json.len() as u64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(roster_json);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &[u8]) -> AnswerHead {
        let (head, next_at) = AnswerHead::read(line).unwrap().unwrap();
        assert_eq!(next_at, line.len());
        head
    }

    fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn every_refusal_reads_back() {
        for refusal in [
            Refusal::Newer { version: Version(7), taken: TakenBefore::Yes },
            Refusal::Newer { version: Version(7), taken: TakenBefore::NotWithin { ms: 12 } },
            Refusal::Promised(Version(u64::MAX)),
            Refusal::Condition(None),
            Refusal::Condition(Some(Version(3))),
            Refusal::TooLarge,
            Refusal::Busy,
        ] {
            let line = encoded(|out| encode_refusal(out, &refusal));
            assert_eq!(read(&line), AnswerHead::Whole(Answer::Refused(refusal)));
        }
    }

    #[test]
    fn what_was_replaced_reads_back() {
        for taken in [
            Taken::default(),
            Taken { previous: Some(Version(1)), was_live: false },
            Taken { previous: Some(Version(1)), was_live: true },
        ] {
            let line = encoded(|out| encode_put_answer(out, &Ok(taken)));
            assert_eq!(read(&line), AnswerHead::Whole(Answer::Taken(taken)));
        }
    }

    #[test]
    fn a_value_and_a_miss_read_back() {
        for (content_type, before) in [(OCTET_STREAM, true), ("text/html; charset=utf-8", false)] {
            let used = Used { before, idle_s: 7 };
            let head = ValueHead {
                length: 5,
                version: Version(9),
                origin: Some(Version(8)),
                ttl_left_ms: Some(0),
                flags: u32::MAX,
                marks: 3,
                used: Some(used),
                content_type,
            };
            let AnswerHead::Value { value, length } = read(&encoded(|out| head.encode(out))) else {
                panic!("a value")
            };
            assert_eq!((length, value.version, value.origin), (5, Version(9), Some(Version(8))));
            assert_eq!((value.ttl_left_ms, value.flags, value.marks), (Some(0), u32::MAX, 3));
            assert_eq!((value.used, &*value.content.content_type), (used, content_type));
        }
        for reason in MissReason::ALL {
            let line = encoded(|out| encode_miss(out, Version(4), reason, true));
            let state = CopyState::Miss { version: Version(4), reason, tombstone: true };
            assert_eq!(read(&line), AnswerHead::Whole(Answer::State(state)));
        }
    }

    #[test]
    fn an_answer_that_is_none_is_an_error_and_a_part_of_one_is_not() {
        assert_eq!(AnswerHead::read(b"HD").unwrap(), None);
        for bad in ["XX\r\n", "VA x\r\n", "VA 1 q\r\n", "HD\n", "EN c1 r99\r\n", "NS n1\r\n"] {
            assert!(AnswerHead::read(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(AnswerHead::read(&[b'x'; 2000]).is_err());
    }
}
