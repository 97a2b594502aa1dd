//! From a body to a snapshot: whole, or one item for each element of an array or member of an object. All or nothing.

mod elements;

use std::borrow::Cow;

use annulus_protocol::dataset::{Items, Snapshot, SortedItems, TooManyNames};
use annulus_protocol::key::MAX_KEY_BYTES;
use annulus_service::config::DatasetSettings;
use bytes::Bytes;
use serde_json::value::RawValue;

use self::elements::each_element;

/// What a body becomes, by its dataset's `key` and `items`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// One entry under this key.
    Whole(String),
    /// One entry an item.
    Items {
        /// What all keys begin with; what follows it is the item's name.
        prefix: String,
        /// The rest of the key.
        pattern: Vec<Part>,
        /// The way to the items, member by member.
        pointer: Vec<String>,
    },
}

/// A part of a key's pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it is.
    Text(String),
    /// The field to take, as the way to it; in an object the name of the member stands for any.
    Field(Vec<String>),
}

/// Why a body makes no dataset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It is not the JSON that it should be.
    #[error("the body is not JSON: {0}")]
    Json(String),
    /// There is something else where the items should be.
    #[error("there is no array or object of items at {0}")]
    NoItems(String),
    /// An item cannot be named.
    #[error("item {at} of the body has no {field} that could name it: a text, a number or a boolean")]
    NoName {
        /// Counted from 1.
        at: usize,
        /// The placeholder.
        field: String,
    },
    /// Two items would be one entry.
    #[error("two items of the body have the key {0:?}")]
    Twice(String),
    /// There is no end of names.
    #[error(transparent)]
    Names(#[from] TooManyNames),
    /// A key that no entry can have.
    #[error("the key of item {at} of the body has {length} bytes; a key has 1 to {MAX_KEY_BYTES}")]
    Key {
        /// Counted from 1.
        at: usize,
        /// Its bytes.
        length: usize,
    },
    /// The pattern is none.
    #[error(
        "the key {0:?} is no pattern: a placeholder reads {{name}}, and there is at most one in the key of an object's items"
    )]
    Pattern(String),
}

impl Rule {
    /// The rule of a dataset.
    ///
    /// # Errors
    /// [`SplitError::Pattern`].
    pub fn new(settings: &DatasetSettings) -> Result<Self, SplitError> {
        let wrong = || SplitError::Pattern(settings.key.clone());
        let Some((prefix, mut rest)) = settings
            .key
            .split_once('{')
            .map(|(prefix, _)| (prefix.to_owned(), &settings.key[prefix.len()..]))
        else {
            return if settings.key.is_empty() || settings.key.contains('}') {
                Err(wrong())
            } else {
                Ok(Self::Whole(settings.key.clone()))
            };
        };
        let mut pattern = Vec::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('{') {
                let (field, after) = inner.split_once('}').ok_or_else(wrong)?;
                if field.is_empty() || field.contains('{') {
                    return Err(wrong());
                }
                pattern.push(Part::Field(field.split('.').map(str::to_owned).collect()));
                rest = after;
            } else {
                let end = rest.find('{').unwrap_or(rest.len());
                if rest[..end].contains('}') {
                    return Err(wrong());
                }
                pattern.push(Part::Text(rest[..end].to_owned()));
                rest = &rest[end..];
            }
        }
        let unescaped = |step: &str| step.replace("~1", "/").replace("~0", "~");
        let pointer = settings.items.as_deref().unwrap_or("").split('/').skip(1).map(unescaped).collect();
        Ok(Self::Items { prefix, pattern, pointer })
    }

    /// The key of an entry.
    pub fn key(&self, item: &str) -> String {
        match self {
            Self::Whole(key) => key.clone(),
            Self::Items { prefix, .. } => format!("{prefix}{item}"),
        }
    }

    /// Makes a snapshot of a body. `before` are the names of which there may be entries: those that are no more are noted in it
    /// as removed.
    ///
    /// # Errors
    /// [`SplitError`]: then nothing of the body is of use.
    pub fn apply(&self, body: Bytes, content_type: &str, before: &[&str]) -> Result<Snapshot, SplitError> {
        let Self::Items { prefix, pattern, pointer } = self else {
            if is_json(content_type) {
                let parsed: Result<&RawValue, _> = serde_json::from_slice(&body);
                parsed.map_err(|error| SplitError::Json(error.to_string()))?;
            }
            return Ok(Snapshot::whole(body, content_type));
        };
        let items = items(&body, prefix, pattern, pointer)?;
        let removed: Vec<&str> = before.iter().copied().filter(|name| !items.contains(name)).collect();
        Ok(Snapshot::split(body, content_type, &items, &removed))
    }
}

