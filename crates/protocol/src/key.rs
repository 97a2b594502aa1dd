//! Keys: 1 to 250 bytes, any bytes.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// The longest key, in bytes: memcached's limit, so that every client can name every key.
pub const MAX_KEY_BYTES: usize = 250;

/// What a path segment may hold unescaped (RFC 3986 §2.3, "unreserved").
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A key of the cache: 1 to [`MAX_KEY_BYTES`] bytes, any bytes.
///
/// `Display` and `Debug` print it percent-encoded, so a key can go into a URL, a log line or an error text as it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Bytes);

/// Why some bytes are not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No bytes at all.
    #[error("the key is empty; a key is 1 to {MAX_KEY_BYTES} bytes")]
    Empty,
    /// More than [`MAX_KEY_BYTES`].
    #[error("the key is {0} bytes; a key is 1 to {MAX_KEY_BYTES} bytes")]
    TooLong(usize),
    /// A `%` of a path segment without two hexadecimal digits behind it.
    #[error("the key has a % that is not followed by two hexadecimal digits; write a percent sign as %25")]
    BadEscape,
}

impl Key {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// [`KeyError::Empty`] or [`KeyError::TooLong`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        match bytes.len() {
            0 => Err(KeyError::Empty),
            1..=MAX_KEY_BYTES => Ok(Self(bytes)),
            len => Err(KeyError::TooLong(len)),
        }
    }

    /// Decodes one segment of a URL's path, percent-encoded once.
    ///
    /// # Errors
    /// Any [`KeyError`]; the length counts after decoding.
    pub fn from_path_segment(segment: &str) -> Result<Self, KeyError> {
        if has_bad_escape(segment.as_bytes()) {
            return Err(KeyError::BadEscape);
        }
        match Cow::from(percent_decode_str(segment)) {
            Cow::Borrowed(plain) => Self::new(Bytes::copy_from_slice(plain)),
            Cow::Owned(decoded) => Self::new(decoded),
        }
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same key in memory of its own, not a part of a larger piece.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The key as text, where it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

fn has_bad_escape(segment: &[u8]) -> bool {
    segment.iter().enumerate().any(|(i, byte)| {
        let hex = |at: usize| segment.get(at).is_some_and(u8::is_ascii_hexdigit);
        *byte == b'%' && !(hex(i + 1) && hex(i + 2))
    })
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&percent_encode(&self.0, UNRESERVED), f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_is_1_to_250_bytes() {
        assert_eq!(Key::new(""), Err(KeyError::Empty));
        assert!(Key::new("k").is_ok());
        assert!(Key::new(vec![b'k'; 250]).is_ok());
        assert_eq!(Key::new(vec![b'k'; 251]), Err(KeyError::TooLong(251)));
    }

    #[test]
    fn the_length_counts_after_decoding() {
        assert!(Key::from_path_segment(&"%00".repeat(250)).is_ok());
        assert_eq!(Key::from_path_segment(&"%00".repeat(251)), Err(KeyError::TooLong(251)));
    }

    #[test]
    fn a_lone_percent_sign_is_refused() {
        for bad in ["%", "a%2", "%zz", "100%"] {
            assert_eq!(Key::from_path_segment(bad), Err(KeyError::BadEscape), "{bad}");
        }
        assert_eq!(Key::from_path_segment("100%25").unwrap().as_str(), Some("100%"));
    }

    #[test]
    fn a_segment_is_decoded_once() {
        assert_eq!(Key::from_path_segment("a%252Fb").unwrap().as_str(), Some("a%2Fb"));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(bytes in prop::collection::vec(any::<u8>(), 1..=MAX_KEY_BYTES)) {
            let key = Key::new(bytes).unwrap();
            let printed = key.to_string();
            prop_assert!(printed.bytes().all(|b| b.is_ascii_graphic()));
            prop_assert!(!printed.contains(['/', '?', '#']));
            prop_assert_eq!(Key::from_path_segment(&printed).unwrap(), key);
        }
    }
}
