//! `bench`: the load generator, with its report on stdout.

use std::process::ExitCode;

use annulus_bench::Args;
use anyhow::Result;

use crate::failure::FAILED;
use crate::{limits, output, shutdown};

/// Prints the report and writes it where asked. Exits with 1 where a request failed, so that a script can rely on 0.
pub(crate) async fn run(args: &Args) -> Result<ExitCode> {
    limits::raise_quietly();
    let stop = shutdown::on_signal()?;
    let report = annulus_bench::run(args, stop.cancelled_owned()).await?;
    output::print_line(if args.json { report.to_json() } else { report.render_table() }.trim_end())?;
    for path in &args.output {
        report.save(path)?;
    }
    Ok(if report.errors() == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}
