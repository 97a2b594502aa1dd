//! Requests that no well-meaning client sends. Each gets a clear 4xx or a closed connection, and the next good request
//! gets its answer.

use std::time::Duration;

use annulus_protocol::ErrorCode;
use annulus_testkit::{Client, InProcess, RawHttp, Received};

use crate::support::cluster;

const PATIENCE: Duration = Duration::from_secs(8);

/// What a connection that sends `bytes` and no more is told: a status, or `None` where it is closed.
async fn told(cluster: &InProcess, bytes: &[u8], finish: bool) -> Option<u16> {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]);
    let mut connection = RawHttp::connect(cluster.address(0)).await.expect("a connection");
    // The server may have seen enough before all is sent.
    let _ = connection.send(bytes).await;
    if finish {
        let _ = connection.finish_sending().await;
    }
    match connection.receive(PATIENCE).await {
        Received::Answer(answer) => {
            assert!((400..500).contains(&answer.status), "{}: {:?}", answer.status, shown);
            Some(answer.status)
        }
        Received::Closed => None,
        Received::Nothing => panic!("neither answered nor closed: {shown:?}"),
    }
}

async fn still_serves(client: Client) {
    client.store("still", "here").await;
    assert_eq!(client.get("/data/still").await.json()["value"], "here");
}

#[tokio::test]
async fn a_body_that_is_not_the_json_asked_for_is_refused_with_its_fault_named() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for (body, named) in [
        ("", "EOF"),
        ("   ", "EOF"),
        ("hello", "expected"),
        ("[]", "length"),
        ("null", "null"),
        ("{\"key\":\"k\"}", "value"),
        ("{\"value\":1}", "key"),
        ("{\"key\":1,\"value\":1}", "string"),
        ("{\"key\":\"k\",\"value\":1,\"tll\":5}", "tll"),
        ("{\"key\":\"k\",\"key\":\"j\",\"value\":1}", "duplicate field `key`"),
        ("{\"key\":\"k\",\"value\":1,\"value\":2}", "duplicate field `value`"),
        ("{\"key\":\"k\",\"value\":1,\"ttl\":1,\"ttl\":2}", "duplicate field `ttl`"),
        ("{\"key\":\"k\",\"value\":1} x", "trailing"),
        ("{\"key\":\"k\",\"value\":1", "EOF"),
        ("{\"key\":\"k\",\"value\":\"\\ud800\"}", "value"),
        ("{\"key\":\"\\ud800\",\"value\":1}", ""),
        ("{'key':'k','value':1}", "key"),
        ("{\"key\":\"k\",\"value\":NaN}", ""),
        ("{\"key\":\"k\",\"value\":01}", ""),
    ] {
        let problem = client.request("POST", "/data").json(body).send().await.problem(ErrorCode::BadJson);
        assert!(problem.detail.contains(named), "{body}: {}", problem.detail);
    }
    let not_text =
        client.request("POST", "/data").json(b"{\"key\":\"\xff\",\"value\":1}".to_vec()).send().await;
    not_text.problem(ErrorCode::BadJson);
    still_serves(client).await;
}

