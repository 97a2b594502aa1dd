//! Words and numbers of a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Broken, MAX_LINE_BYTES};
use crate::key::MAX_KEY_BYTES;

/// The words of one line.
pub(super) struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self(line)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let end = memchr::memchr(b' ', self.0).unwrap_or(self.0.len());
        let word = &self.0[..end];
        self.0 = self.0.get(end + 1..).unwrap_or_default();
        Some(word)
    }
}

/// The first line of the input and where the next one begins; `None` where its end has not come.
pub(super) fn line(input: &[u8]) -> Result<Option<(&[u8], usize)>, Broken> {
    match memchr::memchr(b'\n', input) {
        Some(end) if end > 0 && input[end - 1] == b'\r' => Ok(Some((&input[..end - 1], end + 1))),
        Some(_) => Err(Broken("a line that does not end in \\r\\n")),
        None if input.len() > MAX_LINE_BYTES => Err(Broken("a line without an end")),
        None => Ok(None),
    }
}

pub(super) fn number(digits: &[u8]) -> Result<u64, Broken> {
    let mut number = 0_u64;
    for digit in digits {
        let value = u64::from(digit.wrapping_sub(b'0'));
        if value > 9 {
            return Err(Broken("a number that is none"));
        }
        number = number
            .checked_mul(10)
            .and_then(|number| number.checked_add(value))
            .ok_or(Broken("a number out of range"))?;
    }
    if digits.is_empty() { Err(Broken("a number that is none")) } else { Ok(number) }
}

/// The marks of an entry.
pub(super) fn marks(digits: &[u8]) -> Result<u8, Broken> {
    u8::try_from(number(digits)?).map_err(|_| Broken("marks out of range"))
}

pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// ` ` and a flag with its number.
pub(super) fn push_flag(out: &mut Vec<u8>, flag: u8, value: u64) {
    out.extend_from_slice(&[b' ', flag]);
    push_number(out, value);
}

/// ` ` and a flag with some text in base64.
pub(super) fn push_text(out: &mut Vec<u8>, flag: u8, text: &str) {
    out.extend_from_slice(&[b' ', flag]);
    push_base64(out, text.as_bytes());
}

/// A key, and ` b` behind what `between` writes where it is in base64.
pub(super) fn push_key(out: &mut Vec<u8>, key: &[u8], between: impl FnOnce(&mut Vec<u8>)) {
    if key.iter().all(u8::is_ascii_graphic) {
        out.extend_from_slice(key);
        between(out);
    } else {
        push_base64(out, key);
        between(out);
        out.extend_from_slice(b" b");
    }
}

fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    out.resize(at + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(bytes, &mut out[at..]).unwrap_or_default();
    out.truncate(at + written);
}

/// Decodes base64 into `scratch`.
pub(super) fn decode<'a>(text: &[u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Broken> {
    scratch.clear();
    STANDARD.decode_vec(text, scratch).map_err(|_| Broken("base64 that is none"))?;
    Ok(scratch)
}

pub(super) fn check_key(key: &[u8]) -> Result<&[u8], Broken> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Broken("a key of no or too many bytes"));
    }
    Ok(key)
}
