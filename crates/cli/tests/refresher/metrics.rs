//! docs/metrics.md and what a refresher exposes are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use annulus_testkit::MetricsPage;

use crate::support::{Group, Shape};

/// Name, type and labels of a metric.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

fn documented() -> Described {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(&path).expect("docs/metrics.md can be read");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>())
        .filter(|cells| cells[5].split(", ").any(|role| role == "refresher"))
        .map(|cells| {
            let labels = cells[2].split(", ").map(|label| label.trim_matches('`'));
            let labels = labels.filter(|label| !label.is_empty()).map(str::to_owned).collect();
            (cells[0].to_owned(), (cells[1].to_owned(), labels))
        })
        .collect()
}

#[tokio::test]
async fn the_page_of_metrics_lists_exactly_what_a_refresher_exposes() {
    let group = Group::start(Shape::default(), 1).await;
    group.leader().await;
    let page: MetricsPage = group.metrics(0).await;
    let exposed: Described = page
        .families
        .iter()
        .map(|(name, family)| (name.clone(), (family.kind.clone(), family.labels.clone())))
        .collect();
    assert_eq!(exposed, documented());
    for (name, family) in &page.families {
        assert!(family.help.ends_with('.'), "{name}: {}", family.help);
        assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} is a {}", family.kind);
    }
}
