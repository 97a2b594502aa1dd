//! memcached's text answers: bytes in, answers out. It borrows from what was received and allocates nothing.

/// No line of an answer is longer; the longest are a value's with a key of 250 bytes and an error's text.
const MAX_LINE_BYTES: usize = 2048;
/// No value is longer: what memcached can be configured to.
const MAX_VALUE_BYTES: u64 = 1 << 30;
/// A value over this length is not waited for as a whole where nobody looks at it.
const SKIPPED_FROM_BYTES: u64 = 16 << 10;

/// One answer, or one value of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// A value of a get, which goes on until [`Answer::End`]. The body is empty where it was skipped.
    Value {
        key: &'a [u8],
        flags: u32,
        body: &'a [u8],
        bytes: u64,
    },
    End,
    Stored,
    NotStored,
    Deleted,
    NotFound,
    /// `ERROR`.
    UnknownCommand,
    /// `CLIENT_ERROR` and its text.
    ClientError(&'a [u8]),
    /// `SERVER_ERROR` and its text.
    ServerError(&'a [u8]),
}

/// What was found at the start of the bytes received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// An answer, which took so many bytes.
    Answer(Answer<'a>, usize),
    /// Nothing yet. So many bytes are done with; of the rest, so many are needed in one piece before anything comes.
    More { done: usize, room: usize },
}

/// What came is no answer of memcached's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Takes a stream of answers apart, however it is cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answers {
    keeps_bodies: bool,
    /// Bytes left of a value that is skipped, its line end included.
    skipping: Option<u64>,
}

impl Answers {
    pub(crate) fn new(keeps_bodies: bool) -> Self {
        Self { keeps_bodies, skipping: None }
    }

    /// Whether it stands between two lines.
    pub(crate) fn is_between(&self) -> bool {
        self.skipping.is_none()
    }

    /// The next answer in `input`, all that was received and is not done with.
    pub(crate) fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<'a>, Malformed> {
        if let Some(left) = self.skipping {
            return self.skip(left, input);
        }
        let Some(end) = input.iter().take(MAX_LINE_BYTES).position(|byte| *byte == b'\n') else {
            let is_short = input.len() < MAX_LINE_BYTES;
            return is_short.then_some(Step::More { done: 0, room: MAX_LINE_BYTES }).ok_or(Malformed);
        };
        let line = input[..end].strip_suffix(b"\r").ok_or(Malformed)?;
        let after = end + 1;
        let answer = match line {
            b"END" => Answer::End,
            b"STORED" => Answer::Stored,
            b"NOT_STORED" => Answer::NotStored,
            b"DELETED" => Answer::Deleted,
            b"NOT_FOUND" => Answer::NotFound,
            b"ERROR" => Answer::UnknownCommand,
            _ => match line.strip_prefix(b"VALUE ") {
                Some(head) => return self.value(Head::parse(head).ok_or(Malformed)?, after, input),
                None => error(line).ok_or(Malformed)?,
            },
        };
        Ok(Step::Answer(answer, after))
    }

    fn value<'a>(&mut self, head: Head<'a>, from: usize, input: &'a [u8]) -> Result<Step<'a>, Malformed> {
        let Head { key, flags, bytes } = head;
        let to = from + bytes as usize;
        if let Some(rest) = input.get(to..to + 2) {
            let value = Answer::Value { key, flags, body: &input[from..to], bytes };
            return if rest == b"\r\n" { Ok(Step::Answer(value, to + 2)) } else { Err(Malformed) };
        }
        if self.keeps_bodies || bytes < SKIPPED_FROM_BYTES {
            return Ok(Step::More { done: 0, room: to + 2 });
        }
        self.skipping = Some(bytes + 2);
        Ok(Step::Answer(Answer::Value { key, flags, body: b"", bytes }, from))
    }

    fn skip<'a>(&mut self, left: u64, input: &'a [u8]) -> Result<Step<'a>, Malformed> {
        let body = (left - 2).min(input.len() as u64);
        self.skipping = Some(left - body);
        if left - body > 2 || input.len() < body as usize + 2 {
            return Ok(Step::More { done: body as usize, room: 2 });
        }
        self.skipping = None;
        let (end, rest) = input[body as usize..].split_at(2);
        if end != b"\r\n" {
            return Err(Malformed);
        }
        let done = input.len() - rest.len();
        // What follows is looked at from its start, so that an answer never reaches back into what was skipped.
        match self.next(rest)? {
            Step::Answer(answer, taken) => Ok(Step::Answer(answer, done + taken)),
            Step::More { room, .. } => Ok(Step::More { done, room }),
        }
    }
}

