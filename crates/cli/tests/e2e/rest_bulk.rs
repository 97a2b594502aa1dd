//! Many entries in one request.

use annulus_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::support::cluster;

fn names(list: &Value) -> Vec<&str> {
    let mut names: Vec<_> = list.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn many_entries_are_stored_and_read_at_once() {
    let cluster = cluster().await;
    let entries: Vec<_> =
        (0..200).map(|n| json!({ "key": format!("k{n}"), "value": n, "ttl": 500 })).collect();
    let stored = cluster.client(0).post("/data/bulk", &json!(entries)).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    assert_eq!(stored.json()["stored"].as_array().unwrap().len(), 200);
    assert_eq!(stored.json()["failed"], json!([]));
    let mut keys: Vec<_> = (0..200).map(|n| format!("k{n}")).collect();
    keys.push("absent".to_owned());
    let found = cluster.client(1).post("/data/bulk/get", &json!(keys)).await;
    assert_eq!((found.status, &found.json()["failed"]), (200, &json!([])));
    let found = found.json();
    assert_eq!(found["found"].as_array().unwrap().len(), 200);
    for entry in found["found"].as_array().unwrap() {
        assert_eq!(entry["key"], format!("k{}", entry["value"]));
        assert!((490..=500).contains(&entry["ttl"].as_u64().unwrap()));
    }
}

#[tokio::test]
async fn each_entry_of_a_bulk_request_stands_for_itself() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let long = "k".repeat(251);
    let entries = json!([
        { "key": "good", "value": 1 },
        { "key": long, "value": 1 },
        { "key": "bad-ttl", "value": 1, "ttl": -1 },
        { "key": "twice", "value": 1 },
        { "key": "twice", "value": 2 },
        { "key": "large", "value": "x".repeat((1 << 20) + 1) },
        { "key": "also good", "value": null },
    ]);
    let answer = client.post("/data/bulk", &entries).await;
    assert_eq!(answer.status, 207, "{}", answer.text());
    let body = answer.json();
    assert_eq!(names(&body["stored"]), ["also good", "good"]);
    assert_eq!(names(&body["failed"]), ["bad-ttl", &long, "large", "twice", "twice"]);
    for failed in body["failed"].as_array().unwrap() {
        let code = match failed["key"].as_str().unwrap() {
            "bad-ttl" => "bad_ttl",
            "twice" => "bad_request",
            "large" => "too_large",
            _ => "bad_key",
        };
        assert_eq!(failed["error"]["code"], code, "{failed}");
    }
    client.get("/data/twice").await.problem(ErrorCode::NotFound);
    let read = client.post("/data/bulk/get", &json!(["good", long, "absent", ""])).await;
    assert_eq!(read.status, 207);
    assert_eq!(names(&read.json()["found"]), ["good"]);
    assert_eq!(names(&read.json()["failed"]), ["", &long]);
}

#[tokio::test]
async fn a_bulk_request_that_is_no_list_of_entries_stores_nothing() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for body in
        ["", "{}", "[1]", "[{\"key\":\"a\",\"value\":1},{}]", "[{\"key\":\"a\",\"value\":1,\"x\":1}]", "["]
    {
        client.request("POST", "/data/bulk").json(body).send().await.problem(ErrorCode::BadJson);
    }
    for body in ["", "{}", "[1]", "\"a\"", "[\"a\""] {
        client.request("POST", "/data/bulk/get").json(body).send().await.problem(ErrorCode::BadJson);
    }
    client.get("/data/a").await.problem(ErrorCode::NotFound);
    for path in ["/data/bulk", "/data/bulk/get"] {
        client.request("POST", path).body("[]").send().await.problem(ErrorCode::UnsupportedMediaType);
        assert_eq!(client.post(path, &json!([])).await.status, 200);
    }
}

#[tokio::test]
async fn a_bulk_request_is_bounded_in_items_and_in_bytes() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let keys: Vec<_> = (0..1001).map(|n| n.to_string()).collect();
    let refused = client.post("/data/bulk/get", &json!(keys)).await.problem(ErrorCode::TooLarge);
    assert!(refused.detail.contains("1000"), "{}", refused.detail);
    assert_eq!(client.post("/data/bulk/get", &json!(keys[..1000])).await.status, 200);
    let entries: Vec<_> = keys.iter().map(|key| json!({ "key": key, "value": 1 })).collect();
    client.post("/data/bulk", &json!(entries)).await.problem(ErrorCode::TooLarge);
    let large: Vec<_> =
        (0..9).map(|n| json!({ "key": n.to_string(), "value": "x".repeat(1 << 20) })).collect();
    client.post("/data/bulk", &json!(large)).await.problem(ErrorCode::TooLarge);
    assert_eq!(client.post("/data/bulk", &json!(large[..7])).await.status, 200);
}

#[tokio::test]
async fn bulk_is_a_key_like_any_other() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    client.store("bulk", "posted").await;
    assert_eq!(client.get("/data/bulk").await.json()["value"], "posted");
    assert_eq!(client.put("/data/bulk", "put").await.status, 200);
    assert_eq!(client.get("/data/bulk?raw").await.text(), "put");
    assert_eq!(client.request("HEAD", "/data/bulk").send().await.status, 200);
    assert_eq!(client.request("DELETE", "/data/bulk").send().await.status, 200);
    client.get("/data/bulk").await.problem(ErrorCode::NotFound);
    assert_eq!(client.put("/data/%62ulk", "escaped").await.status, 200);
    assert_eq!(client.get("/data/bulk?raw").await.text(), "escaped");
    assert_eq!(client.put("/data/bulk%2Fget", "with a slash").await.status, 200);
    assert_eq!(client.get("/data/bulk%2Fget?raw").await.text(), "with a slash");
}
