//! Where an error of any command ends: one text on stderr, one exit code.

use std::process::ExitCode;

use annulus_bench::BenchError;
use annulus_service::config::ConfigErrors;

/// A conditional write did not happen, because somebody else was first.
pub(crate) const CONDITION: u8 = 4;
/// Done, but there is no such key or node.
pub(crate) const NOT_FOUND: u8 = 3;
/// The command line or the configuration is wrong. clap uses the same.
pub(crate) const USAGE: u8 = 2;
/// Anything else went wrong.
pub(crate) const FAILED: u8 = 1;

/// Prints the error and gives the exit code that goes with it.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {}", text(error));
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    // A trace that cannot be read is a wrong `--trace`: no request was made.
    let bench = error.downcast_ref::<BenchError>().is_some_and(|error| {
        use BenchError::{Arguments, TraceEmpty, TraceIo, TraceLine};
        matches!(error, Arguments(_) | TraceIo { .. } | TraceLine { .. } | TraceEmpty { .. })
    });
    let condition = error.downcast_ref().is_some_and(annulus_client::Error::is_precondition_failed);
    if bench || error.is::<ConfigErrors>() || error.is::<Usage>() {
        USAGE
    } else if condition {
        CONDITION
    } else {
        FAILED
    }
}

/// Something is wrong with the command line that clap cannot see.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The error and its causes in one line. Some errors repeat their cause in their own text; it is said once.
fn text(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_said_once() {
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(text(&inner.context("cannot read x")), "cannot read x: no such file");
        let inner = anyhow::anyhow!("no such file");
        assert_eq!(text(&inner.context("cannot read x (no such file)")), "cannot read x (no such file)");
    }
}
