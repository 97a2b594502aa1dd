//! End-to-end tests: whole clusters on real sockets, in this process or as processes of the program.

mod bad_input;
mod clocks;
mod disks;
mod faults;
mod hangs;
mod keys;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod limits;
mod membership;
mod memcached;
mod metrics;
mod partitions;
mod resize;
mod rest_bulk;
mod rest_conditions;
mod rest_entries;
mod rest_keys;
mod rest_routes;
mod rest_ttl;
mod rolling;
mod routing;
mod support;
mod traces;
