//! Layered configuration: defaults, then a TOML file, then the environment, then flags; the later layer wins.
//!
//! One table, [`schema()`], says every setting there is: its path, default, bounds, environment names and meaning.
//! All roles share it, so that one file can configure a whole cluster. Reading is strict, because a setting that is
//! misspelt and silently ignored is found in production: every unknown name and every value out of bounds is an error
//! that says where it stands and what is allowed, and all of them are reported at once.
//!
//! ```
//! use annulus_service::config::{Flag, Role, Sources, load};
//!
//! let resolved = load(&Sources {
//!     role: Role::Master,
//!     file: None,
//!     env: vec![("PORT".into(), "8001".into())],
//!     flags: vec![Flag::set("server.idle_timeout", "30s")],
//! })?;
//! assert_eq!(resolved.settings().master.port, 8001);
//! assert_eq!(resolved.entry("master.port").unwrap().origin.to_string(), "environment PORT");
//! # Ok::<(), annulus_service::config::ConfigErrors>(())
//! ```

mod datasets;
mod errors;
mod kind;
mod layers;
mod live;
mod resolve;
mod schema;
mod settings;
mod suggest;
mod units;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

pub use datasets::{DatasetField, DatasetSettings, HeaderSource, dataset_schema};
pub use errors::{ConfigError, ConfigErrors};
pub use kind::Kind;
pub use live::is_live;
pub use schema::{PlainName, Setting, schema};
pub use settings::{
    AuxiliarySettings, ClusterSettings, Consistency, KubernetesSettings, LimitSettings, LogFormat,
    LogSettings, MasterSettings, RefresherSettings, Route, ServerSettings, Settings,
};
pub use units::{format_bytes, format_duration, parse_bytes, parse_duration};

/// Which service reads the configuration. It decides only which plain environment names of the original count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A master: `PORT`, `REPLICATION_FACTOR` and `HEALTH_CHECK_INTERVAL` are read.
    Master,
    /// An auxiliary: `PORT` and `CACHE_SIZE` are read.
    Auxiliary,
    /// A refresher: `PORT`, `REDIS_ADDR`, `LEADERSHIP_TTL` and others are read, and `NAME_REFRESH_INTERVAL` of each dataset.
    Refresher,
    /// The whole cluster in one process. No plain name is read: `PORT` could mean either service.
    Dev,
}

/// What to read the configuration from. The environment is handed in, so that several nodes can live in one process.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Whose configuration it is.
    pub role: Role,
    /// The TOML file, where one was asked for. It must exist.
    pub file: Option<PathBuf>,
    /// Name and value of each environment variable. Those that are not ours are passed over.
    pub env: Vec<(String, String)>,
    /// Settings given on the command line; of two for one path the later wins.
    pub flags: Vec<Flag>,
}

/// A setting given on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    name: String,
    path: String,
    value: String,
}

impl Flag {
    /// A flag of its own, such as `--port` (`name`) for `master.port` (`path`).
    pub fn named(name: impl Into<String>, path: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), path: path.into(), value: value.into() }
    }

    /// `--set PATH=VALUE`, which reaches every setting.
    pub fn set(path: impl Into<String>, value: impl Into<String>) -> Self {
        let path = path.into();
        Self { name: format!("--set {path}"), path, value: value.into() }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The schema's default.
    Default,
    /// The TOML file at this path.
    File(PathBuf),
    /// The environment variable of this name.
    Env(String),
    /// The flag of this name, dashes included.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.to_string_lossy().escape_debug()),
            Self::Env(name) => write!(f, "environment {}", name.escape_debug()),
            Self::Flag(name) => write!(f, "flag {}", name.escape_debug()),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One setting as it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// `section.name`.
    pub path: &'static str,
    /// The value in its shortest spelling (`60s` reads `1m`); lists are comma separated; empty is "not given".
    pub value: String,
    /// The layer that decided it.
    pub origin: Origin,
}

/// The configuration that a service runs with, and where each part of it came from.
#[derive(Clone, Debug)]
pub struct Resolved {
    settings: Settings,
    entries: Vec<Entry>,
    /// The values behind the entries, secrets as they are, to be compared and never shown.
    values: Vec<String>,
    notes: Vec<String>,
}

impl Resolved {
    /// The typed settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every setting in the order of the schema.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Where another reading differs: the entry here and the one there. Datasets are left out.
    pub fn differences<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (&'a Entry, &'a Entry)> {
        let values = self.values.iter().zip(&other.values);
        let entries = self.entries.iter().zip(&other.entries);
        entries.zip(values).filter(|(_, (one, other))| one != other).map(|(entries, _)| entries)
    }

    /// The same with the values of `other` for the settings that `takes` names; what it was decided from is not changed.
    pub(crate) fn take_over(&mut self, other: &Self, takes: impl Fn(&str) -> bool) {
        for (at, entry) in other.entries.iter().enumerate().filter(|(_, entry)| takes(entry.path)) {
            self.entries[at] = entry.clone();
            self.values[at].clone_from(&other.values[at]);
        }
    }

    /// The entry of one setting.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.path == path)
    }

    /// Every field of every dataset: its path, its value where it may be shown, and where it came from.
    pub fn dataset_entries(&self) -> impl Iterator<Item = (String, String, &Origin)> {
        self.settings.datasets.iter().flat_map(DatasetSettings::entries)
    }

    /// Sentences that the user should see once, at the start: names that mean something other than they seem to.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

/// Reads all layers and decides every setting.
///
/// # Errors
/// All that is wrong in any layer, also where a later layer overrides it: a wrong line in a file is wrong whoever
/// happens to override it today. Settings that contradict each other are reported once every single value is valid.
pub fn load(sources: &Sources) -> Result<Resolved, ConfigErrors> {
    let mut errors = Vec::new();
    let mut assignments = Vec::new();
    let mut tables = Vec::new();
    if let Some(path) = &sources.file {
        layers::read_file(path, &mut assignments, &mut tables, &mut errors);
    }
    let datasets = datasets::read(sources, tables, &mut errors);
    layers::read_environment(sources.role, &sources.env, &mut assignments, &mut errors);
    layers::read_flags(&sources.flags, &mut assignments, &mut errors);
    resolve::resolve(&assignments, datasets, errors)
}
