//! Exchanges between a client and a server, written down as text: what any server that speaks memcached is tested with,
//! and memcached itself too.
//!
//! A script is a list of cases; each wants an empty server and a connection of its own.
//!
//! | line | meaning |
//! | --- | --- |
//! | `== text` | the next case, and what it shows |
//! | `-- 1.6.18: text` | how this version of memcached differs: the case is not for it |
//! | `> text` | sent, with a line end |
//! | `>> text` | sent as it is |
//! | `< text` | the line that comes back |
//! | `<closed` | the server closes the connection |
//!
//! Bytes are written `\r \n \t \0 \\ \x7f`, repetitions `{k*250}`. `{A}` in a line that comes back stands for a number, which is the
//! same wherever the letter stands in the case, in what is sent as well; `{#}` for any number. Seconds left to live (flag `t`)
//! may be up to three less than written.

use std::collections::HashMap;

/// The scripts, by name.
pub const SCRIPTS: [(&str, &str); 5] = [
    ("text", include_str!("exchanges/text.txt")),
    ("meta", include_str!("exchanges/meta.txt")),
    ("errors", include_str!("exchanges/errors.txt")),
    ("admin", include_str!("exchanges/admin.txt")),
    ("ours", include_str!("exchanges/ours.txt")),
];

/// What a runner sends behind each step, so that it knows when the step's answer is complete.
pub const SYNC: &[u8] = b"mn\r\n";
/// What it gets back for that.
pub const SYNCED: &[u8] = b"MN\r\n";

/// Whether all of what was sent, which ends with [`SYNC`], is answered. What was sent may ask for the same itself, and a server
/// may write each answer on its own: the first that is read need not be the last.
#[must_use]
pub fn is_answered(sent: &[u8], came: &[u8]) -> bool {
    let lines =
        |bytes, wanted: &[u8]| split(bytes, b"\r\n").into_iter().filter(|line| *line == wanted).count();
    came.ends_with(SYNCED) && lines(came, b"MN") >= lines(sent, b"mn")
}

/// By how much a time to live may have shrunk since it was set, in seconds.
const TTL_SLACK_S: u64 = 3;

/// One case of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case<'s> {
    /// What it shows.
    pub name: &'s str,
    /// Versions of memcached for which the case is not, and why.
    differs: Vec<(&'s str, &'s str)>,
    steps: Vec<Step<'s>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Step<'s> {
    sent: Vec<(&'s str, bool)>,
    expected: Vec<&'s str>,
    closes: bool,
}

impl<'s> Case<'s> {
    /// The cases of a script.
    pub fn all(script: &'s str) -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        for line in script.lines() {
            if let Some(name) = line.strip_prefix("== ") {
                cases.push(Self { name, differs: Vec::new(), steps: Vec::new() });
            } else if let Some(case) = cases.last_mut() {
                case.add(line);
            }
        }
        cases
    }

    fn add(&mut self, line: &'s str) {
        let sent = line.strip_prefix(">> ").map(|text| (text, false));
        if let Some(difference) = line.strip_prefix("-- ").and_then(|text| text.split_once(": ")) {
            self.differs.push(difference);
        } else if let Some(sent) = sent.or_else(|| line.strip_prefix("> ").map(|text| (text, true))) {
            match self.steps.last_mut() {
                Some(step) if step.expected.is_empty() => step.sent.push(sent),
                _ => self.steps.push(Step { sent: vec![sent], ..Step::default() }),
            }
        } else if let Some(step) = self.steps.last_mut() {
            step.closes |= line == "<closed";
            step.expected.extend(line.strip_prefix("< "));
        }
    }

    /// How this version of memcached, such as `1.6.18`, differs, if it does.
    pub fn difference(&self, version: &str) -> Option<&'s str> {
        self.differs.iter().find(|(other, _)| *other == version).map(|(_, reason)| *reason)
    }

    /// All that the client sends, with letters in place of the numbers that are known only later.
    pub fn sent(&self) -> Vec<u8> {
        let lines = self.steps.iter().flat_map(|step| &step.sent);
        lines
            .flat_map(|(text, with_end)| {
                [unescape(text), if *with_end { b"\r\n".to_vec() } else { Vec::new() }].concat()
            })
            .collect()
    }

    /// Goes through the case. `exchange` sends bytes, which end with [`SYNC`], and gives back all that has come until
    /// [`SYNCED`] or the end of the connection.
    ///
    /// # Errors
    /// Says where the answer is not as written.
    pub fn run(&self, mut exchange: impl FnMut(&[u8]) -> Vec<u8>) -> Result<(), String> {
        let mut numbers = HashMap::new();
        for step in &self.steps {
            let mut bytes = Vec::new();
            for (text, with_end) in &step.sent {
                bytes.extend(unescape(&filled(text, &numbers)));
                bytes.extend_from_slice(if *with_end { b"\r\n" } else { b"" });
            }
            bytes.extend_from_slice(SYNC);
            let answer = exchange(&bytes);
            step.check(&answer, &mut numbers).map_err(|error| {
                let sent = String::from_utf8_lossy(&bytes[..bytes.len() - SYNC.len()]).into_owned();
                let answer = String::from_utf8_lossy(&answer).into_owned();
                format!("{}: {error}\n  sent {sent:?}\n  came {answer:?}", self.name)
            })?;
        }
        Ok(())
    }
}

