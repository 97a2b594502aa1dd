//! From what the layers say to one value for each setting.

use std::collections::BTreeMap;

use ::config::{Config, Value, ValueKind};

use super::datasets::DatasetSettings;
use super::kind::Canonical;
use super::layers::{Assignment, Given};
use super::{ConfigError, ConfigErrors, Entry, Origin, Resolved, Setting, Settings, schema};

/// Decides every setting: the last of `assignments` for a path wins, and the schema's default where there is none.
/// `errors` are those found before; they fail the whole, together with all that is found here.
pub(super) fn resolve(
    assignments: &[Assignment],
    datasets: Vec<DatasetSettings>,
    mut errors: Vec<ConfigError>,
) -> Result<Resolved, ConfigErrors> {
    let mut decided = BTreeMap::new();
    for setting in schema() {
        match setting.kind.read(setting.default, false) {
            Ok(value) => drop(decided.insert(setting.path, (value, Origin::Default))),
            Err(why) => errors.push(invalid(setting, Origin::Default, setting.default.to_owned(), why)),
        }
    }
    for Assignment { setting, given, origin, bare_seconds } in assignments {
        let read = match given {
            Given::Text(text) => setting.kind.read(text, *bare_seconds),
            Given::List(items) => setting.kind.read_list(items.iter().map(String::as_str)),
        };
        match read {
            Ok(value) => drop(decided.insert(setting.path, (value, origin.clone()))),
            Err(why) => {
                errors.push(invalid(setting, origin.clone(), setting.kind.shown(&given.to_text()), why));
            }
        }
    }
    if let Some(errors) = ConfigErrors::from_list(errors) {
        return Err(errors);
    }
    finish(&decided, datasets)
        .map_err(|errors| ConfigErrors::from_list(errors).expect("the caller found an error"))
}

fn finish(
    decided: &BTreeMap<&'static str, (Canonical, Origin)>,
    datasets: Vec<DatasetSettings>,
) -> Result<Resolved, Vec<ConfigError>> {
    let entries: Vec<Entry> = schema()
        .iter()
        .filter_map(|setting| Some((setting, decided.get(setting.path)?)))
        .map(|(setting, (value, origin))| {
            let value = setting.kind.shown(&value.to_text());
            Entry { path: setting.path, value, origin: origin.clone() }
        })
        .collect();
    let values = schema().iter().filter_map(|setting| decided.get(setting.path));
    let values = values.map(|(value, _)| value.to_text()).collect();
    let mut settings = typed(decided).map_err(|error| vec![ConfigError::Contradiction(error.to_string())])?;
    let contradictions = contradictions(&settings, &entries);
    if !contradictions.is_empty() {
        return Err(contradictions);
    }
    settings.datasets = datasets;
    let notes = notes(&entries);
    Ok(Resolved { settings, entries, values, notes })
}

fn invalid(setting: &Setting, origin: Origin, value: String, why: String) -> ConfigError {
    ConfigError::Invalid { origin, path: setting.path, value, why }
}

fn typed(decided: &BTreeMap<&'static str, (Canonical, Origin)>) -> Result<Settings, ::config::ConfigError> {
    let mut builder = Config::builder();
    for (path, (value, origin)) in decided {
        let kind = match value {
            Canonical::NotGiven => ValueKind::Nil,
            Canonical::Text(text) => text.as_str().into(),
            Canonical::List(items) => items.clone().into(),
        };
        builder = builder.set_override(*path, Value::new(Some(&origin.to_string()), kind))?;
    }
    builder.build()?.try_deserialize()
}

/// Settings that are valid one by one and cannot hold together.
fn contradictions(settings: &Settings, entries: &[Entry]) -> Vec<ConfigError> {
    let named = |path: &str| {
        let entry = entries.iter().find(|entry| entry.path == path);
        entry.map_or_else(String::new, |entry| format!("{path} ({}, {})", entry.value, entry.origin))
    };
    let mut errors = Vec::new();
    let cluster = &settings.cluster;
    if !cluster.auxiliaries.is_empty() && cluster.redis.is_some() {
        let (list, redis) = (named("cluster.auxiliaries"), named("cluster.redis"));
        errors.push(ConfigError::Contradiction(format!(
            "{list} and {redis} cannot both say who the members are: leave one out"
        )));
    }
    let kubernetes = &cluster.kubernetes;
    if let Some(redis) = cluster.redis.as_ref().map(|_| named("cluster.redis"))
        && kubernetes.label_selector.is_some()
    {
        let selector = named("cluster.kubernetes.label_selector");
        errors.push(ConfigError::Contradiction(format!(
            "{redis} and {selector} cannot both say who the members are: leave one out"
        )));
    }
    if kubernetes.statefulset.is_some() && kubernetes.label_selector.is_none() {
        let set = named("cluster.kubernetes.statefulset");
        errors.push(ConfigError::Contradiction(format!(
            "{set} needs cluster.kubernetes.label_selector, which says what its pods are, as in app=cache"
        )));
    }
    let limits = &settings.limits;
    if limits.deadline > limits.max_deadline {
        let (deadline, most) = (named("limits.deadline"), named("limits.max_deadline"));
        errors.push(ConfigError::Contradiction(format!("{deadline} must not be longer than {most}")));
    }
    if limits.max_value_bytes > settings.server.in_flight_bytes {
        let (value, most) = (named("limits.max_value_bytes"), named("server.in_flight_bytes"));
        errors.push(ConfigError::Contradiction(format!("{value} must not be larger than {most}")));
    }
    let refresher = &settings.refresher;
    if 2 * refresher.leadership_check_interval > refresher.leadership_ttl {
        let (check, ttl) = (named("refresher.leadership_check_interval"), named("refresher.leadership_ttl"));
        errors.push(ConfigError::Contradiction(format!(
            "{check} must be at most half of {ttl}, or a leader would lose its lease between two renewals"
        )));
    }
    errors
}

/// The original called virtual nodes a replication factor; whoever sets it should know what it does here.
fn notes(entries: &[Entry]) -> Vec<String> {
    let means_virtual_nodes =
        |entry: &&Entry| matches!(&entry.origin, Origin::Env(name) if name == "REPLICATION_FACTOR");
    let note = |entry: &Entry| {
        format!(
            "REPLICATION_FACTOR={0} means {0} virtual nodes a node on the ring ({1}), as in the original; \
             how many copies of a key are kept is cluster.replicas",
            entry.value, entry.path
        )
    };
    entries.iter().filter(means_virtual_nodes).map(note).collect()
}
