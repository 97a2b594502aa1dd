//! Lines into tokens, tokens into numbers. Some numbers memcached reads itself, some it leaves to C, which is lenient.

use memchr::{memchr, memchr3};

use super::expiry::Exptime;

/// The longest value that memcached has a number for, its end included.
const MAX_LENGTH: usize = i32::MAX as usize - 2;
/// More digits than this are no number, whatever they are.
const MAX_DIGITS: usize = 22;

/// The tokens of a line: what stands between spaces. Nothing else separates, not even a tab.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    /// Of a line without its end.
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// What is left, from the next token on.
    pub(super) fn rest(&self) -> &'a [u8] {
        skip_spaces(self.rest)
    }
}

/// Bytes within which the end of a short token is looked for byte by byte, which is faster there.
const SHORT_BYTES: usize = 8;

impl<'a> Tokens<'a> {
    /// As `next`, for tokens of a few bytes.
    pub(super) fn next_short(&mut self) -> Option<&'a [u8]> {
        self.rest = skip_spaces(self.rest);
        let near = &self.rest[..self.rest.len().min(SHORT_BYTES)];
        match near.iter().position(|byte| *byte == b' ') {
            Some(end) => {
                let (token, rest) = self.rest.split_at(end);
                self.rest = rest;
                Some(token)
            }
            None => self.next(),
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.rest = skip_spaces(self.rest);
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr(b' ', self.rest).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

fn skip_spaces(mut rest: &[u8]) -> &[u8] {
    while let [b' ', behind @ ..] = rest {
        rest = behind;
    }
    rest
}

/// Splits off the first line: its bytes without its end, and the length on the wire. `scanned` bytes are known to hold
/// no line end.
pub(super) fn first_line(buffer: &[u8], scanned: usize) -> Option<(&[u8], usize)> {
    let newline = scanned + memchr(b'\n', buffer.get(scanned..)?)?;
    let line = &buffer[..newline];
    Some((line.strip_suffix(b"\r").unwrap_or(line), newline + 1))
}

/// A number of digits and nothing else, 1 or more.
pub(super) fn parse_digits(text: &[u8]) -> Option<u64> {
    // The common case first: one to 19 digits can not be too many.
    if (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        return Some(text.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')));
    }
    if text.is_empty() || text.len() > MAX_DIGITS {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// As [`parse_digits`], of 32 bits.
pub(super) fn parse_digits_u32(text: &[u8]) -> Option<u32> {
    parse_digits(text).and_then(|number| u32::try_from(number).ok())
}

/// A time: digits, with a sign in front if it is negative; 32 bits.
pub(super) fn parse_time(text: &[u8]) -> Option<Exptime> {
    let (negative, digits) = text.strip_prefix(b"-").map_or((false, text), |digits| (true, digits));
    let magnitude = i64::try_from(parse_digits(digits)?).ok()?;
    i32::try_from(if negative { -magnitude } else { magnitude }).ok().map(Exptime)
}

/// The length of a value, its end not included: a number that memcached has room for.
pub(super) fn parse_length(text: &[u8]) -> Option<usize> {
    let Exptime(length) = parse_time(text)?;
    usize::try_from(length).ok().filter(|length| *length <= MAX_LENGTH)
}

/// C's `strtoull` in base ten as memcached guards it: what stands in front of the end of the text or of white space.
/// `None` where there are no digits, more than 64 bits, or something else behind them.
pub(super) fn parse_u64(text: &[u8]) -> Option<u64> {
    if let Some(number) = parse_digits(text) {
        return Some(number);
    }
    let (negative, magnitude) = parse_c_integer(text)?;
    if !negative {
        return Some(magnitude);
    }
    // C negates modulo 2^64, and the guard looks for a sign only where the result has its top bit set.
    let number = magnitude.wrapping_neg();
    (number >> 63 == 0).then_some(number)
}

/// As [`parse_u64`], of 32 bits: the client flags.
pub(super) fn parse_u32(text: &[u8]) -> Option<u32> {
    // C's `unsigned long` is cut to 32 bits.
    parse_u64(text).map(|number| number as u32)
}

/// As [`parse_u64`], signed: times, of which 32 bits are kept.
pub(super) fn parse_exptime(text: &[u8]) -> Option<Exptime> {
    let (negative, magnitude) = parse_c_integer(text)?;
    let number = i64::try_from(magnitude).ok()?;
    Some(Exptime(if negative { -number } else { number } as i32))
}

/// Sign and digits of an integer in C's notation, followed by nothing or by white space.
fn parse_c_integer(text: &[u8]) -> Option<(bool, u64)> {
    let start = text.iter().position(|byte| !is_space(*byte))?;
    let text = &text[start..];
    let negative = text.first() == Some(&b'-');
    let digits = if negative { &text[1..] } else { text.strip_prefix(b"+").unwrap_or(text) };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, behind) = digits.split_at(end);
    if digits.is_empty() || behind.first().is_some_and(|byte| !is_space(*byte) && *byte != 0) {
        return None;
    }
    let magnitude = digits
        .iter()
        .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    Some((negative, magnitude))
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Whether a key may stand in a line as it is.
pub(super) fn is_plain(key: &[u8]) -> bool {
    memchr3(b' ', b'\n', b'\r', key).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, number) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("+5", Some(5)),
            (" 5", Some(5)),
            ("5 ", Some(5)),
            ("5\t", Some(5)),
            ("5 x", Some(5)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-1", None),
            ("-0", Some(0)),
            ("-18446744073709551615", Some(1)),
            ("", None),
            (" ", None),
            ("+", None),
            ("- 1", None),
            ("5x", None),
            ("x", None),
        ] {
            assert_eq!(parse_u64(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn flags_and_times_of_a_store_keep_the_low_32_bits() {
        assert_eq!(parse_u32(b"4294967297"), Some(1));
        assert_eq!(parse_exptime(b"4294967297"), Some(Exptime(1)));
        assert_eq!(parse_exptime(b"-1"), Some(Exptime(-1)));
        assert_eq!(parse_exptime(b"9223372036854775808"), None);
    }

    #[test]
    fn other_numbers_are_digits_and_in_range() {
        assert_eq!(parse_digits(b"18446744073709551615"), Some(u64::MAX));
        for none in
            [&b""[..], b"18446744073709551616", b"+1", b"-1", b" 1", b"1 ", b"1x", b"00000000000000000000001"]
        {
            assert_eq!(parse_digits(none), None, "{none:?}");
        }
        assert_eq!(parse_digits(b"0000000000000000000001"), Some(1));
        assert_eq!(
            (parse_digits_u32(b"4294967295"), parse_digits_u32(b"4294967296")),
            (Some(u32::MAX), None)
        );
        assert_eq!(
            (parse_time(b"-2147483648"), parse_time(b"-0")),
            (Some(Exptime(i32::MIN)), Some(Exptime(0)))
        );
        assert_eq!((parse_time(b"2147483648"), parse_time(b"-"), parse_time(b"--1")), (None, None, None));
        assert_eq!((parse_length(b"2147483645"), parse_length(b"2147483646")), (Some(2_147_483_645), None));
        assert_eq!((parse_length(b"-1"), parse_length(b"-0")), (None, Some(0)));
    }

    #[test]
    fn a_line_ends_at_its_newline_with_or_without_a_return() {
        assert_eq!(first_line(b"ab\r\ncd", 0), Some((&b"ab"[..], 4)));
        assert_eq!(first_line(b"ab\ncd", 0), Some((&b"ab"[..], 3)));
        assert_eq!(first_line(b"ab\ncd", 2), Some((&b"ab"[..], 3)));
        assert_eq!(first_line(b"\r\n", 0), Some((&b""[..], 2)));
        assert_eq!(first_line(b"ab\r", 0), None);
        assert_eq!(first_line(b"", 0), None);
    }
}