fn items(body: &[u8], prefix: &str, pattern: &[Part], pointer: &[String]) -> Result<SortedItems, SplitError> {
    let json = |error: serde_json::Error| SplitError::Json(error.to_string());
    let whole: &RawValue = serde_json::from_slice(body).map_err(json)?;
    let there = || {
        SplitError::NoItems(if pointer.is_empty() {
            "its top".to_owned()
        } else {
            format!("/{}", pointer.join("/"))
        })
    };
    let found = descend(whole, pointer).ok_or_else(there)?;
    let (mut items, mut at) = (Items::of_body(body.len()), 0);
    let visit = |member: Option<&str>, value: &RawValue| {
        at += 1;
        let name = name(at, member, value, pattern)?;
        let length = prefix.len() + name.len();
        if name.is_empty() || length > MAX_KEY_BYTES {
            return Err(SplitError::Key { at, length });
        }
        // Both are pieces of the same body.
        let start = value.get().as_ptr().addr() - body.as_ptr().addr();
        Ok(items.push(&name, start as u32, value.get().len() as u32)?)
    };
    each_element(found, visit).ok_or_else(there)??;
    items.sorted().map_err(|same| SplitError::Twice(format!("{prefix}{}", same.0)))
}

fn name(at: usize, member: Option<&str>, value: &RawValue, pattern: &[Part]) -> Result<String, SplitError> {
    let mut name = String::new();
    for part in pattern {
        match (part, member) {
            (Part::Text(text), _) => name.push_str(text),
            (Part::Field(_), Some(member)) => name.push_str(member),
            (Part::Field(path), None) => {
                let scalar = descend(value, path).and_then(scalar);
                let no_name = || SplitError::NoName { at, field: path.join(".") };
                name.push_str(&scalar.ok_or_else(no_name)?);
            }
        }
    }
    Ok(name)
}

/// Goes down by names of members.
fn descend<'a>(mut value: &'a RawValue, path: &[String]) -> Option<&'a RawValue> {
    for step in path {
        let mut next = None;
        let visit = |name: Option<&str>, member: &'a RawValue| {
            if next.is_none() && name == Some(step) {
                next = Some(member);
            }
            Ok::<(), std::convert::Infallible>(())
        };
        each_element(value, visit)?.ok()?;
        value = next?;
    }
    Some(value)
}

fn scalar(value: &RawValue) -> Option<Cow<'_, str>> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'"' => serde_json::from_str(text).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(text)),
    }
}

