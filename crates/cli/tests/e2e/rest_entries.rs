//! One entry: stored, read in each of its forms, removed.

use annulus_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::support::cluster;

#[tokio::test]
async fn what_is_posted_through_one_master_is_read_through_the_other() {
    let cluster = cluster().await;
    let stored = cluster.client(0).post("/data", &json!({ "key": "greeting", "value": "hello" })).await;
    assert_eq!((stored.status, stored.header("content-type")), (200, Some("application/json")));
    let version = stored.json()["version"].as_str().unwrap().to_owned();
    assert_eq!(stored.json(), json!({ "key": "greeting", "version": version }));
    assert_eq!(stored.header("etag"), Some(format!("\"{version}\"").as_str()));
    for master in 0..2 {
        let read = cluster.client(master).get("/data/greeting").await;
        assert_eq!((read.status, read.header("content-type")), (200, Some("application/json")));
        assert_eq!(read.json(), json!({ "key": "greeting", "value": "hello", "version": version }));
        assert_eq!(read.header("etag"), stored.header("etag"));
        assert_eq!(read.header("cache-control"), Some("no-cache"));
    }
}

#[tokio::test]
async fn every_json_value_reads_back_as_itself() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for text in [
        "1",
        "-0.5e3",
        "true",
        "null",
        "[]",
        r#"[1,{"a":[null]}]"#,
        r#"{"b":{"c":1}}"#,
        r#""""#,
        r#""\u0000é""#,
    ] {
        let document = format!(r#"{{"key":"k","value":{text}}}"#);
        let stored = client.request("POST", "/data").json(document).send().await;
        assert_eq!(stored.status, 200, "{text}: {}", stored.text());
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(client.get("/data/k").await.json()["value"], value, "{text}");
    }
}

#[tokio::test]
async fn bytes_come_back_with_their_content_type() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let bytes: Vec<u8> = (0..=255).collect();
    let put = client.request("PUT", "/data/image").header("content-type", "image/png").body(bytes.clone());
    assert_eq!(put.send().await.status, 200);
    let by_query = client.get("/data/image?raw").await;
    let by_header =
        client.request("GET", "/data/image").header("accept", "application/octet-stream").send().await;
    for raw in [by_query, by_header] {
        assert_eq!((raw.status, raw.header("content-type")), (200, Some("image/png")));
        assert_eq!(raw.body, bytes);
    }
    let entry = client.get("/data/image").await.json();
    assert_eq!(entry["encoding"], "base64");
    assert!(entry["value"].as_str().unwrap().starts_with("AAECAwQF"), "{entry}");
}

#[tokio::test]
async fn the_content_type_decides_how_bytes_look_in_json() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for (content_type, bytes, value) in [
        (None, "abc", json!("YWJj")),
        (Some("text/plain"), "abc", json!("abc")),
        (Some("application/json; charset=utf-8"), "{\"a\":1}", json!({ "a": 1 })),
        (Some("application/json"), "{broken", json!("e2Jyb2tlbg==")),
        (Some("text/plain"), "", json!("")),
    ] {
        let put = client.request("PUT", "/data/k").body(bytes);
        let put = content_type.into_iter().fold(put, |put, name| put.header("content-type", name));
        assert_eq!(put.send().await.status, 200, "{content_type:?}");
        assert_eq!(client.get("/data/k").await.json()["value"], value, "{content_type:?} {bytes}");
        let raw = client.get("/data/k?raw").await;
        assert_eq!(raw.header("content-type"), Some(content_type.unwrap_or("application/octet-stream")));
        assert_eq!(raw.text(), bytes);
    }
}

#[tokio::test]
async fn a_head_request_is_answered_like_a_get_without_its_body() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    client.store("k", "some text").await;
    for target in ["/data/k", "/data/k?raw", "/data/absent"] {
        let get = client.get(target).await;
        let head = client.request("HEAD", target).send().await;
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{target}");
        for name in ["content-type", "etag", "cache-control", "content-length"] {
            assert_eq!(head.header(name), get.header(name), "{target}: {name}");
        }
    }
}

#[tokio::test]
async fn a_removed_entry_is_gone_through_both_masters_and_can_come_back() {
    let cluster = cluster().await;
    let written = cluster.client(0).store("k", "first").await;
    let deleted = cluster.client(1).request("DELETE", "/data/k").send().await;
    assert_eq!((deleted.status, &deleted.json()["key"]), (200, &json!("k")));
    let version = |text: &str| text.parse::<u64>().unwrap();
    assert!(version(deleted.json()["version"].as_str().unwrap()) > version(&written));
    for master in 0..2 {
        cluster.client(master).get("/data/k").await.problem(ErrorCode::NotFound);
        cluster.client(master).request("DELETE", "/data/k").send().await.problem(ErrorCode::NotFound);
    }
    cluster.client(0).store("k", "second").await;
    assert_eq!(cluster.client(1).get("/data/k").await.json()["value"], "second");
}

#[tokio::test]
async fn the_last_of_many_writes_through_both_masters_is_what_both_read() {
    let cluster = cluster().await;
    for n in 0..50 {
        cluster.client(n % 2).store("k", &n.to_string()).await;
        let read = cluster.client((n + 1) % 2).get("/data/k").await;
        assert_eq!(read.json()["value"], n.to_string());
    }
}

#[tokio::test]
async fn one_copy_is_enough_where_the_client_says_so() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    client.store("k", "v").await;
    assert_eq!(client.get("/data/k?consistency=one").await.json()["value"], "v");
    assert_eq!(client.get("/data/k?consistency=quorum").await.json()["value"], "v");
    client.get("/data/k?consistency=two").await.problem(ErrorCode::BadRequest);
    client.get("/data/absent?consistency=one").await.problem(ErrorCode::NotFound);
}

#[tokio::test]
async fn a_value_of_the_size_limit_is_kept_and_one_byte_more_is_refused() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let limit = 1 << 20;
    assert_eq!(client.put("/data/k", vec![7; limit]).await.status, 200);
    assert_eq!(client.get("/data/k?raw").await.body, vec![7; limit]);
    client.put("/data/k", vec![7; limit + 1]).await.problem(ErrorCode::TooLarge);
    let posted = client.post("/data", &json!({ "key": "j", "value": "x".repeat(limit) })).await;
    assert_eq!(posted.status, 200);
    let posted = client.post("/data", &json!({ "key": "j", "value": "x".repeat(limit + 1) })).await;
    assert!(posted.problem(ErrorCode::TooLarge).detail.contains(&limit.to_string()));
    // A document that escapes every character is six times its value.
    let escaped = format!(r#"{{"key":"e","value":"{}"}}"#, "\\u0001".repeat(limit));
    assert_eq!(client.request("POST", "/data").json(escaped).send().await.status, 200);
    assert_eq!(client.get("/data/e?raw").await.body, vec![1; limit]);
}
