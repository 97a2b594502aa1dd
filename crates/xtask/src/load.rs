//! The load of the measurements, by the project's own generator.

use annulus_bench::{Args, Report};
use clap::Parser;

/// The generator's options as it takes them on the command line.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    args: Args,
}

/// Runs the generator with `options`, separated by spaces.
pub(crate) async fn run(url: &str, options: &str) -> anyhow::Result<Report> {
    run_until(url, options, std::future::pending()).await
}

/// The same until told to end, where `options` set no earlier end.
pub(crate) async fn run_until(
    url: &str,
    options: &str,
    end: impl Future<Output = ()>,
) -> anyhow::Result<Report> {
    let words = ["load", "--url", url, "--quiet"].into_iter().chain(options.split_whitespace());
    let options = Options::try_parse_from(words)?;
    let report = annulus_bench::run(&options.args, end).await?;
    anyhow::ensure!(report.errors() == 0, "the load met errors:\n{}", report.render_table());
    Ok(report)
}

/// The middle one of some figures.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
