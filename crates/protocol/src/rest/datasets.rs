//! What a refresher says of its datasets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Health;

/// The answer to `GET /datasets`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Datasets {
    /// In order of their names.
    pub datasets: Vec<DatasetInfo>,
}

/// One dataset, as a replica has it in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInfo {
    /// Its name.
    pub name: String,
    /// The revision in memory, also its `ETag`; absent: nothing yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// When that was published, in seconds since the Unix epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<u64>,
    /// Seconds since a leader last found it up to date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Items; 0 for a body that is one entry.
    pub items: u64,
    /// Bytes of the body.
    pub bytes: u64,
    /// What the body is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// The answer of a refresher to `GET /health`: what every node says, and this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefresherHealth {
    /// What every node says.
    #[serde(flatten)]
    pub node: Health,
    /// Whether this replica refreshes for all at the moment.
    pub is_leader: bool,
    /// Whether Redis answered when it was last asked; true where there is none.
    pub redis_connected: bool,
    /// Whether all datasets are fresh.
    pub data_fresh: bool,
    /// By name.
    pub datasets: BTreeMap<String, DatasetHealth>,
}

/// How a dataset is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetHealth {
    /// Whether a leader has found it up to date lately: within two refreshes, and what it takes until a replica knows.
    pub data_fresh: bool,
    /// Items in memory, or 1 for a body that is one entry; 0: nothing yet.
    pub memory_cache_size: u64,
    /// Bytes in memory.
    pub memory_cache_bytes: u64,
    /// The revision in memory; 0: nothing yet.
    pub revision: u64,
    /// Seconds since a leader last found it up to date.
    pub age_seconds: Option<u64>,
    /// What went wrong last on this replica, until it goes well again.
    pub last_error: Option<String>,
    /// How often in a row this replica has failed to refresh it.
    pub failures: u32,
}

/// The data of an event of `GET /datasets/{name}/events`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetEvent {
    /// The dataset.
    pub dataset: String,
    /// Its newest revision, also the event's id.
    pub revision: u64,
    /// When that was published, in seconds since the Unix epoch.
    pub updated_at: u64,
}
