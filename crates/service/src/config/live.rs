//! Which settings a running service takes over when its configuration is read again.

use super::Role;

/// Those of every service.
const EVERYWHERE: &[&str] = &[
    "server.header_timeout",
    "server.body_timeout",
    "server.idle_timeout",
    "server.write_timeout",
    "server.shutdown_grace",
    "log.level",
];

/// Those of a master besides.
const MASTER: &[&str] = &[
    "limits.max_bulk_items",
    "limits.deadline",
    "limits.max_deadline",
    "cluster.consistency",
    "cluster.hedge_after",
    "cluster.health_check_interval",
    "cluster.probe_interval",
    "cluster.breaker_failures",
    "cluster.route",
    "cluster.gutter",
    "cluster.gutter_ttl",
    "master.zone",
    "master.near_memory",
    "master.near_max_age",
];

/// Whether a service takes a change of this setting over while it runs; otherwise it needs a restart.
pub fn is_live(role: Role, path: &str) -> bool {
    let is_masters = matches!(role, Role::Master | Role::Dev) && MASTER.contains(&path);
    is_masters || EVERYWHERE.contains(&path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema;

    #[test]
    fn each_is_a_setting() {
        for path in EVERYWHERE.iter().chain(MASTER) {
            assert!(schema().iter().any(|setting| setting.path == *path), "{path}");
        }
    }

    #[test]
    fn ports_names_and_workers_need_a_restart() {
        for path in ["master.port", "master.name", "server.workers", "cluster.replicas", "cluster.redis"] {
            assert!(!is_live(Role::Master, path), "{path}");
        }
        assert!(is_live(Role::Auxiliary, "log.level") && !is_live(Role::Auxiliary, "cluster.hedge_after"));
    }
}
