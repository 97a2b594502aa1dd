//! The settings as types. Their defaults are those of the schema, so that there is one place to change them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::datasets::DatasetSettings;
use super::resolve::resolve;
use super::units::{bytes_text, duration_text};

/// Everything that can be set, by section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Sockets and shutdown of any service.
    pub server: ServerSettings,
    /// What one request may ask for.
    pub limits: LimitSettings,
    /// Who the auxiliaries are and how a master works with them.
    pub cluster: ClusterSettings,
    /// What only a master needs.
    pub master: MasterSettings,
    /// What only an auxiliary needs.
    pub auxiliary: AuxiliarySettings,
    /// What only a refresher needs.
    pub refresher: RefresherSettings,
    /// What is logged, and how.
    pub log: LogSettings,
    /// What a refresher keeps fresh, in the order of their names.
    #[serde(skip)]
    pub datasets: Vec<DatasetSettings>,
}

impl Default for Settings {
    /// The defaults of the schema. A test keeps the table valid, so this does not panic.
    fn default() -> Self {
        resolve(&[], Vec::new(), Vec::new()).expect("the schema's defaults are valid").settings().clone()
    }
}

/// `[server]`: sockets and shutdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// Host name or address to listen on, without a port.
    pub host: String,
    /// Threads that serve connections; 0 is one for every two cores.
    pub workers: usize,
    /// Open connections at once.
    pub max_connections: usize,
    /// Time for the head of a request.
    #[serde(with = "duration_text")]
    pub header_timeout: Duration,
    /// Time for the body of a request.
    #[serde(with = "duration_text")]
    pub body_timeout: Duration,
    /// Time between two requests on one connection.
    #[serde(with = "duration_text")]
    pub idle_timeout: Duration,
    /// Time that a client may leave an answer unread.
    #[serde(with = "duration_text")]
    pub write_timeout: Duration,
    /// Time for requests under way once the service is told to stop.
    #[serde(with = "duration_text")]
    pub shutdown_grace: Duration,
    /// Bytes of request bodies held at once, at least one value.
    #[serde(with = "bytes_text")]
    pub in_flight_bytes: usize,
}

/// `[limits]`: what one request may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSettings {
    /// Largest value in bytes.
    #[serde(with = "bytes_text")]
    pub max_value_bytes: usize,
    /// Items in one bulk request.
    pub max_bulk_items: usize,
    /// Time for a request whose client does not say; at most `max_deadline`.
    #[serde(with = "duration_text")]
    pub deadline: Duration,
    /// Most time a client may ask for.
    #[serde(with = "duration_text")]
    pub max_deadline: Duration,
}

/// `[cluster.kubernetes]`: how Kubernetes says who the members are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesSettings {
    /// The namespace; `None`: the pod's own.
    pub namespace: Option<String>,
    /// Which pods are auxiliaries; `None`: Kubernetes is not asked.
    pub label_selector: Option<String>,
    /// Whose replicas are the members; `None`: the pods that run are.
    pub statefulset: Option<String>,
    /// The auxiliaries' port.
    pub port: u16,
}

/// `[cluster]`: who the auxiliaries are and how a master works with them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// Auxiliaries as text; the `cluster` crate reads them.
    pub auxiliaries: Vec<String>,
    /// The Redis that keeps the members.
    pub redis: Option<String>,
    /// What the keys in Redis start with.
    pub redis_prefix: Option<String>,
    /// How Kubernetes says who the members are.
    pub kubernetes: KubernetesSettings,
    /// Shows that a node belongs to the cluster.
    pub secret: Option<String>,
    /// Where auxiliaries that register may be, as CIDR blocks; the `protocol` crate reads them.
    pub allowed_networks: Vec<String>,
    /// How long a silent auxiliary stays a member.
    #[serde(with = "duration_text")]
    pub lease_ttl: Duration,
    /// Copies of a key; `None` is 2 where there are two auxiliaries or more, otherwise 1.
    pub replicas: Option<u32>,
    /// Places on the ring for each unit of weight.
    pub virtual_nodes: u32,
    /// How many copies a request asks.
    pub consistency: Consistency,
    /// Wait before the spare is asked too.
    #[serde(with = "duration_text")]
    pub hedge_after: Duration,
    /// Between two checks of a node that answers.
    #[serde(with = "duration_text")]
    pub health_check_interval: Duration,
    /// Between two checks of a node that does not.
    #[serde(with = "duration_text")]
    pub probe_interval: Duration,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// Where requests go.
    pub route: Route,
    /// Auxiliaries for keys whose owners are all away, as text.
    pub gutter: Vec<String>,
    /// How long an entry lives there at most.
    #[serde(with = "duration_text")]
    pub gutter_ttl: Duration,
}