/// Whether a body should be JSON, by its content type.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(key: &str, items: Option<&str>) -> Result<Rule, SplitError> {
        let mut settings = DatasetSettings::new("d", "http://h/");
        key.clone_into(&mut settings.key);
        settings.items = items.map(str::to_owned);
        Rule::new(&settings)
    }

    /// The entries of a body: keys and values.
    fn split(key: &str, items: Option<&str>, body: &str) -> Result<Vec<(String, String)>, SplitError> {
        let rule = rule(key, items)?;
        let snapshot = rule.apply(Bytes::copy_from_slice(body.as_bytes()), "application/json", &[])?;
        let read = Snapshot::parse(snapshot.pieces().flatten().copied().collect()).unwrap();
        let text = |value: Bytes| String::from_utf8(value.to_vec()).unwrap();
        Ok(read.iter().map(|(name, value)| (rule.key(name), text(value))).collect())
    }

    fn entries(given: &[(&str, &str)]) -> Vec<(String, String)> {
        given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_array_gives_an_entry_for_each_element_by_its_fields() {
        let body = r#"[{"currency":"USD","rate":1.10}, {"currency":"C\u00e9","rate":2}]"#;
        let expected = [
            ("rates/Cé", r#"{"currency":"C\u00e9","rate":2}"#),
            ("rates/USD", r#"{"currency":"USD","rate":1.10}"#),
        ];
        assert_eq!(split("rates/{currency}", None, body).unwrap(), entries(&expected));
        let body = r#"{"data":{"all":[{"id":7,"of":{"code":"x"}},{"id":8,"of":{"code":"y"}}]}}"#;
        let keys = split("a/{of.code}-{id}/z", Some("/data/all"), body).unwrap();
        assert_eq!(keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), ["a/x-7/z", "a/y-8/z"]);
    }

    #[test]
    fn an_object_gives_an_entry_for_each_member_by_its_name() {
        let body = r#"{"base":"EUR","rates":{"USD":1.10,"CHF":"0.96"}}"#;
        let expected = [("rates/CHF", "\"0.96\""), ("rates/USD", "1.10")];
        assert_eq!(split("rates/{currency}", Some("/rates"), body).unwrap(), entries(&expected));
        assert_eq!(split("{x}", None, "{}").unwrap(), []);
    }

    #[test]
    fn a_body_that_cannot_be_split_whole_is_not_split_at_all() {
        let why = |key, items, body: &str| split(key, items, body).unwrap_err().to_string();
        assert!(why("r/{c}", None, "[1,").contains("not JSON"));
        assert!(why("r/{c}", None, "<html>").contains("not JSON"));
        assert!(why("r/{c}", None, "7").contains("no array or object of items at its top"));
        assert!(why("r/{c}", Some("/rates"), "{\"rate\":[]}").contains("at /rates"));
        assert!(why("r/{c}", None, r#"[{"c":"a"},{"d":1}]"#).contains("item 2 of the body has no c"));
        assert!(why("r/{c}", None, r#"[{"c":null}]"#).contains("has no c"));
        assert!(why("r/{c}", None, r#"[{"c":"a"},{"c":"a"}]"#).contains("the key \"r/a\""));
        assert!(why("r/{c}", None, r#"{"a":1,"a":2}"#).contains("the key \"r/a\""));
        assert!(why("r/{c}", None, r#"[{"c":""}]"#).contains("has 2 bytes"));
        assert!(
            why("r/{c}", None, &format!("[{{\"c\":\"{}\"}}]", "x".repeat(249))).contains("has 251 bytes")
        );
    }

    #[test]
    fn a_whole_body_must_be_json_only_where_it_says_so() {
        let whole = rule("page", None).unwrap();
        assert!(whole.apply(Bytes::from_static(b"<html>"), "text/html", &[]).is_ok());
        assert!(whole.apply(Bytes::from_static(b"{}"), "application/json; charset=utf-8", &[]).is_ok());
        for kind in ["application/json", "application/problem+json"] {
            assert!(
                matches!(whole.apply(Bytes::from_static(b"<html>"), kind, &[]), Err(SplitError::Json(_))),
                "{kind}"
            );
        }
    }

    #[test]
    fn names_that_are_no_more_are_noted_as_removed() {
        let rule = rule("r/{c}", None).unwrap();
        let snapshot = rule
            .apply(Bytes::from_static(b"{\"a\":1,\"b\":2}"), "application/json", &["b", "c", "d"])
            .unwrap();
        assert_eq!(snapshot.removed().collect::<Vec<_>>(), ["c", "d"]);
    }

    #[test]
    fn a_pattern_that_is_none_is_refused() {
        for key in ["", "a}", "a{", "a{}", "a{b", "a{b}}", "a{{b}}"] {
            assert!(matches!(rule(key, None), Err(SplitError::Pattern(_))), "{key}");
        }
    }

    proptest! {
        #[test]
        fn no_body_whatever_makes_it_panic(body in "[\\[\\]{}:,\"a0 \\\\u]{0,40}") {
            let _ = split("r/{a}", None, &body);
            let _ = split("r/{a}", Some("/a"), &body);
        }
    }
}
