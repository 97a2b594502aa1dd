//! What each layer says: file, environment, flags. Here names are checked; values are checked when they are resolved.

use std::path::Path;

use ::config::{File, FileFormat, Map, Source, Value, ValueKind};

use super::suggest::{suggest_section, suggest_setting};
use super::{ConfigError, Flag, Origin, Role, Setting, schema};

const PREFIX: &str = "ANNULUS_";

/// The one section that is an array of tables.
const DATASETS: &str = "datasets";

/// Read by the command line, for `--config`; it is no setting.
const FILE_VARIABLE: &str = "ANNULUS_CONFIG";

/// One layer's word on one setting.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) setting: &'static Setting,
    pub(super) given: Given,
    pub(super) origin: Origin,
    /// The original read a bare number as seconds, under its own names only.
    pub(super) bare_seconds: bool,
}

/// A value as it was given.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Text(String),
    List(Vec<String>),
}

impl Given {
    pub(super) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(items) => items.join(","),
        }
    }
}

/// `tables` gets the `[[datasets]]`.
pub(super) fn read_file(
    path: &Path,
    found: &mut Vec<Assignment>,
    tables: &mut Vec<Map<String, Value>>,
    errors: &mut Vec<ConfigError>,
) {
    let origin = Origin::File(path.to_path_buf());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return errors.push(ConfigError::Unreadable { origin, why: error.to_string() }),
    };
    let sections = match File::from_str(&text, FileFormat::Toml).collect() {
        Ok(sections) => in_order(sections),
        Err(error) => {
            let why = error.to_string().trim_end().to_owned();
            return errors.push(ConfigError::Unreadable { origin, why });
        }
    };
    for (section, value) in sections {
        let known = schema().iter().any(|setting| setting.section_and_name().0 == section);
        match value.kind {
            kind if section == DATASETS => match tables_of(kind) {
                Some(some) => tables.extend(some),
                None => errors.push(ConfigError::Dataset {
                    origin: origin.clone(),
                    path: DATASETS.to_owned(),
                    why: "each dataset is a table of its own, under [[datasets]]".to_owned(),
                }),
            },
            ValueKind::Table(keys) if known => read_section(&section, keys, &origin, found, errors),
            ValueKind::Table(_) => errors.push(ConfigError::Unknown {
                place: format!("{origin}: [{}]", section.escape_debug()),
                what: "section",
                hint: suggest_section(&section),
            }),
            _ if known => errors.push(ConfigError::Unknown {
                place: format!("{origin}: {section}"),
                what: "setting",
                hint: format!("it is a section, to be written [{section}]"),
            }),
            _ => errors.push(unknown_key(&section, &origin)),
        }
    }
}

fn tables_of(kind: ValueKind) -> Option<Vec<Map<String, Value>>> {
    let ValueKind::Array(items) = kind else { return None };
    let table = |item: Value| match item.kind {
        ValueKind::Table(table) => Some(table),
        _ => None,
    };
    items.into_iter().map(table).collect()
}

fn read_section(
    section: &str,
    keys: Map<String, Value>,
    origin: &Origin,
    found: &mut Vec<Assignment>,
    errors: &mut Vec<ConfigError>,
) {
    for (key, value) in in_order(keys) {
        let path = format!("{section}.{key}");
        let within =
            |setting: &Setting| setting.path.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
        let value = match value.kind {
            ValueKind::Table(keys) if schema().iter().any(within) => {
                read_section(&path, keys, origin, found, errors);
                continue;
            }
            kind => kind,
        };
        let Some(setting) = setting_at(&path) else {
            errors.push(unknown_key(&path, origin));
            continue;
        };
        let given = match value {
            ValueKind::Array(items) => Given::List(items.iter().map(|item| item.kind.to_string()).collect()),
            ValueKind::Table(_) => Given::Text("{…}".to_owned()),
            kind => Given::Text(kind.to_string()),
        };
        found.push(Assignment { setting, given, origin: origin.clone(), bare_seconds: false });
    }
}

/// An empty variable counts as absent: that is what `PORT=${PORT}` in a compose file leaves behind.
pub(super) fn read_environment(
    role: Role,
    env: &[(String, String)],
    found: &mut Vec<Assignment>,
    errors: &mut Vec<ConfigError>,
) {
    let mut own = Vec::new();
    for (name, value) in env.iter().filter(|(_, value)| !value.is_empty()) {
        let origin = Origin::Env(name.clone());
        let given = Given::Text(value.clone());
        let is_plain =
            |setting: &&Setting| setting.plain.is_some_and(|plain| plain.role == role && plain.name == name);
        if let Some(setting) = schema().iter().find(is_plain) {
            found.push(Assignment { setting, given, origin, bare_seconds: true });
        } else if let Some(setting) = schema().iter().find(|setting| setting.env_name() == *name) {
            own.push(Assignment { setting, given, origin, bare_seconds: false });
        } else if name.starts_with(PREFIX) && name != FILE_VARIABLE && !is_service_link(name, value) {
            let hint = suggest_setting(&name[PREFIX.len()..], Setting::env_name);
            errors.push(ConfigError::Unknown { place: origin.to_string(), what: "setting", hint });
        }
    }
    // The precise name wins over the original's, in whatever order the environment lists them.
    found.append(&mut own);
}

pub(super) fn read_flags(flags: &[Flag], found: &mut Vec<Assignment>, errors: &mut Vec<ConfigError>) {
    for Flag { name, path, value } in flags {
        let origin = Origin::Flag(name.clone());
        match setting_at(path) {
            Some(setting) => {
                let given = Given::Text(value.clone());
                found.push(Assignment { setting, given, origin, bare_seconds: false });
            }
            None => errors.push(ConfigError::Unknown {
                place: origin.to_string(),
                what: "setting",
                hint: suggest_setting(path, |setting| setting.path.to_owned()),
            }),
        }
    }
}

fn setting_at(path: &str) -> Option<&'static Setting> {
    schema().iter().find(|setting| setting.path == path)
}

fn unknown_key(path: &str, origin: &Origin) -> ConfigError {
    ConfigError::Unknown {
        place: format!("{origin}: {}", path.escape_debug()),
        what: "setting",
        hint: suggest_setting(path, |setting| setting.path.to_owned()),
    }
}

/// The map has no order of its own, and errors should come in the same order every time.
pub(super) fn in_order(map: Map<String, Value>) -> Vec<(String, Value)> {
    let mut pairs: Vec<_> = map.into_iter().collect();
    pairs.sort_by(|left, right| left.0.cmp(&right.0));
    pairs
}

/// Kubernetes and Docker set such variables for a service called `annulus…`; they are addresses, no settings:
/// <https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables>.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_address =
        value.starts_with("tcp://") || value.starts_with("udp://") || value.starts_with("sctp://");
    let is_port_part = |protocol: &str| {
        name.match_indices("_PORT_").any(|(at, matched)| {
            let rest = name[at + matched.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
            rest.starts_with(protocol)
        })
    };
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && is_address)
        || ["_TCP", "_UDP", "_SCTP"].into_iter().any(is_port_part)
}
