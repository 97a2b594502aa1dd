//! What an entry takes: growth of an auxiliary's resident memory, divided by the entries.

use std::path::Path;

use annulus_testkit::Shape;

use crate::load;

/// Fills one auxiliary through a master and prints what it grew by.
pub(crate) async fn measure(binary: &Path, entries: u32, ttl: Option<&str>) -> anyhow::Result<()> {
    let shape = Shape::default().masters(1).auxiliaries(1).replicas(1).memory("2Gi");
    let cluster = shape.processes(binary).await?;
    let auxiliary = &cluster.auxiliaries()[0];
    let before = auxiliary.usage().rss_bytes;
    let ttl = ttl.map_or_else(String::new, |ttl| format!("--ttl {ttl}"));
    let fill = format!("--keys {entries} --value-size 100 --preload --requests 1 --warm-up 0s {ttl}");
    load::run(&cluster.url(0), &fill).await?;
    let grown = auxiliary.usage().rss_bytes - before;
    let page = reqwest::get(format!("http://{}/metrics", auxiliary.address())).await?.text().await?;
    let metric = |name: &str| -> f64 {
        let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0.0)
    };
    let items = metric("annulus_cache_items");
    println!("entries             {items:>12.0}");
    println!("resident            {:>12.1} bytes each", grown as f64 / items);
    println!("accounted           {:>12.1} bytes each", metric("annulus_cache_bytes") / items);
    println!("key and value       {:>12.1} bytes each", 116.0);
    Ok(())
}
