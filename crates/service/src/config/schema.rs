//! The one table of every setting there is.

use std::time::Duration;

use super::{Kind, Role};

/// An environment name that the original knew, and the one role for which it counts.
#[derive(Clone, Copy, Debug)]
pub struct PlainName {
    /// Whose name it is: `PORT` is one setting for a master and another for an auxiliary.
    pub role: Role,
    /// The variable.
    pub name: &'static str,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// `section.name` or `section.part.name`, as in the TOML file.
    pub path: &'static str,
    /// The default as a user would write it; empty is "not given".
    pub default: &'static str,
    /// Shape and bounds.
    pub kind: Kind,
    /// The name it had in the original, still valid. A bare number there is a duration in seconds.
    pub plain: Option<PlainName>,
    /// What it is for, in a sentence.
    pub help: &'static str,
}

impl Setting {
    /// `ANNULUS_SECTION__NAME`, valid for every role.
    pub fn env_name(&self) -> String {
        format!("ANNULUS_{}", self.path.replace('.', "__").to_ascii_uppercase())
    }

    /// The section and the name within it.
    pub(super) fn section_and_name(&self) -> (&'static str, &'static str) {
        self.path.split_once('.').unwrap_or(("", self.path))
    }

    const fn plain(self, role: Role, name: &'static str) -> Self {
        Self { plain: Some(PlainName { role, name }), ..self }
    }
}

/// Every setting, section by section.
pub fn schema() -> &'static [Setting] {
    SCHEMA
}

