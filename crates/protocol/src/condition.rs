//! Conditional requests (RFC 9110 §13): strong entity tags are versions.

use crate::version::Version;

/// The entity tag of a version, quotes included.
pub fn etag(version: Version) -> String {
    format!("\"{version}\"")
}

/// The value of an `If-Match` or `If-None-Match` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ETags {
    /// `*`: any current entry.
    Any,
    /// The versions named. Tags that no version could have (weak ones, other text) can match nothing and are left out.
    OneOf(Vec<Version>),
}

impl ETags {
    /// Reads the header's value: `*`, or a comma-separated list of entity tags.
    ///
    /// # Errors
    /// Says what is wrong where the text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let mut versions = Vec::new();
        for tag in text.split(',').map(str::trim) {
            let (weak, quoted) = tag.strip_prefix("W/").map_or((false, tag), |rest| (true, rest));
            let inner =
                quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(|| {
                    let shown: String = tag.chars().take(40).collect();
                    format!("{shown:?} is not an entity tag; write * or quoted tags such as \"123\"")
                })?;
            if let (false, Ok(version)) = (weak, inner.parse()) {
                versions.push(version);
            }
        }
        Ok(Self::OneOf(versions))
    }

    /// Whether `current` (the version there now, if any) is among them.
    pub fn matches(&self, current: Option<Version>) -> bool {
        match (self, current) {
            (Self::Any, current) => current.is_some(),
            (Self::OneOf(versions), Some(current)) => versions.contains(&current),
            (Self::OneOf(_), None) => false,
        }
    }
}

/// What must hold of the current entry for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Precondition {
    /// `If-Match`: the current version must be among these.
    pub if_match: Option<ETags>,
    /// `If-None-Match`: the current version must not be among these.
    pub if_none_match: Option<ETags>,
}

impl Precondition {
    /// Whether there is nothing to check.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether a write may go on where `current` is the version there now, if any.
    pub fn holds(&self, current: Option<Version>) -> bool {
        self.if_match.as_ref().is_none_or(|tags| tags.matches(current))
            && self.if_none_match.as_ref().is_none_or(|tags| !tags.matches(current))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_read_as_versions() {
        assert_eq!(ETags::parse(" * "), Ok(ETags::Any));
        assert_eq!(ETags::parse(r#""1", "22""#), Ok(ETags::OneOf(vec![Version(1), Version(22)])));
        assert!(ETags::parse("1").is_err());
        assert!(ETags::parse("").is_err());
    }

    #[test]
    fn a_weak_tag_matches_nothing_because_comparison_is_strong() {
        assert_eq!(ETags::parse(r#"W/"1""#), Ok(ETags::OneOf(vec![])));
    }

    #[test]
    fn if_none_match_star_holds_only_where_nothing_is() {
        let add = Precondition { if_none_match: Some(ETags::Any), ..Default::default() };
        assert!(add.holds(None));
        assert!(!add.holds(Some(Version(1))));
    }

    #[test]
    fn if_match_holds_only_for_the_version_named() {
        let cas = Precondition { if_match: ETags::parse("\"7\"").ok(), ..Default::default() };
        assert!(cas.holds(Some(Version(7))));
        assert!(!cas.holds(Some(Version(8))));
        assert!(!cas.holds(None));
    }
}
