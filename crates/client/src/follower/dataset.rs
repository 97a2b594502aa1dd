//! One revision of a dataset.

use annulus_cluster::fenced::Known;
use annulus_protocol::dataset::Snapshot;
use bytes::Bytes;

/// One revision of a dataset, whole: it never changes, and stays as long as somebody holds it.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    known: Known,
    updated_ms: u64,
    snapshot: Snapshot,
}

impl Dataset {
    /// A revision, and when it was published, in milliseconds since the Unix epoch.
    pub fn new(name: impl Into<String>, known: Known, updated_ms: u64, snapshot: Snapshot) -> Self {
        Self { name: name.into(), known, updated_ms, snapshot }
    }

    /// The dataset's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The revision, which only rises.
    pub fn revision(&self) -> u64 {
        self.known.revision
    }

    /// The revision, and the term of the leader that published it.
    pub fn known(&self) -> Known {
        self.known
    }

    /// When it was published, in milliseconds since the Unix epoch, by the clock of Redis.
    pub fn updated_ms(&self) -> u64 {
        self.updated_ms
    }

    /// An item by its name, as JSON. `None`: there is none of this name, or the dataset is one whole body.
    pub fn item(&self, name: &str) -> Option<Bytes> {
        self.snapshot.get(name)
    }

    /// Names and JSON of all items, in order of the names.
    pub fn items(&self) -> impl Iterator<Item = (&str, Bytes)> {
        self.snapshot.iter()
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.snapshot.len()
    }

    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_empty()
    }

    /// The whole body as the upstream sent it.
    pub fn body(&self) -> Bytes {
        self.snapshot.body()
    }

    /// What the body is.
    pub fn content_type(&self) -> &str {
        self.snapshot.content_type()
    }

    /// All of it.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}