const fn setting(path: &'static str, default: &'static str, kind: Kind, help: &'static str) -> Setting {
    Setting { path, default, kind, plain: None, help }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const PORT: Kind = Kind::Count(0, 65_535);
const SOCKET_TIMEOUT: Kind = Kind::Duration(ms(10), seconds(600));
const REQUEST_DEADLINE: Kind = Kind::Duration(ms(1), seconds(2));
const MI: u64 = 1 << 20;
const GI: u64 = 1 << 30;

#[rustfmt::skip] // a row is one setting: its path, default, bounds and meaning
const SCHEMA: &[Setting] = &[
    setting("server.host", "0.0.0.0", Kind::Host,
        "The address or host name to listen on; `127.0.0.1` keeps other machines out."),
    setting("server.workers", "0", Kind::Count(0, 1024),
        "Threads that serve connections; 0 is one for every two cores, which leaves the system the rest. Fewer carry more in each call."),
    setting("server.max_connections", "16384", Kind::Count(1, 1_000_000),
        "How many connections are open at once; one more is closed as soon as it is accepted."),
    setting("server.header_timeout", "5s", SOCKET_TIMEOUT,
        "How long a client may take to send the head of a request."),
    setting("server.body_timeout", "5s", SOCKET_TIMEOUT,
        "How long a client may take to send the body of a request."),
    setting("server.idle_timeout", "75s", SOCKET_TIMEOUT,
        "How long a connection stays open between two requests."),
    setting("server.write_timeout", "10s", SOCKET_TIMEOUT,
        "How long a client may leave an answer unread before its connection is closed."),
    setting("server.shutdown_grace", "10s", Kind::Duration(ms(0), seconds(3600)),
        "How long requests that are under way may take to finish after SIGTERM."),
    setting("server.in_flight_bytes", "32Mi", Kind::Bytes(1 << 10, 64 * GI),
        "Bytes of all the request bodies held at once; a request beyond it is refused at once."),

    setting("limits.max_value_bytes", "1Mi", Kind::Bytes(1, GI),
        "The largest value, in bytes; a larger one is refused with 413."),
    setting("limits.max_bulk_items", "1000", Kind::Count(1, 100_000),
        "How many items one bulk request may have."),
    setting("limits.deadline", "1s", REQUEST_DEADLINE,
        "How long a request may take when the client does not say, from when its body is in to its answer."),
    setting("limits.max_deadline", "2s", REQUEST_DEADLINE,
        "The most that a client may ask for with `X-Deadline-Ms`."),

    setting("cluster.auxiliaries", "", Kind::List,
        "The auxiliaries as `[name=]host:port[@zone][*weight]`; the name defaults to `host:port`."),
    setting("cluster.redis", "", Kind::Secret,
        "The Redis that keeps the members, as `redis://host:6379/0`; then `auxiliaries` stays empty."),
    setting("cluster.redis_prefix", "annulus", Kind::OptionalText,
        "What the keys in Redis start with; one for each cluster."),
    setting("cluster.kubernetes.namespace", "", Kind::OptionalName,
        "The namespace of the auxiliaries' pods; not given, it is the pod's own."),
    setting("cluster.kubernetes.label_selector", "", Kind::OptionalText,
        "Which pods are auxiliaries, as in `app=cache,tier!=web`; then Kubernetes says who the members are."),
    setting("cluster.kubernetes.statefulset", "", Kind::OptionalName,
        "The StatefulSet whose replicas are the members; not given, the pods that run are."),
    setting("cluster.kubernetes.port", "3001", Kind::Count(1, 65_535),
        "The port of the auxiliaries in their pods."),
    setting("cluster.secret", "", Kind::Secret,
        "At least 16 characters, the same on all nodes: shows that a node belongs to the cluster."),
    setting("cluster.allowed_networks", "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fd00::/8", Kind::List,
        "The networks in which auxiliaries that register may be."),
    setting("cluster.lease_ttl", "10s", Kind::Duration(ms(500), seconds(600)),
        "How long an auxiliary that says nothing stays a member; it says something five times as often."),
    setting("cluster.replicas", "", Kind::OptionalCount(1, 7),
        "Copies of each key; not given, it is 2 where there are two auxiliaries or more, otherwise 1."),
    setting("cluster.virtual_nodes", "4096", Kind::Count(1, 65_536),
        "Places on the ring for each unit of a node's weight; the same on every master, because it decides which node owns a key.")
        .plain(Role::Master, "REPLICATION_FACTOR"),
    setting("cluster.consistency", "quorum", Kind::Choice(&["quorum", "one"]),
        "How many copies a request asks: `quorum` never shows an old value, `one` is half the work."),
    setting("cluster.hedge_after", "30ms", Kind::Duration(ms(1), seconds(10)),
        "How long to wait for an auxiliary before the spare is asked too."),
    setting("cluster.health_check_interval", "10s", Kind::Duration(ms(100), seconds(3600)),
        "How often a master asks an auxiliary that answers whether it is well.")
        .plain(Role::Master, "HEALTH_CHECK_INTERVAL"),
    setting("cluster.probe_interval", "500ms", Kind::Duration(ms(10), seconds(60)),
        "How often a master asks an auxiliary that does not answer whether it is back."),
    setting("cluster.breaker_failures", "3", Kind::Count(1, 1000),
        "Failures in a row after which an auxiliary is asked last."),
    setting("cluster.route", "sharded", Kind::Choice(&["sharded", "replicated", "near-then-cluster"]),
        "Where requests go: to a key's owners; to any node, each of which has all keys; to a small store in the master first."),
    setting("cluster.gutter", "", Kind::List,
        "Auxiliaries that are no members, as `[name=]host:port`: they take the keys whose owners are all away."),
    setting("cluster.gutter_ttl", "10s", Kind::Duration(ms(100), seconds(3600)),
        "How long an entry lives in the gutter at most."),

    setting("master.port", "8000", PORT,
        "The port of the REST interface; 0 takes any free one.")
        .plain(Role::Master, "PORT"),
    setting("master.memcached_port", "11211", Kind::OptionalCount(0, 65535),
        "The port for memcached's clients, who are served on the REST port besides; 0 takes any free one, empty is none."),
    setting("master.name", "", Kind::OptionalName,
        "The master's name in logs and traces; not given, it is host name and port."),
    setting("master.zone", "", Kind::OptionalName,
        "The zone that the master stands in: reads of one copy prefer auxiliaries there."),
    setting("master.near_memory", "16Mi", Kind::Bytes(64 << 10, 64 * GI),
        "Bytes of the store in the master, where `cluster.route` is `near-then-cluster`."),
    setting("master.near_max_age", "1s", Kind::Duration(ms(10), seconds(600)),
        "How old an answer out of that store may be."),

    setting("auxiliary.port", "3001", PORT,
        "The port that masters talk to; 0 takes any free one.")
        .plain(Role::Auxiliary, "PORT"),
    setting("auxiliary.memcached_port", "21211", Kind::OptionalCount(0, 65535),
        "The port on which memcached's clients use this node's store directly; 0 takes any free one, empty is none."),
    setting("auxiliary.name", "", Kind::OptionalName,
        "The stable name that decides the node's place on the ring; not given, it is host name and port, or with `cluster.kubernetes` the pod's name."),
    setting("auxiliary.zone", "", Kind::OptionalName,
        "The failure zone; the copies of a key go to distinct zones as long as there are enough."),
    setting("auxiliary.memory", "256Mi", Kind::Bytes(MI, 16_384 * GI),
        "Bytes that entries may take, keys and overhead included; the least recently used go first."),
    setting("auxiliary.cache_size", "0", Kind::Count(0, u64::MAX),
        "How many items are kept at most; 0 leaves it to `memory` alone.")
        .plain(Role::Auxiliary, "CACHE_SIZE"),
    setting("auxiliary.master_address", "", Kind::List,
        "The masters through which to register, as `host:port` or a URL, where there is no `cluster.redis`.")
        .plain(Role::Auxiliary, "MASTER_ADDRESS"),
    setting("auxiliary.advertise", "", Kind::OptionalText,
        "The `host:port` at which others reach this node; not given, it is the local address towards the master or Redis."),
    setting("auxiliary.settle_rate", "64Mi", Kind::Bytes(1 << 10, 64 * GI),
        "Bytes a second that a node sends at most when data moves to others."),
    setting("auxiliary.settle_share", "95", Kind::Count(1, 100),
        "Percent of its time that a node spends at most on moving data."),
    setting("auxiliary.settle_spread", "5s", Kind::Duration(ms(0), seconds(3600)),
        "A node that could move its data in less time takes this long, so that clients notice less; it slows nothing below 4 MiB a second."),
    setting("auxiliary.drain_timeout", "30s", Kind::Duration(ms(0), seconds(3600)),
        "How long a node hands over what it holds after SIGTERM before it goes all the same."),
    setting("auxiliary.backup_dir", "", Kind::OptionalText,
        "The folder for snapshots; not given, none are written.")
        .plain(Role::Auxiliary, "BACKUP_DIR"),
    setting("auxiliary.backup_interval", "1m", Kind::Duration(seconds(1), seconds(86_400)),
        "Time between two snapshots.")
        .plain(Role::Auxiliary, "BACKUP_INTERVAL"),
    setting("auxiliary.tombstone_ttl", "10m", Kind::Duration(seconds(1), seconds(86_400)),
        "How long the mark of a deleted key is kept, memory allowing."),

    setting("refresher.port", "7000", PORT,
        "The port of the REST interface; 0 takes any free one.")
        .plain(Role::Refresher, "PORT"),
    setting("refresher.name", "", Kind::OptionalName,
        "The replica's name in logs; not given, it is host name and port."),
    setting("refresher.masters", "", Kind::List,
        "The masters through which entries are written, as `host:port` or a URL; not given, none are written.")
        .plain(Role::Refresher, "MASTER_ADDRESS"),
    setting("refresher.redis", "", Kind::Secret,
        "The Redis that all replicas share, as `host:6379`, `redis://host:6379/0` or `rediss://` for TLS.")
        .plain(Role::Refresher, "REDIS_ADDR"),
    setting("refresher.redis_user", "", Kind::OptionalText,
        "The user in Redis, instead of the URL's.")
        .plain(Role::Refresher, "REDIS_USER"),
    setting("refresher.redis_password", "", Kind::Secret,
        "The password in Redis, instead of the URL's.")
        .plain(Role::Refresher, "REDIS_PASSWORD"),
    setting("refresher.redis_database", "", Kind::OptionalCount(0, 65_535),
        "The database in Redis, instead of the URL's.")
        .plain(Role::Refresher, "REDIS_DB"),
    setting("refresher.redis_prefix", "annulus", Kind::OptionalText,
        "What keys and channels in Redis start with; one for each group of replicas."),
    setting("refresher.redis_connect_timeout", "5s", SOCKET_TIMEOUT,
        "How long to wait for a connection to Redis."),
    setting("refresher.redis_read_timeout", "3s", SOCKET_TIMEOUT,
        "How long to wait for an answer of Redis, once the command may have reached it."),
    setting("refresher.redis_write_timeout", "3s", SOCKET_TIMEOUT,
        "How long sending a command to Redis may take."),
    setting("refresher.redis_pool_size", "3", Kind::Count(1, 64),
        "Connections for commands: one for the lease, the others for data. Another one listens."),
    setting("refresher.enable_leader_election", "true", Kind::Choice(&["true", "false"]),
        "`false`: this replica refreshes for itself, without Redis and without the others.")
        .plain(Role::Refresher, "ENABLE_LEADER_ELECTION"),
    setting("refresher.leadership_ttl", "2m", Kind::Duration(ms(500), seconds(3600)),
        "How long a leader that says nothing stays the leader.")
        .plain(Role::Refresher, "LEADERSHIP_TTL"),
    setting("refresher.leadership_check_interval", "30s", Kind::Duration(ms(50), seconds(3600)),
        "How often the leader renews its lease and the others look whether there is one; at most half of `leadership_ttl`.")
        .plain(Role::Refresher, "LEADERSHIP_CHECK_INTERVAL"),
    setting("refresher.poll_interval", "30s", Kind::Duration(ms(100), seconds(3600)),
        "How often a replica asks Redis for the newest revision besides, because notifications can be lost."),
    setting("refresher.max_streams", "1000", Kind::Count(1, 100_000),
        "How many streams of events are open at once."),

    setting("log.format", "auto", Kind::Choice(&["auto", "human", "json"]),
        "How log lines look: `auto` is `human` on a terminal and `json` elsewhere."),
    setting("log.level", "info", Kind::Directives,
        "Which events are logged: a level, with exceptions for modules."),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_path_of_two_parts_or_three_that_no_other_has() {
        let mut seen = std::collections::BTreeSet::new();
        for setting in schema() {
            assert!(matches!(setting.path.split('.').count(), 2 | 3), "{}", setting.path);
            assert!(seen.insert(setting.path), "{} is there twice", setting.path);
            assert!(setting.help.ends_with('.'), "{}", setting.path);
        }
    }

    #[test]
    fn no_role_has_one_plain_name_for_two_settings() {
        for role in [Role::Master, Role::Auxiliary, Role::Refresher, Role::Dev] {
            let names =
                schema().iter().filter_map(|setting| setting.plain).filter(|plain| plain.role == role);
            let names: Vec<_> = names.map(|plain| plain.name).collect();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(names.len(), distinct.len());
        }
    }
}
