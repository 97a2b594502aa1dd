//! The command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

use crate::configuration::ConfigCommand;
use crate::data::{DeleteArgs, GetArgs, SetArgs};
use crate::dev::DevArgs;
use crate::nodes::{HealthArgs, NodesArgs};
use crate::operate::OperateArgs;
use crate::output;
use crate::refresher::RefresherArgs;
use crate::remote::URL_VARIABLE;
use crate::serve::{AuxiliaryArgs, MasterArgs};
use crate::stats::StatsArgs;

/// A distributed cache: run a cluster, use it, measure it
#[derive(Debug, Parser)]
#[command(name = "annulus", version, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "\
Start with `annulus dev`: it runs a whole cluster and says what to try next.

Exit codes: 0 done; 1 failed; 2 the command line or the configuration is wrong; 3 no such key (get, del) or node (nodes); \
4 the condition of --if-match or --if-none-match does not hold (set).";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a whole cluster in this process, on this machine
    Dev(DevArgs),
    /// Run one master: it takes requests and passes them on to auxiliaries
    Master(MasterArgs),
    /// Run one auxiliary: it keeps data in memory
    Auxiliary(AuxiliaryArgs),
    /// Run one replica of the refresher: it keeps datasets of upstream APIs fresh
    Refresher(RefresherArgs),
    /// Read the value of a key
    Get(GetArgs),
    /// Store a value under a key
    Set(SetArgs),
    /// Remove a key
    Del(DeleteArgs),
    /// List the auxiliaries, or show, watch or remove them
    Nodes(NodesArgs),
    /// Have every auxiliary write a snapshot
    Backup(OperateArgs),
    /// Have every auxiliary load its last snapshot, wherever nothing newer is known
    Restore(OperateArgs),
    /// Have every auxiliary look at once for entries that belong elsewhere
    Rebalance(OperateArgs),
    /// Show what the cluster holds and how often a master's reads hit
    Stats(StatsArgs),
    /// Ask a node whether it is well; for health checks, it exits with 0 or 1
    Health(HealthArgs),
    /// Make load and report rate, hit ratio, errors and latency
    Bench(annulus_bench::Args),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print completions for a shell; in bash: source <(annulus completions bash)
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// The command line as clap knows it. The load generator is a crate of its own; here it learns the variable that names
/// a master to every other command. An empty one counts as absent.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    if std::env::var_os(URL_VARIABLE).is_some_and(|url| url.is_empty()) {
        return command;
    }
    command.mut_subcommand("bench", |bench| {
        bench.mut_arg("url", |url| url.env(URL_VARIABLE).hide_env_values(true))
    })
}

pub(crate) fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "annulus", &mut script);
    output::print_bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        super::command().debug_assert();
    }
}