/// Where requests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// To the owners of the key.
    Sharded,
    /// Every node has every key: reads ask one of them, writes all.
    Replicated,
    /// To a small store in the master, and to the owners where it has nothing.
    NearThenCluster,
}

/// How many copies of a key a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// Enough of them that no older value can be shown.
    Quorum,
    /// One warm copy: half the work, and documented staleness.
    One,
}

/// `[master]`: what only a master needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MasterSettings {
    /// Port of the REST interface; 0 is any free one.
    pub port: u16,
    /// Port for memcached's clients; 0 is any free one, `None` none of its own.
    pub memcached_port: Option<u16>,
    /// Name in logs and traces; `None` is host name and port.
    pub name: Option<String>,
    /// Whose auxiliaries are read first.
    pub zone: Option<String>,
    /// Bytes of the near store.
    #[serde(with = "bytes_text")]
    pub near_memory: usize,
    /// How old its answers may be.
    #[serde(with = "duration_text")]
    pub near_max_age: Duration,
}

/// `[auxiliary]`: what only an auxiliary needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuxiliarySettings {
    /// Port that masters talk to; 0 is any free one.
    pub port: u16,
    /// Port for memcached's clients; 0 is any free one, `None` none.
    pub memcached_port: Option<u16>,
    /// Stable name on the ring; `None` is host name and port.
    pub name: Option<String>,
    /// Failure zone.
    pub zone: Option<String>,
    /// Bytes that entries may take.
    #[serde(with = "bytes_text")]
    pub memory: usize,
    /// Items kept at most; 0 leaves it to `memory`.
    pub cache_size: usize,
    /// The masters through which to register.
    pub master_address: Vec<String>,
    /// Where others reach this node; `None` is found out.
    pub advertise: Option<String>,
    /// Bytes a second sent at most when data moves.
    #[serde(with = "bytes_text")]
    pub settle_rate: usize,
    /// Percent of the time spent at most on moving data.
    pub settle_share: u32,
    /// How long a node takes to move data that it could move in less.
    #[serde(with = "duration_text")]
    pub settle_spread: Duration,
    /// How long a node hands over after SIGTERM.
    #[serde(with = "duration_text")]
    pub drain_timeout: Duration,
    /// The folder for snapshots.
    pub backup_dir: Option<String>,
    /// Time between two snapshots.
    #[serde(with = "duration_text")]
    pub backup_interval: Duration,
    /// How long the mark of a deleted key is kept.
    #[serde(with = "duration_text")]
    pub tombstone_ttl: Duration,
}

/// `[refresher]`: what only a refresher needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefresherSettings {
    /// Port of the REST interface; 0 is any free one.
    pub port: u16,
    /// Name in logs; `None` is host name and port.
    pub name: Option<String>,
    /// The masters through which entries are written; none: no entries.
    pub masters: Vec<String>,
    /// The Redis that all replicas share.
    pub redis: Option<String>,
    /// The user in Redis, instead of the URL's.
    pub redis_user: Option<String>,
    /// The password in Redis, instead of the URL's.
    pub redis_password: Option<String>,
    /// The database in Redis, instead of the URL's.
    pub redis_database: Option<i64>,
    /// What keys and channels in Redis start with.
    pub redis_prefix: Option<String>,
    /// Time to connect to Redis.
    #[serde(with = "duration_text")]
    pub redis_connect_timeout: Duration,
    /// Time for an answer of Redis.
    #[serde(with = "duration_text")]
    pub redis_read_timeout: Duration,
    /// Time to send Redis a command.
    #[serde(with = "duration_text")]
    pub redis_write_timeout: Duration,
    /// Connections for commands.
    pub redis_pool_size: usize,
    /// Whether one replica refreshes for all.
    pub enable_leader_election: bool,
    /// How long a silent leader stays the leader.
    #[serde(with = "duration_text")]
    pub leadership_ttl: Duration,
    /// Between two renewals of the lease, and two looks at it.
    #[serde(with = "duration_text")]
    pub leadership_check_interval: Duration,
    /// Between two questions for the newest revision.
    #[serde(with = "duration_text")]
    pub poll_interval: Duration,
    /// Streams of events open at once.
    pub max_streams: usize,
}

/// `[log]`: what is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// A level, with exceptions as in `info,annulus_master=debug`.
    pub level: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `Human` on a terminal, `Json` elsewhere.
    Auto,
    /// One line of text.
    Human,
    /// One JSON object a line.
    Json,
}
