//! Membership: one suite for every registry, then what Redis alone can do to it.

mod contract;
mod keeper;
mod outages;
mod redis_values;
mod server;
mod world;
