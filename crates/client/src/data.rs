//! One entry at a time: get, set, delete.

use std::fmt::Write as _;

use annulus_protocol::condition::{ETags, Precondition, etag};
use annulus_protocol::duration::max_age_seconds;
use annulus_protocol::value::{JSON, OCTET_STREAM, check_content_type};
use annulus_protocol::{Key, Version, rest};
use bytes::Bytes;
use http::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::Answer;
use crate::transport::Call;
use crate::{Client, Error};

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The value.
    pub bytes: Bytes,
    /// What the bytes are; `application/octet-stream` where the writer did not say.
    pub content_type: String,
    /// When it was written; compare-and-swap takes it.
    pub version: Version,
    /// Seconds left to live, rounded down; `None` for an entry that does not expire.
    pub ttl_seconds: Option<u64>,
}

/// How a value is stored. The default: as bytes, for ever, whatever is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetOptions {
    /// What the bytes are: at most 127 visible ASCII characters.
    pub content_type: Option<String>,
    /// Seconds to live, up to ten years; `None` or 0: no expiry.
    pub ttl_seconds: Option<u64>,
    /// What must hold of the entry that is there; see [`only_if_absent`] and [`only_if_version`].
    pub condition: Precondition,
}

/// Add: write only where there is no entry.
pub fn only_if_absent() -> Precondition {
    Precondition { if_none_match: Some(ETags::Any), ..Precondition::default() }
}

/// Compare and swap: write only where the entry has this version.
pub fn only_if_version(version: Version) -> Precondition {
    Precondition { if_match: Some(ETags::OneOf(vec![version])), ..Precondition::default() }
}

impl Client {
    /// The entry under `key`, or `None` on a miss.
    ///
    /// # Errors
    /// Any [`Error`] but that of a miss.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let call = Call::get(format!("{}?raw", data_path(key.as_ref())?));
        let answer = self.transport.send(&call).await?.found()?;
        answer.map(value).transpose()
    }

    /// The value under `key` read as JSON, or `None` on a miss.
    ///
    /// # Errors
    /// [`Error::Json`] where the value is not the JSON of a `T`; otherwise as [`Self::get`].
    pub async fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>, Error> {
        let value = self.get(key).await?;
        value.map(|value| serde_json::from_slice(&value.bytes).map_err(Error::Json)).transpose()
    }

    /// The entry as the REST interface shows it in JSON, or `None` on a miss.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn entry(&self, key: impl AsRef<[u8]>) -> Result<Option<rest::Entry>, Error> {
        let mut call = Call::get(data_path(key.as_ref())?);
        call.headers.insert(ACCEPT, HeaderValue::from_static(JSON));
        self.transport.send(&call).await?.found()?.map(|answer| answer.json()).transpose()
    }

    /// Stores a value and gives its version.
    ///
    /// Where a master breaks off, an unconditional write is sent to the next, so it may happen twice; one with a
    /// condition is not, because its second run would fail on what the first has done.
    ///
    /// # Errors
    /// [`Error::is_precondition_failed`] where the condition does not hold; otherwise any [`Error`].
    pub async fn set(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<Bytes>,
        options: &SetOptions,
    ) -> Result<Version, Error> {
        let mut path = data_path(key.as_ref())?;
        if let Some(ttl) = options.ttl_seconds {
            let _ = write!(path, "?ttl={ttl}");
        }
        let call = Call {
            method: Method::PUT,
            path,
            headers: headers(options)?,
            body: value.into(),
            repeatable: options.condition.is_empty(),
        };
        let stored: rest::Stored = self.transport.send(&call).await?.success()?.json()?;
        Ok(stored.version)
    }

    /// Stores a value as JSON; the content type is `application/json` unless `options` say otherwise.
    ///
    /// # Errors
    /// [`Error::Json`] where `value` has no JSON form; otherwise as [`Self::set`].
    pub async fn set_json<T: Serialize + ?Sized>(
        &self,
        key: impl AsRef<[u8]>,
        value: &T,
        options: &SetOptions,
    ) -> Result<Version, Error> {
        let json = serde_json::to_vec(value).map_err(Error::Json)?;
        let content_type = options.content_type.clone().or_else(|| Some(JSON.to_owned()));
        self.set(key, json, &SetOptions { content_type, ..options.clone() }).await
    }

    /// Removes an entry and gives the version of the delete; `None` where there was nothing to remove.
    ///
    /// Where a master breaks off and the next is asked, `None` may also mean that the first one removed it.
    ///
    /// # Errors
    /// Any [`Error`] but that of a miss.
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<Option<Version>, Error> {
        let call = Call { method: Method::DELETE, ..Call::get(data_path(key.as_ref())?) };
        let answer = self.transport.send(&call).await?.found()?;
        answer.map(|answer| answer.json::<rest::Deleted>().map(|deleted| deleted.version)).transpose()
    }
}

