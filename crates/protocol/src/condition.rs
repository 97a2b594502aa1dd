//! Conditional requests (RFC 9110 §13): strong entity tags are versions.

use crate::version::Version;

/// The entity tag of a version, quotes included.
pub fn etag(version: Version) -> String {
    format!("\"{version}\"")
}

/// How entity tags are compared (RFC 9110 §8.8.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `If-Match`: a weak tag matches nothing.
    Strong,
    /// `If-None-Match`: a tag that a proxy made weak still names its version.
    Weak,
}

/// The value of an `If-Match` or `If-None-Match` header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ETags {
    /// `*`: any current entry.
    Any,
    /// The versions named. Tags that can match nothing are left out: other text, and weak ones under
    /// strong comparison.
    OneOf(Vec<Version>),
}

impl ETags {
    /// Reads the header's value: `*`, or a comma-separated list of entity tags.
    ///
    /// # Errors
    /// Says what is wrong where the text is neither.
    pub fn parse(text: &str, comparison: Comparison) -> Result<Self, String> {
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
            let counts = !weak || comparison == Comparison::Weak;
            versions.extend(inner.parse::<Version>().ok().filter(|_| counts));
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
        assert_eq!(ETags::parse(" * ", Comparison::Strong), Ok(ETags::Any));
        assert_eq!(
            ETags::parse(r#""1", "22""#, Comparison::Strong),
            Ok(ETags::OneOf(vec![Version(1), Version(22)]))
        );
        assert!(ETags::parse("1", Comparison::Strong).is_err());
        assert!(ETags::parse("", Comparison::Strong).is_err());
    }

    #[test]
    fn a_weak_tag_counts_only_where_comparison_is_weak() {
        assert_eq!(ETags::parse(r#"W/"1""#, Comparison::Strong), Ok(ETags::OneOf(vec![])));
        assert_eq!(ETags::parse(r#"W/"1""#, Comparison::Weak), Ok(ETags::OneOf(vec![Version(1)])));
    }

    #[test]
    fn if_none_match_star_holds_only_where_nothing_is() {
        let add = Precondition { if_none_match: Some(ETags::Any), ..Default::default() };
        assert!(add.holds(None));
        assert!(!add.holds(Some(Version(1))));
    }

    #[test]
    fn if_match_holds_only_for_the_version_named() {
        let cas =
            Precondition { if_match: ETags::parse("\"7\"", Comparison::Strong).ok(), ..Default::default() };
        assert!(cas.holds(Some(Version(7))));
        assert!(!cas.holds(Some(Version(8))));
        assert!(!cas.holds(None));
    }
}
