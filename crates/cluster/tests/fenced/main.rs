//! The home of the lease and of datasets: one suite for both kinds, then what Redis alone can do to it.

mod contract;
mod redis_only;
#[path = "../registry/server.rs"]
mod server;
mod world;
