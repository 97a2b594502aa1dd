//! What the tests are made of.

mod deaf;
mod group;
mod notices;
mod readers;
mod upstream;

pub(crate) use deaf::DeafProxy;
pub(crate) use group::{Group, Shape, redis};
pub(crate) use notices::Notices;
pub(crate) use readers::Readers;
pub(crate) use upstream::{Reply, Upstream};

use std::time::Duration;

/// The program, built for this test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_annulus");
/// Far more than anything takes that is not a promise.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// The dataset of most tests.
pub(crate) const NAME: &str = "numbers";
