//! The one binary of Annulus: runs clusters and talks to them. Each command is a module; this parses and calls.

mod advertise;
mod args;
mod bench;
mod configuration;
mod data;
mod dev;
mod failure;
mod limits;
mod membership;
mod metrics_text;
mod nodes;
mod operate;
mod output;
mod ports;
mod refresher;
mod remote;
mod serve;
mod shutdown;
mod stats;

use std::process::ExitCode;

use annulus_protocol::rest::Operation;
use anyhow::Result;
use clap::FromArgMatches as _;

use crate::args::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let matches = args::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    run(cli.command).await.unwrap_or_else(|error| failure::report(&error))
}

async fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Dev(args) => dev::run(&args).await,
        Command::Master(args) => serve::master(&args).await,
        Command::Auxiliary(args) => serve::auxiliary(&args).await,
        Command::Refresher(args) => refresher::run(&args).await,
        Command::Get(args) => data::get(&args).await,
        Command::Set(args) => data::set(&args).await,
        Command::Del(args) => data::delete(&args).await,
        Command::Nodes(args) => nodes::nodes(&args).await,
        Command::Backup(args) => operate::operate(Operation::Backup, &args).await,
        Command::Restore(args) => operate::operate(Operation::Restore, &args).await,
        Command::Rebalance(args) => operate::operate(Operation::Rebalance, &args).await,
        Command::Stats(args) => stats::stats(&args).await,
        Command::Health(args) => nodes::health(&args).await,
        Command::Bench(args) => bench::run(&args).await,
        Command::Config(command) => configuration::run(&command),
        Command::Completions { shell } => args::completions(shell),
    }
}
