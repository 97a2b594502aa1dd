//! What several of the tests need.

use std::future::pending;

use annulus_bench::{Args, Report};
use annulus_testkit::{InProcess, Shape};
use clap::Parser;

/// The program, built for this test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_annulus");

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// The default cluster: two masters, three auxiliaries, two copies.
pub(crate) async fn cluster() -> InProcess {
    Shape::default().in_process().await.expect("a cluster starts")
}

/// Runs a load with flags as on the command line, separated by spaces.
pub(crate) async fn bench(url: &str, flags: &str) -> Report {
    let flags = format!("bench --quiet --url {url} {flags}");
    let args = Command::parse_from(flags.split_whitespace()).args;
    annulus_bench::run(&args, pending()).await.expect("the load can be made")
}