/// The route of a key, escaped.
fn data_path(key: &[u8]) -> Result<String, Error> {
    match key {
        b"." => Err(Error::DotKey(".")),
        b".." => Err(Error::DotKey("..")),
        _ => Ok(format!("data/{}", Key::new(Bytes::copy_from_slice(key))?)),
    }
}

fn headers(options: &SetOptions) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let content_type = options.content_type.as_deref().unwrap_or(OCTET_STREAM);
    let content_type = check_content_type(content_type.as_bytes()).map_err(Error::Argument)?;
    headers.insert(CONTENT_TYPE, header(content_type)?);
    for (name, tags) in
        [(IF_MATCH, &options.condition.if_match), (IF_NONE_MATCH, &options.condition.if_none_match)]
    {
        if let Some(tags) = tags {
            headers.insert(name, header(&tags_text(tags)?)?);
        }
    }
    Ok(headers)
}

fn tags_text(tags: &ETags) -> Result<String, Error> {
    match tags {
        ETags::Any => Ok("*".to_owned()),
        // An empty list would be an empty header, which servers may take for none at all.
        ETags::OneOf(versions) if versions.is_empty() => {
            Err(Error::Argument("a condition names no version; name one, or use *".to_owned()))
        }
        ETags::OneOf(versions) => {
            Ok(versions.iter().map(|version| etag(*version)).collect::<Vec<_>>().join(", "))
        }
    }
}

fn header(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|error| Error::Argument(format!("{text:?}: {error}")))
}

fn value(answer: Answer) -> Result<Value, Error> {
    let tag = answer.header(&ETAG).unwrap_or_default();
    let version = tag.trim_matches('"').parse().map_err(|_| answer.unexpected("no ETag with a version"))?;
    let max_age = answer.header(&CACHE_CONTROL).and_then(|text| max_age_seconds(text).ok().flatten());
    let age = answer.header(&AGE).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    // A max-age of 0 reads as `None`, and stands where less than a second is left.
    let expires = answer.header(&AGE).is_some() || max_age.is_some();
    let content_type = answer.header(&CONTENT_TYPE).unwrap_or(OCTET_STREAM).to_owned();
    let ttl_seconds = expires.then(|| max_age.unwrap_or(0).saturating_sub(age));
    Ok(Value { bytes: answer.bytes, content_type, version, ttl_seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_escaped_once_and_a_dot_is_refused() {
        assert_eq!(data_path(b"a/b c%").unwrap(), "data/a%2Fb%20c%25");
        assert_eq!(data_path(b"...").unwrap(), "data/...");
        for dots in [".", ".."] {
            assert!(matches!(data_path(dots.as_bytes()), Err(Error::DotKey(_))));
        }
        assert!(matches!(data_path(b""), Err(Error::Key(_))));
    }

    #[test]
    fn a_condition_becomes_a_header() {
        let text = |condition: Precondition| {
            let options = SetOptions { condition, ..SetOptions::default() };
            let headers = headers(&options).unwrap();
            let get = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
            (get(IF_MATCH), get(IF_NONE_MATCH))
        };
        assert_eq!(text(only_if_absent()), (None, Some("*".to_owned())));
        assert_eq!(text(only_if_version(Version(7))), (Some("\"7\"".to_owned()), None));
    }
}
