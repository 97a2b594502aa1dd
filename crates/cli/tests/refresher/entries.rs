//! The entries that a leader writes into the cache, through a master.

use annulus_testkit::{Cluster, eventually, path_of};

use crate::support::{BINARY, Group, LIMIT, NAME, Reply, Shape};

async fn cluster() -> Cluster {
    annulus_testkit::Shape::default().processes(BINARY).await.expect("a cluster starts")
}

async fn group(cluster: &Cluster, dataset: &str, reply: Reply) -> Group {
    let masters = format!("{},{}", cluster.url(0), cluster.url(1));
    let flags = vec!["--masters".to_owned(), masters];
    let shape = Shape { dataset: dataset.to_owned(), flags, interval: "300ms", ..Shape::default() };
    let mut group = Group::new(shape).await;
    group.upstream.answer(reply);
    for _ in 0..2 {
        group.add(group.redis.address()).await;
    }
    group.ready().await;
    group
}

fn json(body: &str) -> Reply {
    Reply::Json(body.to_owned())
}

/// Waits until the cache has this under a key; `None`: nothing.
async fn has(cluster: &Cluster, key: &str, value: Option<&str>) {
    eventually(&format!("{key} is {value:?}"), LIMIT, async || {
        let entry = cluster.client(1).get(format!("{}?raw", path_of(key))).await;
        match value {
            Some(value) => entry.status == 200 && entry.text() == value,
            None => entry.status == 404,
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_become_entries_and_those_that_are_no_more_are_deleted() {
    let cluster = cluster().await;
    let dataset = "key = 'rates/{currency}'\nttl = '1h'";
    let first = "{\"USD\":1.10,\"CHF\":\"text\",\"DEM\":[1, 2]}";
    let mut group = group(&cluster, dataset, json(first)).await;
    has(&cluster, "rates/USD", Some("1.10")).await;
    has(&cluster, "rates/CHF", Some("text")).await;
    has(&cluster, "rates/DEM", Some("[1, 2]")).await;
    let entry = cluster.client(0).get(path_of("rates/USD")).await.json();
    assert!((3500..=3600).contains(&entry["ttl"].as_u64().unwrap()), "{entry}");

    group.upstream.answer(json("{\"USD\":1.20,\"SEK\":11}"));
    has(&cluster, "rates/USD", Some("1.20")).await;
    has(&cluster, "rates/SEK", Some("11")).await;
    has(&cluster, "rates/CHF", None).await;
    has(&cluster, "rates/DEM", None).await;

    // The next leader knows what there is.
    let leader = group.leader().await;
    group.replicas[leader].kill();
    group.leader().await;
    group.upstream.answer(json("{\"SEK\":12}"));
    has(&cluster, "rates/SEK", Some("12")).await;
    has(&cluster, "rates/USD", None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_cannot_be_split_writes_nothing() {
    let cluster = cluster().await;
    let group = group(&cluster, "key = 'rates/{currency}'", json("[{\"currency\":\"USD\",\"n\":1}]")).await;
    has(&cluster, "rates/USD", Some("{\"currency\":\"USD\",\"n\":1}")).await;
    let revision = group.all_above(0, LIMIT).await;
    group.upstream.answer(json("[{\"currency\":\"USD\",\"n\":2},{\"currency\":\"CHF\"},{}]"));
    let leader = group.leader().await;
    eventually("it fails", LIMIT, async || group.dataset(leader).await["failures"].as_u64() >= Some(2)).await;
    has(&cluster, "rates/USD", Some("{\"currency\":\"USD\",\"n\":1}")).await;
    has(&cluster, "rates/CHF", None).await;
    assert_eq!(group.all_above(0, LIMIT).await, revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_body_is_one_entry_with_its_content_type() {
    let cluster = cluster().await;
    let page = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n<p>hi</p>";
    let _group = group(&cluster, "key = 'page'", Reply::Raw(page.to_owned())).await;
    has(&cluster, "page", Some("<p>hi</p>")).await;
    let entry = cluster.client(0).get(format!("{}?raw", path_of("page"))).await;
    assert_eq!(entry.header("content-type"), Some("text/html"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_is_away_is_written_to_when_it_is_back() {
    let mut cluster = cluster().await;
    let group = group(&cluster, "key = 'rates/{currency}'", json("{\"USD\":1}")).await;
    has(&cluster, "rates/USD", Some("1")).await;
    for master in 0..2 {
        cluster.master_mut(master).kill();
    }
    let before = group.all_above(0, LIMIT).await;
    group.upstream.answer(json("{\"USD\":2,\"CHF\":3}"));
    group.each_above(before, LIMIT).await;
    let leader = group.leader().await;
    eventually("it says so", LIMIT, async || {
        group.dataset(leader).await["last_error"].as_str().is_some_and(|text| text.contains("cache"))
    })
    .await;
    for master in 0..2 {
        cluster.master_mut(master).restart().await.unwrap();
    }
    has(&cluster, "rates/USD", Some("2")).await;
    has(&cluster, "rates/CHF", Some("3")).await;
    eventually("all is well", LIMIT, async || group.dataset(leader).await["last_error"].is_null()).await;
    let page = group.metrics(leader).await;
    assert!(
        page.value(&format!("annulus_dataset_entries_total{{dataset=\"{NAME}\",outcome=\"failed\"}}")) > 0.0
    );
}
