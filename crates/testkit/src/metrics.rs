//! What a node's `/metrics` says, read back.

use std::collections::{BTreeMap, BTreeSet};

/// One metric with all its series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// The text behind `# HELP`.
    pub help: String,
    /// The names of its labels; a histogram's `le` is left out.
    pub labels: BTreeSet<String>,
    /// Its series as they stand, labels included, with their values.
    pub series: BTreeMap<String, f64>,
}

/// A page in the text exposition format.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetricsPage {
    /// The metrics by name.
    pub families: BTreeMap<String, Family>,
}

impl MetricsPage {
    /// Reads a page.
    ///
    /// # Panics
    /// Where a line is none of the format's, or a series has no `# TYPE` in front.
    pub fn parse(page: &str) -> Self {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        for line in page.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
                help.clone_into(&mut families.entry(name.to_owned()).or_default().help);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type line names a metric and its type");
                kind.clone_into(&mut families.entry(name.to_owned()).or_default().kind);
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a series has a value");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let family = family_of(&mut families, name);
                let labels =
                    labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
                family.labels.extend(labels.map(|(name, _)| name.to_owned()).filter(|name| name != "le"));
                family.series.insert(series.to_owned(), value.parse().expect("a value is a number"));
            }
        }
        Self { families }
    }

    /// The value of a series, written as on the page: `name{label="value"}`.
    ///
    /// # Panics
    /// Where there is no such series.
    #[track_caller]
    pub fn value(&self, series: &str) -> f64 {
        let found = self.families.values().find_map(|family| family.series.get(series));
        *found.unwrap_or_else(|| panic!("no series {series}"))
    }

    /// The sum of all series of a metric.
    ///
    /// # Panics
    /// Where there is no such metric.
    #[track_caller]
    pub fn sum(&self, name: &str) -> f64 {
        self.families.get(name).unwrap_or_else(|| panic!("no metric {name}")).series.values().sum()
    }
}

fn family_of<'a>(families: &'a mut BTreeMap<String, Family>, name: &str) -> &'a mut Family {
    let parts = ["", "_bucket", "_sum", "_count"];
    let known =
        parts.iter().find_map(|part| name.strip_suffix(part).filter(|name| families.contains_key(*name)));
    let known = known.unwrap_or_else(|| panic!("{name} has no type")).to_owned();
    families.entry(known).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_as_its_metrics() {
        let page = "# HELP a_total Some text.\n# TYPE a_total counter\na_total{op=\"get\",x=\"1\"} 3\n\
                    # HELP d_seconds T.\n# TYPE d_seconds histogram\nd_seconds_bucket{op=\"get\",le=\"0.1\"} 1\n\
                    d_seconds_sum{op=\"get\"} 0.05\nd_seconds_count{op=\"get\"} 1\n";
        let page = MetricsPage::parse(page);
        assert_eq!(page.families.keys().collect::<Vec<_>>(), ["a_total", "d_seconds"]);
        assert_eq!(page.families["a_total"].help, "Some text.");
        assert_eq!(page.families["d_seconds"].labels, BTreeSet::from(["op".to_owned()]));
        assert!((page.value("a_total{op=\"get\",x=\"1\"}") - 3.0).abs() < f64::EPSILON);
    }
}