#[tokio::test]
async fn json_may_nest_deep_and_not_deeper() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let store = |value: String| {
        client.request("POST", "/data").json(format!("{{\"key\":\"k\",\"value\":{value}}}")).send()
    };
    assert_eq!(store(nested(128)).await.status, 200);
    assert_eq!(client.get("/data/k?raw").await.text(), nested(128));
    for depth in [129, 100_000] {
        store(nested(depth)).await.problem(ErrorCode::BadJson);
    }
    store("[".repeat(500_000)).await.problem(ErrorCode::BadJson);
    for path in ["/data/bulk", "/data/bulk/get"] {
        client.request("POST", path).json("[".repeat(500_000)).send().await.problem(ErrorCode::BadJson);
    }
    still_serves(client).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_also_where_its_length_is_not_declared() {
    let cluster = cluster().await;
    let body = vec![b'x'; (1 << 20) + 1];
    let chunk = [format!("{:x}\r\n", body.len()).as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    let head = "PUT /data/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(told(&cluster, &[head.as_bytes(), &chunk].concat(), false).await, Some(413));
    let head = "PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: 18446744073709551615\r\n\r\n";
    told(&cluster, head.as_bytes(), false).await;
    cluster.client(0).get("/data/k").await.problem(ErrorCode::NotFound);
    still_serves(cluster.client(0)).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let cluster = cluster().await;
    for request in [
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nonly this",
        "POST /data HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"key\":\"k\",",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n64\r\nonly this",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n",
    ] {
        assert!(matches!(told(&cluster, request.as_bytes(), true).await, Some(400) | None), "{request}");
    }
    cluster.client(0).get("/data/k").await.problem(ErrorCode::NotFound);
    still_serves(cluster.client(0)).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused_or_closed() {
    let cluster = cluster().await;
    let long_header = format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many_headers = format!("GET /health HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(50_000));
    let long_path = format!("GET /data/{} HTTP/1.1\r\nhost: x\r\n\r\n", "k".repeat(200_000));
    for request in [
        "\r\n\r\n\r\nhello\r\n\r\n",
        "GET\r\n\r\n",
        "GET /health\r\n\r\n",
        "GET /health HTTP/9.9\r\nhost: x\r\n\r\n",
        "GET /he alth HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /data/\0 HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET health HTTP/1.1\r\nhost: x\r\n\r\n",
        "G\u{e9}T /health HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a\0b\r\n\r\n",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\nab",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: 1x\r\n\r\nab",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\nab",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "PUT /data/k HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\u{16}\u{3}\u{1}\0\u{a5}\u{1}\0\0\u{a1}\u{3}\u{3}\r\n\r\n",
        &long_header,
        &many_headers,
        &long_path,
    ] {
        told(&cluster, request.as_bytes(), true).await;
    }
    cluster.client(0).get("/data/k").await.problem(ErrorCode::NotFound);
    still_serves(cluster.client(0)).await;
}

#[tokio::test]
async fn a_request_with_both_framings_is_never_two_requests() {
    let cluster = cluster().await;
    let smuggled = "0\r\n\r\nDELETE /data/still HTTP/1.1\r\nhost: x\r\n\r\n";
    let head = format!("PUT /data/k HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n", smuggled.len());
    still_serves(cluster.client(0)).await;
    let mut connection = RawHttp::connect(cluster.address(0)).await.expect("a connection");
    connection.send(format!("{head}transfer-encoding: chunked\r\n\r\n{smuggled}")).await.expect("sent");
    connection.finish_sending().await.expect("finished");
    assert!(connection.closes_within(PATIENCE).await);
    assert_eq!(cluster.client(0).get("/data/still").await.json()["value"], "here");
}

#[tokio::test]
async fn an_unknown_or_bad_parameter_is_named_before_anything_happens() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for target in ["/data/k?tll=5", "/data/k?raw=perhaps", "/data/k?consistency=", "/data/k?RAW"] {
        for method in ["GET", "PUT", "DELETE"] {
            client.request(method, target).send().await.problem(ErrorCode::BadRequest);
        }
    }
    let long_type = "x".repeat(128);
    let put = client.request("PUT", "/data/k").header("content-type", long_type).body("v");
    assert!(put.send().await.problem(ErrorCode::BadRequest).detail.contains("127"));
    client.get("/data/k").await.problem(ErrorCode::NotFound);
}

#[tokio::test]
async fn requests_in_one_packet_are_answered_in_their_order() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let requests: Vec<u8> = (0..100)
        .flat_map(|n| {
            let put = client.request("PUT", format!("/data/k{n}")).body(format!("v{n}")).bytes();
            [put, client.request("GET", format!("/data/k{n}?raw")).bytes()].concat()
        })
        .collect();
    let mut connection = RawHttp::connect(cluster.address(0)).await.expect("a connection");
    connection.send(&requests).await.expect("sent");
    for n in 0..100 {
        assert_eq!(connection.receive(PATIENCE).await.answer().status, 200);
        assert_eq!(connection.receive(PATIENCE).await.answer().text(), format!("v{n}"));
    }
}
