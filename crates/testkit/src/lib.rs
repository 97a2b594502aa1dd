//! What the end-to-end tests are made of: clusters, a client that sends exactly what it is told, and waiting for
//! conditions.
//!
//! A [`Shape`] says how a cluster looks. It runs in two ways: as an [`InProcess`] cluster on real sockets inside the
//! test, which is quick to start, and as a [`Cluster`] of real processes, which can be killed and stopped and whose
//! memory and CPU time can be read. Nothing here ships to users.
//!
//! Helpers that a test calls for their effect panic where it does not come about, and say what they waited for.

pub mod history;
pub mod sim;

mod client;
mod clocks;
mod cluster;
mod copies;
mod disk;
mod in_process;
mod kube_api;
mod many;
mod memcached;
mod metrics;
mod proc_files;
mod process;
mod proxy;
mod raw_http;
mod redis_server;
mod shape;
mod wait;

pub use client::{Client, Request, path_of};
pub use cluster::Cluster;
pub use copies::{Copies, Copy};
pub use in_process::InProcess;
pub use kube_api::KubeApi;
pub use many::{Found, Stored};
pub use memcached::{MemcachedClient, MemcachedServer, differing_exchanges};
pub use metrics::{Family, MetricsPage};
pub use proc_files::{Usage, raise_file_limit};
pub use process::Process;
pub use proxy::{Carried, Counts, Direction, FaultProxy};
pub use raw_http::{Answer, RawHttp, Received};
pub use redis_server::RedisServer;
pub use shape::Shape;
pub use wait::eventually;
