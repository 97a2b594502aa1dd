//! `[[datasets]]`: what a refresher keeps fresh. They are tables in the file; of each, the environment may change the
//! interval.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ::config::{Map, Value, ValueKind};

use super::kind::Canonical;
use super::layers::in_order;
use super::units::{format_bytes, format_duration, parse_bytes, parse_duration};
use super::{ConfigError, Kind, Origin, Role, Sources};

const INTERVAL: &str = "refresh_interval";
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
const MAX_NAME_BYTES: usize = 64;

/// One field of a dataset.
#[derive(Clone, Copy, Debug)]
pub struct DatasetField {
    /// Its name in the table.
    pub name: &'static str,
    /// The default as a user would write it; empty: none.
    pub default: &'static str,
    /// Shape and bounds.
    pub kind: Kind,
    /// What it is for, in a sentence.
    pub help: &'static str,
}

/// Every field of a dataset but `headers`, which is a table of its own.
pub fn dataset_schema() -> &'static [DatasetField] {
    FIELDS
}

const fn field(name: &'static str, default: &'static str, kind: Kind, help: &'static str) -> DatasetField {
    DatasetField { name, default, kind, help }
}

const fn between(shortest_ms: u64, longest: Duration) -> Kind {
    Kind::Duration(Duration::from_millis(shortest_ms), longest)
}

#[rustfmt::skip] // a row is one field: its name, default, bounds and meaning
const FIELDS: &[DatasetField] = &[
    field("name", "", Kind::OptionalText,
        "Its name in paths, keys, channels and metrics: 1 to 64 letters, digits, `_` or `-`. Must be given."),
    field("url", "", Kind::OptionalText,
        "Where the upstream serves it, `http://` or `https://`. Must be given; its query is never logged."),
    field("key", "", Kind::OptionalText,
        "The key of its cache entry; with placeholders, as in `rates/{currency}`, one entry an item. Not given, it is `name`."),
    field("items", "", Kind::OptionalText,
        "Where in the body the items are, as a JSON pointer such as `/data/rates`; not given, the body is the array or object."),
    field(INTERVAL, "5m", between(100, LONGEST),
        "Time from one refresh to the next."),
    field("timeout", "10s", between(10, Duration::from_secs(600)),
        "How long one call of the upstream may take."),
    field("max_bytes", "16Mi", Kind::Bytes(1, 1 << 30),
        "The largest body that is taken."),
    field("ttl", "24h", between(1_000, LONGEST),
        "How long data and cache entries stay when nobody refreshes them; longer than `refresh_interval`."),
    field("backoff", "1s", between(10, Duration::from_secs(3600)),
        "The pause after the first failure; it doubles with each further one, up to `max_backoff`, less up to half at random."),
    field("max_backoff", "5m", between(10, Duration::from_secs(86_400)),
        "The longest pause after failures, unless the upstream asks for a longer one (`Retry-After`, up to an hour)."),
];

/// A dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetSettings {
    /// 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// Where it is; may hold secrets.
    pub url: UpstreamUrl,
    /// The key of the entry, or the pattern of the items' keys.
    pub key: String,
    /// A JSON pointer to the items.
    pub items: Option<String>,
    /// What is sent besides.
    pub headers: BTreeMap<String, HeaderSource>,
    /// Between two refreshes.
    pub refresh_interval: Duration,
    /// For one call.
    pub timeout: Duration,
    /// Largest body in bytes.
    pub max_bytes: usize,
    /// How long data stays.
    pub ttl: Duration,
    /// First pause after a failure.
    pub backoff: Duration,
    /// Longest pause after failures.
    pub max_backoff: Duration,
    origins: BTreeMap<&'static str, Origin>,
}

/// A URL whose user, password and query are for nobody's eyes.
#[derive(Clone, PartialEq, Eq)]
pub struct UpstreamUrl(pub String);

impl UpstreamUrl {
    /// The URL without them.
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = authority.rsplit('@').next().unwrap_or_default();
        let query = if self.0.contains('?') { "?…" } else { "" };
        format!("{scheme}://{host}{path}{query}")
    }
}

impl fmt::Debug for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Where the value of a header comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum HeaderSource {
    /// The value itself, from the file or the environment.
    Value(String),
    /// A file, read anew for each call, without the end of its last line.
    File {
        /// Its path.
        path: String,
        /// What stands before it, as in `Bearer `.
        prefix: String,
    },
}

impl fmt::Debug for HeaderSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("(hidden)"),
            Self::File { path, prefix: _ } => write!(f, "(file {path})"),
        }
    }
}

