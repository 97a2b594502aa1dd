//! Membership: one suite for every registry, then what Redis alone can do to it, and what Kubernetes can.

mod contract;
mod homes;
mod keeper;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod outages;
mod pods;
mod redis_values;
mod server;
mod world;