/// What a value's line says: `KEY FLAGS BYTES`, and where it was asked for a version, which is not.
#[derive(Clone, Copy)]
struct Head<'a> {
    key: &'a [u8],
    flags: u32,
    bytes: u64,
}

impl<'a> Head<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let (key, flags, bytes) = (words.next()?, number(words.next()?)?, number(words.next()?)?);
        let is_right = !key.is_empty() && bytes <= MAX_VALUE_BYTES && words.next().is_none();
        is_right.then_some(Self { key, flags: u32::try_from(flags).ok()?, bytes })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 10 {
        return None;
    }
    digits
        .iter()
        .try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u64::from(*digit - b'0')))
}

fn error(line: &[u8]) -> Option<Answer<'_>> {
    let text = |name: &[u8]| {
        let text = line.strip_prefix(name)?;
        if text.is_empty() { Some(text) } else { text.strip_prefix(b" ") }
    };
    text(b"SERVER_ERROR").map(Answer::ServerError).or_else(|| text(b"CLIENT_ERROR").map(Answer::ClientError))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `stream` in pieces of `size` and writes down what comes out.
    fn read(stream: &[u8], size: usize, keeps_bodies: bool) -> Result<Vec<String>, Malformed> {
        let mut answers = Answers::new(keeps_bodies);
        let (mut input, mut out) = (Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            input.extend_from_slice(piece);
            loop {
                let taken = match answers.next(&input)? {
                    Step::Answer(Answer::Value { key, flags, body, bytes }, taken) => {
                        let [key, body] = [key, body].map(String::from_utf8_lossy);
                        let body =
                            if body.len() > 20 { format!("…{}", body.len()) } else { body.to_string() };
                        out.push(format!("{key} {flags} {bytes} {body}"));
                        taken
                    }
                    Step::Answer(answer, taken) => {
                        out.push(format!("{answer:?}"));
                        taken
                    }
                    Step::More { done, room } => {
                        assert!(room > input.len() - done || answers.is_between());
                        input.drain(..done);
                        break;
                    }
                };
                input.drain(..taken);
            }
        }
        assert!(input.is_empty() && answers.is_between(), "{input:?} {answers:?}");
        Ok(out)
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_answers() {
        let stream =
            b"VALUE a 0 3\r\nx\ny\r\nVALUE bc 4294967295 0\r\n\r\nEND\r\nSTORED\r\nNOT_STORED\r\nDELETED\r\n\
            NOT_FOUND\r\nERROR\r\nSERVER_ERROR out of memory\r\nCLIENT_ERROR\r\nEND\r\n";
        let expected = read(stream, stream.len(), true).unwrap();
        assert_eq!(expected[..4], ["a 0 3 x\ny", "bc 4294967295 0 ", "End", "Stored"]);
        assert_eq!(expected.len(), 11);
        for size in 1..stream.len() {
            assert_eq!(read(stream, size, true).unwrap(), expected, "pieces of {size}");
            assert_eq!(read(stream, size, false).unwrap(), expected, "pieces of {size}");
        }
    }

    #[test]
    fn long_values_that_nobody_looks_at_are_skipped() {
        let long =
            [&b"VALUE k 1 50000\r\n"[..], &vec![b'x'; 50_000], b"\r\nVALUE j 0 1\r\ny\r\nEND\r\n"].concat();
        for size in [1, 7, 1000, 50_017, 50_018] {
            assert_eq!(read(&long, size, false).unwrap(), ["k 1 50000 ", "j 0 1 y", "End"], "{size}");
            assert_eq!(read(&long, size, true).unwrap(), ["k 1 50000 …50000", "j 0 1 y", "End"], "{size}");
        }
    }

    #[test]
    fn what_is_not_memcached_is_malformed() {
        let garbage = [b'x'; MAX_LINE_BYTES];
        let damaged = [&b"VALUE k 1 50000\r\n"[..], &vec![b'x'; 50_002]].concat();
        for wrong in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"END\n",
            b"end\r\n",
            b"\r\n",
            b"VALUE k 0\r\n",
            b"VALUE  0 1\r\n",
            b"VALUE k 0 1 7\r\n",
            b"VALUE k 4294967296 1\r\n",
            b"VALUE k 0 -1\r\n",
            b"VALUE k 0 1073741825\r\n",
            b"VALUE k 0 99999999999999999999\r\n",
            b"VALUE k 0 1\r\nxyz",
            b"SERVER_ERRORS\r\n",
            &garbage,
            &damaged,
        ] {
            for size in [1, wrong.len()] {
                assert_eq!(read(wrong, size, false), Err(Malformed), "{:?}", String::from_utf8_lossy(wrong));
            }
        }
    }
}