impl DatasetSettings {
    /// One with the defaults.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        let name = name.into();
        let duration = |name| parse_duration(default(name)).unwrap_or_default();
        Self {
            url: UpstreamUrl(url.into()),
            key: name.clone(),
            name,
            items: None,
            headers: BTreeMap::new(),
            refresh_interval: duration(INTERVAL),
            timeout: duration("timeout"),
            max_bytes: parse_bytes(default("max_bytes")).unwrap_or_default() as usize,
            ttl: duration("ttl"),
            backoff: duration("backoff"),
            max_backoff: duration("max_backoff"),
            origins: BTreeMap::new(),
        }
    }

    /// The environment variable that changes its interval.
    pub fn interval_variable(&self) -> String {
        format!("{}_REFRESH_INTERVAL", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (String, String, &Origin)> {
        let headers = self.headers.iter().map(|(name, source)| ("headers", name, format!("{source:?}")));
        let headers = headers.map(|(field, name, value)| (format!("{field}.{name}"), value, field));
        let fields = FIELDS.iter().map(|field| (field.name.to_owned(), self.shown(field.name), field.name));
        fields.chain(headers).map(|(path, value, field)| {
            let origin = self.origins.get(field).unwrap_or(&Origin::Default);
            (format!("datasets.{}.{path}", self.name), value, origin)
        })
    }

    fn shown(&self, field: &str) -> String {
        match field {
            "name" => self.name.clone(),
            "url" => self.url.shown(),
            "key" => self.key.clone(),
            "items" => self.items.clone().unwrap_or_default(),
            INTERVAL => format_duration(self.refresh_interval),
            "timeout" => format_duration(self.timeout),
            "max_bytes" => format_bytes(self.max_bytes as u64),
            "ttl" => format_duration(self.ttl),
            "backoff" => format_duration(self.backoff),
            _ => format_duration(self.max_backoff),
        }
    }

    /// Takes a value in its shortest spelling.
    fn set(&mut self, field: &'static str, text: &str, origin: &Origin) {
        let duration = || parse_duration(text).unwrap_or_default();
        match field {
            "name" => text.clone_into(&mut self.name),
            "url" => self.url = UpstreamUrl(text.to_owned()),
            "key" => text.clone_into(&mut self.key),
            "items" => self.items = Some(text.to_owned()),
            INTERVAL => self.refresh_interval = duration(),
            "timeout" => self.timeout = duration(),
            "max_bytes" => self.max_bytes = parse_bytes(text).unwrap_or_default() as usize,
            "ttl" => self.ttl = duration(),
            "backoff" => self.backoff = duration(),
            _ => self.max_backoff = duration(),
        }
        self.origins.insert(field, origin.clone());
    }

    /// What is wrong with it as a whole: the field, and why.
    fn check(&self) -> Option<(&'static str, String)> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        let is_name = (1..=MAX_NAME_BYTES).contains(&self.name.len()) && self.name.bytes().all(is_name_byte);
        if !is_name {
            return Some(("name", "must be 1 to 64 letters, digits, `_` or `-`".to_owned()));
        }
        if !["http://", "https://"].iter().any(|scheme| self.url.0.starts_with(scheme)) {
            return Some(("url", "must be given, and begin with http:// or https://".to_owned()));
        }
        if self.items.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
            return Some(("items", "must be a JSON pointer, which begins with /".to_owned()));
        }
        if self.items.is_some() && !self.key.contains('{') {
            return Some((
                "items",
                "is of use only with a key that has placeholders, as rates/{currency}".to_owned(),
            ));
        }
        if self.ttl <= self.refresh_interval {
            let (ttl, interval) = (format_duration(self.ttl), format_duration(self.refresh_interval));
            return Some((
                "ttl",
                format!("must be longer than {INTERVAL}, but {ttl} is not longer than {interval}"),
            ));
        }
        None
    }
}

fn default(name: &str) -> &'static str {
    FIELDS.iter().find(|field| field.name == name).map_or("", |field| field.default)
}

/// Reads all tables; what is wrong with any of them goes to `errors`.
pub(super) fn read(
    sources: &Sources,
    tables: Vec<Map<String, Value>>,
    errors: &mut Vec<ConfigError>,
) -> Vec<DatasetSettings> {
    let origin = sources.file.clone().map_or(Origin::Default, Origin::File);
    let mut datasets: Vec<DatasetSettings> = Vec::new();
    for (at, table) in tables.into_iter().enumerate() {
        let mut reader = Reader { env: &sources.env, origin: origin.clone(), at, name: None, errors };
        let Some(mut dataset) = reader.table(table) else { continue };
        if sources.role == Role::Refresher {
            reader.interval(&mut dataset);
        }
        if let Some((field, why)) = dataset.check() {
            reader.wrong(field, why);
        }
        datasets.push(dataset);
    }
    datasets.sort_by(|left, right| left.name.cmp(&right.name));
    let mut seen = BTreeSet::new();
    for dataset in &datasets {
        // Two names with one variable would follow one another's interval.
        if !seen.insert(dataset.interval_variable()) {
            let path = format!("datasets.{}", dataset.name);
            let why = "another dataset has the same name, but for capitals and `-` for `_`".to_owned();
            errors.push(ConfigError::Dataset { origin: origin.clone(), path, why });
        }
    }
    datasets
}

