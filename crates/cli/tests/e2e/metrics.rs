//! docs/metrics.md and what nodes expose are the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use annulus_testkit::{MetricsPage, Shape};
use serde_json::json;

use crate::support::BINARY;

/// Name, type and labels of a metric.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

/// The rows of the table whose last column names `role`.
fn documented(role: &str) -> Described {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(&path).expect("docs/metrics.md can be read");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('|').map(|cell| cell.trim().trim_matches('`')).collect::<Vec<_>>())
        .filter(|cells| cells[5].split(", ").any(|known| known == role))
        .map(|cells| {
            let labels =
                cells[2].split(", ").map(|label| label.trim_matches('`')).filter(|label| !label.is_empty());
            (cells[0].to_owned(), (cells[1].to_owned(), labels.map(str::to_owned).collect()))
        })
        .collect()
}

fn exposed(page: &MetricsPage) -> Described {
    let families = page.families.iter();
    families.map(|(name, family)| (name.clone(), (family.kind.clone(), family.labels.clone()))).collect()
}

#[tokio::test]
async fn the_page_of_metrics_lists_exactly_what_nodes_expose() {
    let cluster = Shape::default().processes(BINARY).await.expect("a cluster starts");
    let client = cluster.client(0);
    client.store("k", "v").await;
    client.get("/data/k").await;
    client.get("/data/absent").await;
    client.post("/data/bulk", &json!([{ "key": "a", "value": 1 }])).await;
    client.request("DELETE", "/data/k").send().await;
    let master = client.get("/metrics").await;
    assert_eq!(master.header("content-type"), Some("text/plain; version=0.0.4"));
    assert_eq!(exposed(&MetricsPage::parse(master.text())), documented("master"));
    let auxiliary = cluster.auxiliaries()[0].client().get("/metrics").await;
    assert_eq!(exposed(&MetricsPage::parse(auxiliary.text())), documented("auxiliary"));
}

#[tokio::test]
async fn every_metric_has_a_help_text_and_a_name_with_its_unit() {
    let cluster = Shape::default().processes(BINARY).await.expect("a cluster starts");
    for client in [cluster.client(0), cluster.auxiliaries()[0].client()] {
        let page = MetricsPage::parse(client.get("/metrics").await.text());
        for (name, family) in &page.families {
            assert!(name.starts_with("annulus_") || name.starts_with("process_"), "{name}");
            assert!(family.help.ends_with('.'), "{name}: {}", family.help);
            assert_eq!(name.ends_with("_total"), family.kind == "counter", "{name} is a {}", family.kind);
        }
    }
}

#[tokio::test]
async fn requests_are_counted_by_operation_and_outcome() {
    let cluster = Shape::default().in_process().await.expect("a cluster starts");
    let client = cluster.client(0);
    client.store("k", "v").await;
    client.get("/data/k").await;
    client.get("/data/absent").await;
    client.put("/data/k?tll=1", "v").await;
    let page = MetricsPage::parse(client.get("/metrics").await.text());
    for (op, outcome, count) in [
        ("put", "ok", 1.0),
        ("get", "ok", 1.0),
        ("get", "miss", 1.0),
        ("put", "rejected", 1.0),
        ("get", "error", 0.0),
    ] {
        let series = format!("annulus_requests_total{{op=\"{op}\",outcome=\"{outcome}\"}}");
        assert!((page.value(&series) - count).abs() < 0.5, "{series} is {}", page.value(&series));
    }
    assert!((page.value("annulus_request_duration_seconds_count{op=\"get\"}") - 2.0).abs() < 0.5);
    assert!((page.value("annulus_cache_hits_total") - 1.0).abs() < 0.5);
    assert!((page.value("annulus_cache_misses_total{reason=\"cold\"}") - 1.0).abs() < 0.5);
    assert!((page.value("annulus_nodes{state=\"up\"}") - 3.0).abs() < 0.5);
}
