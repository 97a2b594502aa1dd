//! The JSON of the public REST interface.

mod config;
mod datasets;
mod jobs;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::duration::parse_ttl_seconds;
use crate::problem::{ErrorCode, Problem};
use crate::value::{Content, JsonForm, StoredValue};
use crate::version::Version;

pub use config::{ConfigReloaded, SettingChange};
pub use datasets::{DatasetEvent, DatasetHealth, DatasetInfo, Datasets, RefresherHealth};
pub use jobs::{AllFull, Job, JobStarted, JobState, NodeResult, Operation};

/// The body of `POST /data`, and one item of `POST /data/bulk`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreRequest {
    /// 1 to 250 bytes of UTF-8.
    #[schema(min_length = 1, max_length = 250)]
    pub key: String,
    /// Any JSON value. A string is stored as its text, anything else as its JSON.
    #[schema(value_type = serde_json::Value)]
    pub value: Box<RawValue>,
    /// Seconds to live, whole, up to ten years; absent or 0: no expiry.
    #[serde(default)]
    #[schema(value_type = Option<u64>, maximum = 315_360_000)]
    pub ttl: Option<Box<RawValue>>,
}

impl StoreRequest {
    /// The TTL in seconds; `None` for no expiry.
    ///
    /// # Errors
    /// [`ErrorCode::BadTtl`] for anything but a whole number in range.
    pub fn ttl_seconds(&self) -> Result<Option<u64>, Problem> {
        self.ttl.as_ref().map_or(Ok(None), |raw| Ok(parse_ttl_seconds(raw.get())?))
    }

    /// What is to be stored.
    ///
    /// # Errors
    /// [`ErrorCode::BadJson`] where the value nests too deeply or is no text.
    pub fn content(&self) -> Result<Content, Problem> {
        Content::from_json(&self.value).map_err(|detail| Problem::new(ErrorCode::BadJson, detail))
    }
}

/// The answer to a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stored {
    /// The key; percent-encoded where it is not UTF-8.
    pub key: String,
    /// The entry's version, also its `ETag`: a decimal number of 64 bits, in a string.
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$")]
    pub version: Version,
    /// When it expires, in milliseconds since the Unix epoch; absent: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// An entry in JSON.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// The key; percent-encoded where it is not UTF-8.
    pub key: String,
    /// The value: a string where its content type is text, a document where it is JSON, else base64 in a string.
    #[schema(value_type = serde_json::Value)]
    pub value: Box<RawValue>,
    /// `base64` where `value` is base64 (RFC 4648 §4); absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The entry's version, also its `ETag`: a decimal number of 64 bits, in a string.
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$")]
    pub version: Version,
    /// Seconds left to live, rounded up; absent: no expiry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

/// Seconds for people and headers from milliseconds left, rounded up so that a live entry never shows 0.
pub fn ttl_seconds_left(ttl_left_ms: u64) -> u64 {
    ttl_left_ms.div_ceil(1000)
}

/// The JSON of an [`Entry`], written straight from the stored bytes.
pub fn entry_json(key: &crate::Key, stored: &StoredValue) -> Vec<u8> {
    let mut out = Vec::with_capacity(stored.content.bytes.len() + key.as_bytes().len() + 96);
    out.extend_from_slice(b"{\"key\":");
    write_key(&mut out, key);
    out.extend_from_slice(b",\"value\":");
    let mut base64 = false;
    match stored.content.to_json() {
        JsonForm::Text(text) => write_json_string(&mut out, text),
        JsonForm::Json(raw) => out.extend_from_slice(raw.get().as_bytes()),
        JsonForm::Base64(text) => {
            base64 = true;
            write_json_string(&mut out, &text);
        }
    }
    let mut tail = String::new();
    if base64 {
        tail.push_str(",\"encoding\":\"base64\"");
    }
    let _ = write!(tail, ",\"version\":\"{}\"", stored.version);
    if let Some(left) = stored.ttl_left_ms {
        let _ = write!(tail, ",\"ttl\":{}", ttl_seconds_left(left));
    }
    out.extend_from_slice(tail.as_bytes());
    out.push(b'}');
    out
}

