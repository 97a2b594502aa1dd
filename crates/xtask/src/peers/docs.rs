//! What the documentation shows of an outcome: its table between two marks, and its chart.

use std::path::Path;

use annulus_bench::bars::{BarChart, BarRow};
use anyhow::{Context as _, Result};

use super::outcome::Comparison;
use super::table;

const PAGE: &str = "performance.md";
const CHART: &str = "peers.svg";
/// What the table stands between.
const BEGIN: &str = "<!-- peers:begin -->\n";
const END: &str = "<!-- peers:end -->";

/// Writes table and chart into the folder `docs`.
pub(crate) fn write(docs: &Path, comparisons: &[Comparison], conditions: &str) -> Result<()> {
    let page = docs.join(PAGE);
    let text = std::fs::read_to_string(&page).with_context(|| page.display().to_string())?;
    let charted = comparisons.iter().any(|comparison| bar(comparison).is_some());
    let picture = if charted { format!("![Annulus against its peers]({CHART})\n\n") } else { String::new() };
    let outcome = format!("{conditions}\n\n{picture}{}", table::render(comparisons));
    let text = between(&text, &outcome).with_context(|| format!("{}: no {BEGIN}", page.display()))?;
    std::fs::write(&page, text).with_context(|| page.display().to_string())?;
    let chart_path = docs.join(CHART);
    if charted {
        std::fs::write(&chart_path, chart(comparisons)).with_context(|| chart_path.display().to_string())?;
    } else if chart_path.exists() {
        std::fs::remove_file(&chart_path)?;
    }
    Ok(())
}

/// `page` with `outcome` between its marks; `None` where it has none.
fn between(page: &str, outcome: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{}\n\n{END}{after}", outcome.trim()))
}

/// Each figure of ours as a multiple of the other's, with its bar.
pub(crate) fn chart(comparisons: &[Comparison]) -> String {
    let rows: Vec<_> = comparisons.iter().filter_map(bar).collect();
    let held = comparisons.iter().filter(|comparison| comparison.holds() == Some(true)).count();
    BarChart {
        title: "Annulus against its peers, less is better".to_owned(),
        description: format!("{held} of {} bars are held.", rows.len()),
        x_name:
            "multiples of the other's figure, which is the dashed line; the bar that is to be held is red"
                .to_owned(),
        rows,
    }
    .render()
}

fn bar(comparison: &Comparison) -> Option<BarRow> {
    let scenario = comparison.scenario;
    let (ours, theirs) = (comparison.ours.figure()?, comparison.theirs.figure()?);
    Some(BarRow {
        label: scenario.title.to_owned(),
        text: format!("{} to {}", scenario.figure.text(ours), scenario.figure.text(theirs)),
        value: ours / theirs,
        limit: comparison.most().map(|most| most / theirs),
    })
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::outcome;
    use super::*;

    #[test]
    fn the_outcome_replaces_what_stood_between_the_marks() {
        let page = format!("# Performance\n\n{BEGIN}old\n{END}\n\nMore.\n");
        let once = between(&page, "new\n").unwrap();
        assert_eq!(once, format!("# Performance\n\n{BEGIN}\nnew\n\n{END}\n\nMore.\n"));
        assert_eq!(between(&once, "new\n").unwrap(), once);
        assert_eq!(between("# Performance\n", "new"), None);
    }

    #[test]
    fn page_and_chart_are_written_and_a_chart_of_nothing_is_not() {
        let docs = tempfile::tempdir().unwrap();
        let (page, picture) = (docs.path().join(PAGE), docs.path().join(CHART));
        std::fs::write(&page, format!("{BEGIN}{END}\n")).unwrap();
        write(docs.path(), &[outcome("rest-bare", &[30.0], &[10.0])], "On a machine.").unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(text.contains("On a machine.\n\n![Annulus") && text.contains("| 3.00 × |"), "{text}");
        assert!(std::fs::read_to_string(&picture).unwrap().contains("30.0 µs to 10.0 µs"));
        write(docs.path(), &[outcome("rest-bare", &[], &[10.0])], "On a machine.").unwrap();
        let text = std::fs::read_to_string(&page).unwrap();
        assert!(!picture.exists() && !text.contains(CHART) && !text.contains("3.00"));
    }

    #[test]
    fn the_chart_has_a_bar_for_each_pair_that_was_measured() {
        let svg = chart(&[
            outcome("single-plain", &[8.0], &[8.0]),
            outcome("router-plain", &[], &[17.0]),
            outcome("memory", &[90.0], &[80.0]),
        ]);
        assert_eq!(
            (svg.matches("<rect class=\"held\"").count(), svg.matches("<rect class=\"missed\"").count()),
            (1, 1)
        );
        assert!(svg.contains("1 of 2 bars are held") && svg.contains("90 bytes to 80 bytes"));
    }
}
