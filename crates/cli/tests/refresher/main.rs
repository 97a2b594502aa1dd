//! The refresher: real replicas, a real Redis on a port of its own, and an upstream that does what a test tells it.

mod entries;
mod herd;
mod http;
mod large;
mod leaders;
mod metrics;
mod outages;
mod secrets;
mod support;
mod tls;
mod upstreams;