fn write_key(out: &mut Vec<u8>, key: &crate::Key) {
    match key.as_str() {
        Some(text) => write_json_string(out, text),
        None => write_json_string(out, &key.to_string()),
    }
}

fn write_json_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a vector cannot fail, and a string is always JSON.
    let _ = serde_json::to_writer(out, text);
}

/// A key as JSON shows it: its text, or percent-encoded where it is not UTF-8.
pub fn shown_key(key: &crate::Key) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

/// One key of a bulk request that failed, and why.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// The key as it was sent.
    pub key: String,
    /// Why it failed.
    pub error: Problem,
}

/// The answer to `POST /data/bulk`: every key of the request is in one of the two lists.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct BulkStored {
    /// What was stored.
    pub stored: Vec<Stored>,
    /// What was not.
    pub failed: Vec<Failure>,
}

/// The answer to `POST /data/bulk/get`: keys in neither list are misses.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct BulkFound {
    /// The entries found.
    pub found: Vec<Entry>,
    /// The keys that could not be looked up.
    pub failed: Vec<Failure>,
}

/// The answer to `DELETE /data/{key}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// The key; percent-encoded where it is not UTF-8.
    pub key: String,
    /// The version of the delete: a decimal number of 64 bits, in a string.
    #[schema(value_type = String, pattern = "^[0-9]{1,20}$")]
    pub version: Version,
}

/// Who answers now, as one master sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// Answers.
    Up,
    /// Failed or was slow lately, or answers again after it was down; probed soon.
    Suspect,
    /// Does not answer; asked last, and probed until it does.
    Down,
}

/// One auxiliary node.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// The stable name that stands on the ring.
    pub id: String,
    /// Host and port of its REST interface.
    pub address: String,
    /// Its zone, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its weight on the ring.
    pub weight: u32,
    /// Whether it answers, as the master that was asked sees it.
    pub state: NodeState,
    /// Its place in the cluster.
    pub member: MemberState,
    /// Whether it has handed over what others should hold by the present view.
    pub settled: bool,
    /// Share of the hash space whose first owner it is, from 0 to 1.
    pub ring_share: f64,
    /// Its memory, where it answered when the list was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreInfo>,
    /// How far it is with handing over, where it answered and is at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settling: Option<Settling>,
}

/// A snapshot that an auxiliary has written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotInfo {
    /// The name that the node gave it.
    pub name: String,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Entries and tombstones in it.
    pub entries: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What came of loading a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Restored {
    /// The snapshot; none was there if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotInfo>,
    /// Entries that are in the cluster now because of it, or were already.
    pub valid: u64,
    /// Entries that have been replaced, deleted or forgotten since, or whose time is over.
    pub outdated: u64,
    /// Newer snapshots that are damaged, with what is wrong with them.
    pub set_aside: Vec<String>,
}

/// A node's place in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// It holds what it should, and counts.
    Member,
    /// It has just started: it takes writes, and counts once all have settled.
    Joining,
    /// It hands everything over, to be gone.
    Leaving,
    /// Its life has ended; its place in the last settled view is not yet made up for.
    Gone,
}

/// How far an auxiliary is with handing over what others should hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Settling {
    /// The epoch to which it settles.
    pub epoch: u64,
    /// Entries looked at.
    pub done: u64,
    /// Entries still to be looked at, about.
    pub left: u64,
    /// Entries sent to others.
    pub sent: u64,
    /// Bytes sent to others.
    pub sent_bytes: u64,
}

/// What an auxiliary holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreInfo {
    /// Entries, tombstones left out.
    pub items: u64,
    /// Bytes in use, overhead included.
    pub bytes: u64,
    /// The bound of `bytes`.
    pub max_bytes: u64,
}

