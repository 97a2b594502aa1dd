//! What can be wrong with a configuration, in words that a user can act on.

use std::fmt;

use super::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML.
    #[error("{origin}: {why}")]
    Unreadable {
        /// The file.
        origin: Origin,
        /// The system's or the parser's words.
        why: String,
    },
    /// A name that no setting has.
    #[error("{place}: no such {what}; {hint}")]
    Unknown {
        /// The origin, and the name where the origin does not say it.
        place: String,
        /// `setting` or `section`.
        what: &'static str,
        /// What was probably meant, or what there is.
        hint: String,
    },
    /// A value that is malformed or out of bounds.
    #[error("{origin}: {path} = \"{}\": {why}", value.escape_debug())]
    Invalid {
        /// Where it stands.
        origin: Origin,
        /// The setting.
        path: &'static str,
        /// The value as it was given.
        value: String,
        /// What is allowed.
        why: String,
    },
    /// Something is wrong with a dataset.
    #[error("{origin}: {path}: {why}")]
    Dataset {
        /// Where it stands.
        origin: Origin,
        /// `datasets.NAME.field`, or what is known of it.
        path: String,
        /// What is wrong, and what is allowed. It shows no header and no part of a URL.
        why: String,
    },
    /// Two settings, each of them valid, that cannot hold together.
    #[error("{0}")]
    Contradiction(String),
}

/// Everything that is wrong with a configuration; never empty. Displays as one line, or as a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `None` where nothing is wrong.
    pub(super) fn from_list(errors: Vec<ConfigError>) -> Option<Self> {
        if errors.is_empty() { None } else { Some(Self(errors)) }
    }

    /// Each thing that is wrong: first names that no setting has, then values, either in the order of the layers.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return write!(f, "{only}");
        }
        write!(f, "{} things are wrong with the configuration:", self.0.len())?;
        // A parser's complaint has lines of its own, which show the place.
        self.0.iter().try_for_each(|error| write!(f, "\n  - {}", error.to_string().replace('\n', "\n    ")))
    }
}

impl std::error::Error for ConfigErrors {}
