//! The outcome as Markdown, which also reads well on a terminal.

use std::fmt::Write as _;

use super::outcome::{Comparison, Side};

/// The rows with their bars, and below them each side's rounds.
pub(crate) fn render(comparisons: &[Comparison]) -> String {
    let mut text = String::from("| figure | Annulus | the other | ratio | bar | holds |\n");
    text += "| --- | --- | --- | --- | --- | --- |\n";
    for comparison in comparisons {
        let scenario = comparison.scenario;
        let figure =
            |side: &Side| side.figure().map_or_else(|| "–".to_owned(), |figure| scenario.figure.text(figure));
        let ratio = comparison.ratio().map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2} ×"));
        let (ours, theirs, bar) =
            (figure(&comparison.ours), figure(&comparison.theirs), scenario.bar.text(scenario.figure));
        let holds = match comparison.holds() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "–",
        };
        row(
            &mut text,
            [scenario.title, &ours, &format!("{theirs} ({})", scenario.theirs), &ratio, &bar, holds],
        );
    }
    text +=
        "\n| figure | system | each round | requests/s | system calls per request | generator's own CPU |\n";
    text += "| --- | --- | --- | --- | --- | --- |\n";
    for comparison in comparisons {
        for side in [&comparison.ours, &comparison.theirs] {
            if let Side::Measured(measured) = side {
                details(&mut text, comparison, measured);
            }
        }
    }
    let missing = missing(comparisons);
    if !missing.is_empty() {
        text += "\nNot measured:\n\n";
        text += &missing;
    }
    text
}

fn details(text: &mut String, comparison: &Comparison, measured: &super::outcome::Measured) {
    let scenario = comparison.scenario;
    let rounds = |of: &dyn Fn(&super::outcome::Round) -> String| {
        measured.rounds.iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let is_timed = measured.rounds.iter().any(|round| round.rate_per_s > 0.0);
    let figures = rounds(&|round| scenario.figure.text(round.figure));
    let rates = if is_timed { rounds(&|round| format!("{:.0}", round.rate_per_s)) } else { "–".to_owned() };
    let own =
        if is_timed { rounds(&|round| format!("{:.2} µs", round.generator_us)) } else { "–".to_owned() };
    let syscalls = measured.syscalls.map_or_else(|| "–".to_owned(), |calls| format!("{calls:.2}"));
    row(text, [scenario.name, &measured.system.to_string(), &figures, &rates, &syscalls, &own]);
}

/// One line a side that is missing, with the reason.
fn missing(comparisons: &[Comparison]) -> String {
    let mut text = String::new();
    for comparison in comparisons {
        let sides =
            [(&comparison.ours, comparison.scenario.ours), (&comparison.theirs, comparison.scenario.theirs)];
        for (side, system) in sides {
            if let Side::Missing(reason) = side {
                let line = format!("- {}, {system}: {}\n", comparison.scenario.name, cell(reason));
                text += &line;
            }
        }
    }
    text
}

fn row(text: &mut String, cells: [&str; 6]) {
    let cells = cells.map(cell).join(" | ");
    writeln!(text, "| {cells} |").expect("writing to a string succeeds");
}

/// Text that ends no cell and no line.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::outcome;
    use super::*;

    #[test]
    fn each_row_says_both_figures_their_ratio_the_bar_and_whether_it_holds() {
        let text = render(&[
            outcome("single-plain", &[8.0, 9.0, 8.5], &[8.0, 8.0, 8.0]),
            outcome("router-pipeline", &[3.0], &[6.0]),
            outcome("rest-webdis", &[], &[25.0]),
        ]);
        for line in [
            "| one node, no pipelining: CPU per request | 8.50 µs | 8.00 µs (memcached -t 2) | 1.06 × | ≤ 1.10 × | yes |",
            "| 3.00 µs | 6.00 µs (nutcracker and 3 memcached) | 0.50 × | ≤ 2.90 µs (nutcracker with memcached 1.6.45) | no |",
            "| REST GET through a master against webdis: CPU per request | – | 25.0 µs (webdis and Redis) | – | ≤ 1.20 × | – |",
            "| single-plain | auxiliary | 8.00 µs, 9.00 µs, 8.50 µs | 50000, 50000, 50000 | 2.25 | 5.00 µs, 5.00 µs, 5.00 µs |",
            "- rest-webdis, master and 3 auxiliaries, REST: it \\| does not start",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(
            text.lines().filter(|line| line.starts_with('|')).all(|line| line
                .replace("\\|", "")
                .matches('|')
                .count()
                == 7)
        );
    }

    #[test]
    fn nothing_is_said_to_be_missing_where_nothing_is() {
        assert!(!render(&[outcome("memory", &[90.0], &[86.0])]).contains("Not measured"));
    }
}
