//! The load generator behind `annulus bench`.
//!
//! [`run`] drives masters over HTTP, or any server that speaks memcached's text protocol, with synthetic keys or with a
//! recorded [`trace`], in a closed loop or at a fixed rate, and returns a [`Report`] that prints as a table, as JSON and as
//! one self-contained HTML page. One connection is one task with its own generator, counters and histograms, so that the
//! load costs little beside what it measures.
//!
//! The pure parts (schedule, keys, verification, series, charts) know neither sockets nor clocks.

mod alarm;
mod args;
mod assemble;
pub mod bars;
mod batch;
mod chart;
mod clock;
pub mod durations;
mod error;
mod html;
mod http1;
mod interface;
mod keys;
pub mod lru_reference;
mod memcached;
mod pacer;
mod parse;
mod payload;
mod preload;
mod progress;
mod protocol;
mod report;
mod run;
mod schedule;
mod series;
mod shared;
mod source;
mod svg;
mod table;
mod tally;
pub mod trace;
mod verify;
mod worker;

pub use args::{Args, Distribution};
pub use error::BenchError;
pub use interface::Interface;
pub use parse::{Url, ValueSize};
pub use protocol::Protocol;
pub use report::{
    Configuration, DistributionPoint, ErrorCount, Latency, Lateness, OperationLatency, Report, Second,
    Totals, TraceTotals, Verification,
};
pub use run::run;