impl Step<'_> {
    fn check(&self, answer: &[u8], numbers: &mut HashMap<u8, u64>) -> Result<(), String> {
        let answer = match (answer.strip_suffix(SYNCED), self.closes) {
            (Some(answer), false) => answer,
            (None, true) => answer,
            (None, false) => return Err("the answer has no end".to_owned()),
            (Some(_), true) => return Err("the connection was not closed".to_owned()),
        };
        let mut lines: Vec<&[u8]> = split(answer, b"\r\n");
        lines.pop();
        if lines.len() != self.expected.len() {
            return Err(format!("{} lines came, {} were expected", lines.len(), self.expected.len()));
        }
        for (line, expected) in lines.iter().zip(&self.expected) {
            if !line_matches(line, expected, numbers) {
                let expected = filled(expected, numbers);
                return Err(format!("expected {expected:?}, got {:?}", String::from_utf8_lossy(line)));
            }
        }
        Ok(())
    }
}

/// What stands between the separators; as many as there are, and one more.
fn split<'b>(mut bytes: &'b [u8], separator: &[u8]) -> Vec<&'b [u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(separator.len()).position(|window| window == separator) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + separator.len()..];
    }
    parts.push(bytes);
    parts
}

/// Word by word; spaces count.
fn line_matches(line: &[u8], expected: &str, numbers: &mut HashMap<u8, u64>) -> bool {
    if line == unescape(expected) {
        return true;
    }
    let (words, patterns) = (split(line, b" "), expected.split(' ').collect::<Vec<_>>());
    words.len() == patterns.len()
        && words.iter().zip(&patterns).all(|(word, pattern)| word_matches(word, pattern, numbers))
}

fn word_matches(word: &[u8], pattern: &str, numbers: &mut HashMap<u8, u64>) -> bool {
    if let (Some(b't'), Some(wanted)) = (word.first(), pattern.strip_prefix('t').and_then(number)) {
        let left = std::str::from_utf8(&word[1..]).ok().and_then(number);
        return left.is_some_and(|left| left <= wanted && wanted - left <= TTL_SLACK_S);
    }
    let (Some(open), Some(close)) = (pattern.find('{'), pattern.find('}')) else {
        return word == unescape(pattern);
    };
    let name = &pattern[open + 1..close];
    if name.len() != 1 {
        return word == unescape(pattern);
    }
    let (front, behind) = (unescape(&pattern[..open]), unescape(&pattern[close + 1..]));
    let found = word
        .strip_prefix(&front[..])
        .and_then(|rest| rest.strip_suffix(&behind[..]))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(number);
    match (found, name.as_bytes()[0]) {
        (None, _) => false,
        (Some(_), b'#') => true,
        (Some(found), letter) => *numbers.entry(letter).or_insert(found) == found,
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The text with the numbers that are known.
fn filled(text: &str, numbers: &HashMap<u8, u64>) -> String {
    numbers.iter().fold(text.to_owned(), |text, (letter, number)| {
        text.replace(&format!("{{{}}}", char::from(*letter)), &number.to_string())
    })
}

/// The bytes that a text stands for.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind) {
            (b'\\', [b'x', high, low, more @ ..]) => {
                let digit = |hex: u8| char::from(hex).to_digit(16).unwrap_or_default() as u8;
                bytes.push(digit(*high) << 4 | digit(*low));
                rest = more;
            }
            (b'\\', [letter, more @ ..]) => {
                bytes.push(match letter {
                    b'r' => b'\r',
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'0' => 0,
                    other => *other,
                });
                rest = more;
            }
            (b'{', [byte, b'*', more @ ..]) => {
                let end = more.iter().position(|byte| *byte == b'}').unwrap_or(more.len());
                let times = std::str::from_utf8(&more[..end]).ok().and_then(number).unwrap_or_default();
                bytes.extend(std::iter::repeat_n(*byte, times as usize));
                rest = more.get(end + 1..).unwrap_or_default();
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}
