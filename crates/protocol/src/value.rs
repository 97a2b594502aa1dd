//! Values: bytes with a content type, and what they look like inside JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

use crate::version::Version;

/// The content type of a value whose writer named none.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// The content type of a JSON string that came in through `POST /data`.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// The content type of any other JSON value that came in through `POST /data`.
pub const JSON: &str = "application/json";
/// The longest content type, in bytes.
pub const MAX_CONTENT_TYPE_BYTES: usize = 127;
/// How deeply arrays and objects of a JSON value may nest.
pub const MAX_JSON_DEPTH: usize = 128;

/// An entry as it travels from the node that holds it to the one who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredValue {
    /// When it was written.
    pub version: Version,
    /// The version under which it was first written, where it was carried on under a newer one.
    pub origin: Option<Version>,
    /// Milliseconds left to live; `None` for an entry that does not expire.
    pub ttl_left_ms: Option<u64>,
    /// The memcached client's flags.
    pub flags: u32,
    /// Four bits that memcached's meta commands keep with an entry: whether it is stale, for one. Whatever else copies it
    /// copies them; whoever writes a new value clears them.
    pub marks: u8,
    /// How it was used before; nothing unless that was asked.
    pub used: Used,
    /// What the bytes are.
    pub content: Content,
}

impl StoredValue {
    /// A value that never expires, of which nothing more is known.
    pub fn new(version: Version, content: Content) -> Self {
        Self { version, origin: None, ttl_left_ms: None, flags: 0, marks: 0, used: Used::default(), content }
    }
}

/// How an entry was used before it was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Whether it was read since it was written.
    pub before: bool,
    /// Seconds since it was last used.
    pub idle_s: u32,
}

/// A value's bytes and their content type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Media type, at most [`MAX_CONTENT_TYPE_BYTES`] bytes of visible ASCII.
    pub content_type: Cow<'static, str>,
    /// The bytes.
    pub bytes: Bytes,
}

/// A value as a member of a JSON document.
#[derive(Debug)]
pub enum JsonForm<'a> {
    /// Text: a JSON string.
    Text(&'a str),
    /// JSON: the document itself.
    Json(&'a RawValue),
    /// Anything else: base64 (RFC 4648 §4) in a string.
    Base64(String),
}

impl Content {
    /// What a JSON value given to `POST /data` stores: a string its UTF-8 bytes as [`TEXT`], anything else its own text
    /// as [`JSON`].
    ///
    /// # Errors
    /// Says what is wrong with a string of lone surrogates, or with nesting beyond [`MAX_JSON_DEPTH`].
    pub fn from_json(value: &RawValue) -> Result<Self, String> {
        let text = value.get();
        if text.starts_with('"') {
            let string: String = serde_json::from_str(text).map_err(|error| format!("value: {error}"))?;
            return Ok(Self { content_type: TEXT.into(), bytes: string.into() });
        }
        if json_depth(text) > MAX_JSON_DEPTH {
            return Err(format!("value: nested deeper than {MAX_JSON_DEPTH} levels"));
        }
        Ok(Self { content_type: JSON.into(), bytes: Bytes::copy_from_slice(text.as_bytes()) })
    }

    /// The value as a member of a JSON document. The content type decides, and the bytes have to agree with it.
    pub fn to_json(&self) -> JsonForm<'_> {
        let media_type = self.content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(JSON)
            && let Ok(raw) = serde_json::from_slice::<&RawValue>(&self.bytes)
        {
            return JsonForm::Json(raw);
        }
        let is_text = media_type.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("text/"));
        match std::str::from_utf8(&self.bytes) {
            Ok(text) if is_text => JsonForm::Text(text),
            _ => JsonForm::Base64(STANDARD.encode(&self.bytes)),
        }
    }
}

/// The depth to which arrays and objects nest in a text that is known to be valid JSON.
fn json_depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// Checks a content type that a client sent.
///
/// # Errors
/// Says what a content type may be where this one is too long or not visible ASCII.
pub fn check_content_type(text: &[u8]) -> Result<&str, String> {
    match std::str::from_utf8(text) {
        Ok(text)
            if text.len() <= MAX_CONTENT_TYPE_BYTES && text.bytes().all(|b| (b' '..=b'~').contains(&b)) =>
        {
            Ok(text)
        }
        _ => Err(format!(
            "Content-Type: at most {MAX_CONTENT_TYPE_BYTES} bytes of visible ASCII are kept with a value"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    fn content(content_type: &str, bytes: &'static [u8]) -> Content {
        Content { content_type: content_type.to_owned().into(), bytes: Bytes::from_static(bytes) }
    }

    #[test]
    fn a_string_is_stored_as_its_text_and_anything_else_as_its_json() {
        assert_eq!(Content::from_json(&raw(r#""a\nb""#)).unwrap(), content(TEXT, b"a\nb"));
        assert_eq!(Content::from_json(&raw(r#"{"a":[1.0]}"#)).unwrap(), content(JSON, br#"{"a":[1.0]}"#));
        assert_eq!(Content::from_json(&raw("null")).unwrap(), content(JSON, b"null"));
    }

    #[test]
    fn nesting_is_bounded_and_brackets_in_strings_do_not_nest() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Content::from_json(&RawValue::from_string(nested(128)).unwrap()).is_ok());
        assert!(Content::from_json(&RawValue::from_string(nested(129)).unwrap()).is_err());
        assert_eq!(json_depth(r#"["[[[\"[[", {"a{": 1}]"#), 2);
    }

    #[test]
    fn what_comes_out_follows_the_content_type_and_the_bytes() {
        assert!(matches!(content("text/html", b"<p>").to_json(), JsonForm::Text("<p>")));
        assert!(
            matches!(content("application/json; charset=utf-8", b"[1]").to_json(), JsonForm::Json(r) if r.get() == "[1]")
        );
        assert!(matches!(content(JSON, b"[1").to_json(), JsonForm::Base64(b) if b == "WzE="));
        assert!(matches!(content("text/plain", b"\xff").to_json(), JsonForm::Base64(b) if b == "/w=="));
        assert!(matches!(content(OCTET_STREAM, b"abc").to_json(), JsonForm::Base64(b) if b == "YWJj"));
    }

    #[test]
    fn a_content_type_is_short_and_visible() {
        assert!(check_content_type(b"image/png").is_ok());
        assert!(check_content_type(&[b'a'; 128]).is_err());
        assert!(check_content_type(b"a\r\nb").is_err());
    }
}