/// The answer to `GET /nodes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Nodes {
    /// The number of the membership view.
    pub epoch: u64,
    /// Whether all members hold what they should by that view; until then the one before counts too.
    pub settled: bool,
    /// Copies of each key.
    pub replicas: u32,
    /// Points on the ring for a node of weight 1.
    pub virtual_nodes: u32,
    /// Hash of the ring's members; equal on all masters that agree. Hexadecimal.
    pub ring_fingerprint: String,
    /// The nodes, by name.
    pub nodes: Vec<NodeInfo>,
}

/// The answer to `GET /health`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, or `degraded` where some keys have too few owners that answer.
    pub status: String,
    /// `master`, `auxiliary` or `refresher`.
    pub role: String,
    /// The node's name.
    pub name: String,
    /// The zone that the node was told it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The version of the program.
    pub version: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// A master: how many auxiliaries it sees in each state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<NodeCounts>,
    /// An auxiliary: what it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreInfo>,
    /// An auxiliary that is handing over: how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settling: Option<Settling>,
}

/// How many nodes are in each state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCounts {
    /// Nodes that answer.
    pub up: u32,
    /// Nodes that failed lately.
    pub suspect: u32,
    /// Nodes that do not answer.
    pub down: u32,
}

/// The answer to `GET /ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// Whether the node takes traffic. Once true it stays so until shutdown.
    pub ready: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn request(json: &str) -> Result<StoreRequest, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn unknown_and_doubled_fields_are_named() {
        let unknown = request(r#"{"key":"a","value":1,"tll":5}"#).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `tll`"), "{unknown}");
        let doubled = request(r#"{"key":"a","key":"b","value":1}"#).unwrap_err().to_string();
        assert!(doubled.contains("duplicate field `key`"), "{doubled}");
    }

    #[test]
    fn a_ttl_that_is_no_whole_number_is_refused() {
        for bad in ["-1", "1.5", "1e9999", "\"60\"", "true", "[]", "99999999999999999999999"] {
            let request = request(&format!(r#"{{"key":"a","value":1,"ttl":{bad}}}"#)).unwrap();
            assert_eq!(request.ttl_seconds().unwrap_err().code, ErrorCode::BadTtl, "{bad}");
        }
        assert_eq!(request(r#"{"key":"a","value":1,"ttl":0}"#).unwrap().ttl_seconds(), Ok(None));
        assert_eq!(request(r#"{"key":"a","value":1,"ttl":null}"#).unwrap().ttl_seconds(), Ok(None));
        assert_eq!(request(r#"{"key":"a","value":1,"ttl":60}"#).unwrap().ttl_seconds(), Ok(Some(60)));
    }

    #[test]
    fn an_entry_reads_back_from_its_json() {
        let key = Key::new("a\"b").unwrap();
        let content = Content { content_type: "text/plain".into(), bytes: "x\ny".into() };
        let stored = StoredValue { ttl_left_ms: Some(1), ..StoredValue::new(Version(9), content) };
        let entry: Entry = serde_json::from_slice(&entry_json(&key, &stored)).unwrap();
        assert_eq!((entry.key.as_str(), entry.value.get()), ("a\"b", r#""x\ny""#));
        assert_eq!((entry.version, entry.ttl, entry.encoding), (Version(9), Some(1), None));
    }

    #[test]
    fn bytes_come_as_base64_and_say_so() {
        let key = Key::new(vec![0xff]).unwrap();
        let content = Content { content_type: crate::value::OCTET_STREAM.into(), bytes: vec![0, 255].into() };
        let stored = StoredValue::new(Version(9), content);
        let entry: Entry = serde_json::from_slice(&entry_json(&key, &stored)).unwrap();
        assert_eq!((entry.key.as_str(), entry.value.get()), ("%FF", "\"AP8=\""));
        assert_eq!((entry.encoding.as_deref(), entry.ttl), (Some("base64"), None));
    }
}
