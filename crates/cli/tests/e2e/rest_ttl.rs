//! Times to live, deadlines of requests, and the identity of requests.

use std::time::Duration;

use annulus_protocol::ErrorCode;
use annulus_testkit::{Answer, Client, eventually};
use serde_json::json;
use tokio::time::Instant;

use crate::support::cluster;

/// How long a cache in between may keep an answer, and how old the entry says it is.
fn freshness(answer: &Answer) -> (u64, u64) {
    let max_age = answer.header("cache-control").and_then(|value| value.strip_prefix("max-age="));
    let number = |text: Option<&str>| text.and_then(|text| text.parse().ok()).expect("a number of seconds");
    (number(max_age), number(answer.header("age")))
}

async fn ttl_of(client: Client, key: &str) -> Option<u64> {
    client.get(format!("/data/{key}")).await.json()["ttl"].as_u64()
}

#[tokio::test]
async fn an_entry_is_served_until_its_time_and_not_after() {
    let cluster = cluster().await;
    let written = Instant::now();
    let stored = cluster.client(0).post("/data", &json!({ "key": "k", "value": "v", "ttl": 2 })).await;
    let acknowledged = Instant::now();
    assert!(stored.json()["expires_at"].is_u64(), "{}", stored.text());
    let mut last_hit = acknowledged;
    let gone = async || {
        let asked = Instant::now();
        let answers = [cluster.client(0).get("/data/k").await, cluster.client(1).get("/data/k").await];
        match answers.each_ref().map(|answer| answer.status) {
            [200, 200] => {
                let (max_age, age) = freshness(&answers[0]);
                assert!(max_age - age <= 2 && age <= 2, "max-age {max_age}, age {age}");
                assert!((1..=2).contains(&answers[0].json()["ttl"].as_u64().unwrap()));
                last_hit = asked;
                false
            }
            statuses => statuses == [404, 404],
        }
    };
    eventually("the entry expires", Duration::from_secs(4), gone).await;
    let ended = Instant::now();
    let late = last_hit - acknowledged;
    assert!(late < Duration::from_secs(2), "served {late:?} after the acknowledgement");
    // What is between the two clocks of an acknowledgement and an answer may take a moment on a busy machine.
    assert!(ended - written >= Duration::from_millis(1990), "gone after {:?}", ended - written);
}

#[tokio::test]
async fn a_put_takes_its_time_to_live_from_the_query_or_else_from_the_header() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let put =
        |target: &str| client.request("PUT", target).body("v").header("cache-control", "public, max-age=300");
    assert_eq!(put("/data/header").send().await.status, 200);
    assert_eq!(put("/data/query?ttl=60").send().await.status, 200);
    assert_eq!(put("/data/never?ttl=0").send().await.status, 200);
    assert!(matches!(ttl_of(client, "header").await, Some(299..=300)));
    assert!(matches!(ttl_of(client, "query").await, Some(59..=60)));
    assert_eq!(ttl_of(client, "never").await, None);
    let (max_age, age) = freshness(&client.get("/data/header").await);
    assert!((298..=300).contains(&(max_age - age)), "max-age {max_age}, age {age}");
}

#[tokio::test]
async fn a_write_without_a_time_to_live_takes_the_old_one_away() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    client.post("/data", &json!({ "key": "k", "value": "v", "ttl": 100 })).await;
    assert!(ttl_of(client, "k").await.is_some());
    client.post("/data", &json!({ "key": "k", "value": "v" })).await;
    assert_eq!(ttl_of(client, "k").await, None);
}

#[tokio::test]
async fn a_time_to_live_out_of_range_is_refused_wherever_it_stands() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for ttl in ["-1", "1.5", "1e400", "\"60\"", "315360001", "99999999999999999999"] {
        let document = format!(r#"{{"key":"k","value":"v","ttl":{ttl}}}"#);
        client.request("POST", "/data").json(document).send().await.problem(ErrorCode::BadTtl);
    }
    for ttl in ["-1", "1.5", "+1", "x", "", "315360001"] {
        client.put(format!("/data/k?ttl={ttl}"), "v").await.problem(ErrorCode::BadTtl);
        let by_header = client.request("PUT", "/data/k").header("cache-control", format!("max-age={ttl}"));
        by_header.send().await.problem(ErrorCode::BadTtl);
    }
    client.get("/data/k").await.problem(ErrorCode::NotFound);
}

#[tokio::test]
async fn a_deadline_is_taken_within_its_range_and_refused_outside() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    client.store("k", "v").await;
    let with = |deadline: &str| client.request("GET", "/data/k").header("x-deadline-ms", deadline).send();
    for deadline in ["500", "2000"] {
        assert_eq!(with(deadline).await.status, 200, "{deadline}");
    }
    for deadline in ["0", "2001", "-1", "1.5", "soon", ""] {
        with(deadline).await.problem(ErrorCode::BadRequest);
    }
}

#[tokio::test]
async fn every_answer_carries_the_trace_of_its_request() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    for target in ["/data/absent", "/data/%zz"] {
        let answer = client.request("GET", target).header("traceparent", &*parent).send().await;
        assert_eq!(answer.header("x-request-id"), Some(trace), "{target}");
    }
    let made = |answer: Answer| answer.header("x-request-id").unwrap_or_default().to_owned();
    let (first, second) = (made(client.get("/data/a").await), made(client.get("/data/a").await));
    assert!(first.len() == 32 && first != second, "{first} {second}");
    for forged in ["00-xyz-1-01", "a\tb", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        let answer = client.request("GET", "/data/a").header("traceparent", forged).send().await;
        let id = made(answer);
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{forged}: {id}");
        assert_ne!(id, "0".repeat(32));
    }
}