struct Reader<'a> {
    env: &'a [(String, String)],
    origin: Origin,
    at: usize,
    name: Option<String>,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn wrong(&mut self, field: &str, why: String) {
        let which = self.name.clone().unwrap_or_else(|| format!("#{}", self.at + 1));
        let path = format!("datasets.{which}.{}", field.escape_debug());
        self.errors.push(ConfigError::Dataset { origin: self.origin.clone(), path, why });
    }

    /// `None` where something in it is wrong.
    fn table(&mut self, mut table: Map<String, Value>) -> Option<DatasetSettings> {
        let before = self.errors.len();
        let name = table.remove("name").map(|value| value.kind.to_string()).unwrap_or_default();
        self.name = Some(name.clone()).filter(|name| !name.is_empty());
        let mut dataset = DatasetSettings::new(name, "");
        dataset.origins.insert("name", self.origin.clone());
        for (key, value) in in_order(table) {
            if key == "headers" {
                self.headers(&mut dataset, value);
            } else {
                self.field(&mut dataset, &key, &value);
            }
        }
        (self.errors.len() == before).then_some(dataset)
    }

    fn field(&mut self, dataset: &mut DatasetSettings, key: &str, value: &Value) {
        let Some(field) = FIELDS.iter().find(|field| field.name == key) else {
            let names: Vec<_> = FIELDS.iter().map(|field| field.name).chain(["headers"]).collect();
            let near = names.iter().find(|name| strsim::jaro_winkler(name, key) >= 0.88);
            let hint = near.map_or_else(
                || format!("there are {}", names.join(", ")),
                |name| format!("did you mean {name}?"),
            );
            return self.wrong(key, format!("no such field; {hint}"));
        };
        match field.kind.read(&value.kind.to_string(), false) {
            Ok(Canonical::Text(text)) => dataset.set(field.name, &text, &self.origin),
            Ok(_) => {}
            Err(why) => self.wrong(key, why),
        }
    }

    fn headers(&mut self, dataset: &mut DatasetSettings, value: Value) {
        let ValueKind::Table(headers) = value.kind else {
            return self
                .wrong("headers", "must be a table, as in headers = { Accept = \"text/csv\" }".to_owned());
        };
        for (name, value) in in_order(headers) {
            let is_name = http::HeaderName::try_from(name.as_str()).is_ok();
            let source = if is_name { self.header(value) } else { Err("is no name of a header".to_owned()) };
            match source {
                Ok(source) => drop(dataset.headers.insert(name, source)),
                Err(why) => self.wrong(&format!("headers.{name}"), why),
            }
        }
        dataset.origins.insert("headers", self.origin.clone());
    }

    fn header(&self, value: Value) -> Result<HeaderSource, String> {
        const SHAPE: &str = "must be a text, { env = \"NAME\" } or { file = \"PATH\" }, with a prefix besides where it needs one";
        let ValueKind::Table(mut table) = value.kind else {
            return checked(value.kind.to_string()).map(HeaderSource::Value);
        };
        let mut take = |key: &str| table.remove(key).map(|value| value.kind.to_string());
        let (env, file, prefix) = (take("env"), take("file"), take("prefix").unwrap_or_default());
        if !table.is_empty() {
            return Err(SHAPE.to_owned());
        }
        match (env, file) {
            (Some(variable), None) => {
                let found = self.env.iter().find(|(name, value)| *name == variable && !value.is_empty());
                let (_, secret) =
                    found.ok_or_else(|| format!("the environment variable {variable} is not set"))?;
                checked(format!("{prefix}{secret}")).map(HeaderSource::Value)
            }
            (None, Some(path)) => Ok(HeaderSource::File { path, prefix: checked(prefix)? }),
            _ => Err(SHAPE.to_owned()),
        }
    }

    fn interval(&mut self, dataset: &mut DatasetSettings) {
        let variable = dataset.interval_variable();
        let Some((_, text)) = self.env.iter().find(|(name, value)| *name == variable && !value.is_empty())
        else {
            return;
        };
        let kind = FIELDS.iter().find(|field| field.name == INTERVAL).map(|field| field.kind);
        match kind.map(|kind| kind.read(text, true)) {
            Some(Ok(Canonical::Text(text))) => dataset.set(INTERVAL, &text, &Origin::Env(variable)),
            Some(Err(why)) => {
                let path = format!("datasets.{}.{INTERVAL}", dataset.name);
                self.errors.push(ConfigError::Dataset { origin: Origin::Env(variable), path, why });
            }
            _ => {}
        }
    }
}

/// What a header may hold. The error does not show it.
fn checked(value: String) -> Result<String, String> {
    match http::HeaderValue::try_from(&value) {
        Ok(_) => Ok(value),
        Err(_) => Err("holds characters that no header may have".to_owned()),
    }
}
