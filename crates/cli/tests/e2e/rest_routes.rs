//! Routes, methods and media types; what is there for operators.

use std::collections::BTreeSet;

use annulus_protocol::ErrorCode;
use serde_json::{Value, json};

use crate::support::cluster;

#[tokio::test]
async fn a_method_that_a_route_does_not_take_is_answered_with_those_that_it_takes() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for (method, path, allowed) in [
        ("GET", "/data", "POST"),
        ("PUT", "/data", "POST"),
        ("DELETE", "/data", "POST"),
        ("POST", "/data/k", "DELETE,GET,HEAD,PUT"),
        ("PATCH", "/data/k", "DELETE,GET,HEAD,PUT"),
        ("BREW", "/data/k", "DELETE,GET,HEAD,PUT"),
        ("PATCH", "/data/bulk", "DELETE,GET,HEAD,POST,PUT"),
        ("GET", "/data/bulk/get", "POST"),
        ("DELETE", "/nodes", "GET,HEAD,POST"),
        ("PUT", "/nodes/aux-1", "DELETE,GET,HEAD"),
        ("GET", "/backup", "POST"),
        ("POST", "/health", "GET,HEAD"),
        ("DELETE", "/metrics", "GET,HEAD"),
        ("POST", "/openapi.json", "GET,HEAD"),
        ("GET", "/config/reload", "POST"),
        ("POST", "/", "GET,HEAD"),
    ] {
        let answer = client.request(method, path).send().await;
        answer.problem(ErrorCode::MethodNotAllowed);
        let allow: BTreeSet<_> =
            answer.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
        assert_eq!(allow.into_iter().collect::<Vec<_>>().join(","), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_path_that_is_no_route_is_a_problem_that_says_where_to_look() {
    let cluster = cluster().await;
    for path in ["/nope", "/data/a/b/c", "/nodes/a/b", "/Data/k", "//", "/openapi.yaml"] {
        let problem = cluster.client(0).get(path).await.problem(ErrorCode::NoRoute);
        assert!(problem.detail.contains("openapi.json") || problem.detail.contains("%2F"), "{path}");
    }
    cluster.auxiliary(0).get("/data/k").await.problem(ErrorCode::NoRoute);
}

#[tokio::test]
async fn json_is_taken_only_under_its_own_media_type() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let document = json!({ "key": "k", "value": 1 }).to_string();
    let post = |media_type: &str| {
        client.request("POST", "/data").header("content-type", media_type).body(&*document).send()
    };
    for media_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "json"] {
        post(media_type).await.problem(ErrorCode::UnsupportedMediaType);
    }
    client.request("POST", "/data").body(&*document).send().await.problem(ErrorCode::UnsupportedMediaType);
    for media_type in ["application/json", "Application/JSON; charset=utf-8"] {
        assert_eq!(post(media_type).await.status, 200, "{media_type}");
    }
}

#[tokio::test]
async fn a_fixed_list_is_changed_by_no_request() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let removed = client.request("DELETE", "/nodes/aux-1").send().await;
    assert!(removed.text().contains("cluster.auxiliaries"), "{}", removed.text());
    removed.problem(ErrorCode::Conflict);
    client.request("DELETE", "/nodes/aux-9").send().await.problem(ErrorCode::NotFound);
    assert_ne!(client.request("POST", "/nodes").send().await.status / 100, 2);
    assert_eq!(client.get("/nodes").await.json()["nodes"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn both_masters_show_the_same_nodes() {
    let cluster = cluster().await;
    cluster.client(0).store("k", "v").await;
    let lists = [cluster.client(0).get("/nodes").await.json(), cluster.client(1).get("/nodes").await.json()];
    assert_eq!(lists[0], lists[1]);
    let [list, _] = lists;
    assert_eq!((list["replicas"].as_u64(), list["nodes"].as_array().map(Vec::len)), (Some(2), Some(3)));
    let sum = |of: &dyn Fn(&Value) -> f64| list["nodes"].as_array().unwrap().iter().map(of).sum::<f64>();
    let share = sum(&|node| node["ring_share"].as_f64().unwrap());
    assert!((share - 1.0).abs() < 1e-9, "{share}");
    let items = sum(&|node| node["store"]["items"].as_f64().unwrap());
    assert!((items - 2.0).abs() < 1e-9, "two copies: {list}");
    let one = cluster.client(1).get("/nodes/aux-2").await.json();
    assert_eq!((&one["id"], &one["state"]), (&json!("aux-2"), &json!("up")));
    cluster.client(0).get("/nodes/aux-9").await.problem(ErrorCode::NotFound);
}

#[tokio::test]
async fn health_and_readiness_are_told_by_every_node() {
    let cluster = cluster().await;
    let master = cluster.client(0).get("/health").await.json();
    assert_eq!(
        (&master["status"], &master["role"], &master["name"]),
        (&json!("ok"), &json!("master"), &json!("master-1"))
    );
    assert_eq!(master["nodes"], json!({ "up": 3, "suspect": 0, "down": 0 }));
    let auxiliary = cluster.auxiliary(1).get("/health").await.json();
    assert_eq!((&auxiliary["role"], &auxiliary["name"]), (&json!("auxiliary"), &json!("aux-2")));
    assert_eq!(auxiliary["store"]["max_bytes"], 64 << 20);
    for client in [cluster.client(1), cluster.auxiliary(2)] {
        assert_eq!(client.get("/ready").await.json(), json!({ "ready": true }));
    }
}

#[tokio::test]
async fn the_interface_is_described_and_can_be_tried() {
    let cluster = cluster().await;
    let document = cluster.client(0).get("/openapi.json").await;
    assert_eq!((document.status, document.header("content-type")), (200, Some("application/json")));
    let document = document.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."), "{}", document["openapi"]);
    let paths: BTreeSet<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "/backup",
        "/config/reload",
        "/data",
        "/data/bulk",
        "/data/bulk/get",
        "/data/{key}",
        "/health",
        "/jobs/{id}",
        "/metrics",
        "/nodes",
        "/nodes/{id}",
        "/ready",
        "/rebalance",
        "/restore",
    ];
    assert_eq!(paths, BTreeSet::from(expected));
    let page = cluster.client(0).get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().contains("openapi.json"));
}
