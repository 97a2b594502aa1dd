//! Runs the load generator with its usual flags against a `HashMap` in the same process: what the generator itself
//! can do, and a reference for hit ratios. `cargo run --release -p annulus-bench --example against_a_map -- --help`

use annulus_bench::{Args, BenchError, run};
use clap::Parser;

#[path = "../tests/support/mod.rs"]
#[expect(dead_code, reason = "the tests look into the map, this does not")]
mod support;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

#[tokio::main]
async fn main() -> Result<(), BenchError> {
    let mut args = Command::parse().args;
    let (address, _) = support::serve(support::Faults::default()).await;
    args.url = vec![format!("http://{address}").parse().map_err(BenchError::Arguments)?];
    let report = run(&args, std::future::pending()).await?;
    println!("{}", if args.json { report.to_json() } else { report.render_table() });
    args.output.iter().try_for_each(|path| report.save(path))
}
