//! Measurements that the documentation quotes, for anybody to repeat:
//!
//! ```text
//! cargo build --profile dist -p annulus
//! cargo xtask cost   target/dist/annulus   # CPU of a GET through a master, against a bare axum handler
//! cargo xtask memory target/dist/annulus   # resident memory of an entry
//! cargo xtask peers                        # against memcached, nutcracker, webdis and Redis: docs/performance.md
//! cargo xtask settle target/dist/annulus   # entries a second that move when a node joins; with --event death, when one dies
//! ```

mod bare;
mod cost;
mod load;
mod memory;
mod peers;
mod settle;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Measures Annulus.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// CPU time of a GET through a master, against a bare axum handler that answers the same bytes
    Cost {
        /// The binary to measure
        #[arg(default_value = "target/dist/annulus")]
        binary: PathBuf,
        /// Rounds, of which the median counts
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Requests in a round
        #[arg(long, default_value_t = 200_000)]
        requests: u64,
    },
    /// Resident memory of entries with keys of 16 and values of 100 bytes
    Memory {
        /// The binary to measure
        #[arg(default_value = "target/dist/annulus")]
        binary: PathBuf,
        /// How many entries
        #[arg(long, default_value_t = 1_000_000)]
        entries: u32,
        /// Time to live of the entries, such as 1h
        #[arg(long)]
        ttl: Option<String>,
    },
    /// Annulus against memcached, nutcracker, webdis with Redis and a bare axum handler; on Debian: apt-get install
    /// memcached nutcracker redis-server webdis
    Peers(peers::Options),
    /// Entries a second that move when a node joins or dies, and what clients notice of it
    Settle {
        /// The binary to measure
        #[arg(default_value = "target/dist/annulus")]
        binary: PathBuf,
        #[command(flatten)]
        options: settle::Options,
    },
    /// The bare axum handler, in a process of its own
    #[command(hide = true)]
    Bare {
        /// The port to listen on
        #[arg(long)]
        port: u16,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Cost { binary, rounds, requests } => cost::measure(&binary, rounds, requests).await,
        Command::Memory { binary, entries, ttl } => memory::measure(&binary, entries, ttl.as_deref()).await,
        Command::Peers(options) => peers::run(&options).await,
        Command::Settle { binary, options } => settle::measure(&binary, &options).await,
        Command::Bare { port } => bare::serve(port).await,
    }
}
