//! The client against a small server that answers as a master does, and against servers that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use annulus_client::{Client, Error, ErrorCode, Problem, SetOptions, Version, only_if_absent};
use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use tokio::net::TcpListener;

/// Serves `app` on a port of its own and gives its URL.
async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

/// The URL of a port that nobody listens on.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn problem(code: ErrorCode, detail: &str) -> Response {
    let body = Problem::new(code, detail).to_json();
    let status = StatusCode::from_u16(code.status()).unwrap();
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

fn client(urls: &[&str]) -> Client {
    Client::builder().masters(urls.iter().copied()).timeout(Duration::from_secs(2)).build().unwrap()
}

#[tokio::test]
async fn a_value_comes_with_its_type_version_and_time_left() {
    let entry =
        [("etag", "\"42\""), ("content-type", "text/html"), ("cache-control", "max-age=60"), ("age", "15")];
    let url = serve(Router::new().route("/data/{key}", get(move || async move { (entry, "<p>") }))).await;
    let value = client(&[&url]).get("a").await.unwrap().unwrap();
    assert_eq!((&value.bytes[..], value.content_type.as_str()), (&b"<p>"[..], "text/html"));
    assert_eq!((value.version, value.ttl_seconds), (Version(42), Some(45)));
}

#[tokio::test]
async fn a_miss_is_none_and_an_error_is_an_error() {
    let answer = |uri: Uri| async move {
        match uri.path() {
            "/data/missing" => problem(ErrorCode::NotFound, "there is no entry under this key"),
            "/data/broken" => problem(ErrorCode::Unavailable, "2 of 2 owners do not answer"),
            _ => (StatusCode::NOT_FOUND, "nginx").into_response(),
        }
    };
    let url = serve(Router::new().fallback(answer)).await;
    let client = client(&[&url]);
    assert_eq!(client.get("missing").await.unwrap(), None);
    assert_eq!(client.delete("missing").await.unwrap(), None);
    let error = client.get("broken").await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::Unavailable));
    assert!(error.to_string().contains("2 of 2 owners"), "{error}");
    assert!(matches!(client.get("other").await, Err(Error::Answer { status: 404, .. })));
}

#[tokio::test]
async fn any_bytes_are_a_key_but_for_the_two_that_no_url_can_carry() {
    let echo = |uri: Uri| async move { ([("etag", "\"1\"")], uri.path().to_owned()) };
    let url = serve(Router::new().fallback(echo)).await;
    let client = client(&[&url]);
    for (key, path) in [
        (&b"a/b"[..], "/data/a%2Fb"),
        (b"%2F", "/data/%252F"),
        (b" \r\n\0", "/data/%20%0D%0A%00"),
        (b"\xff\xfe", "/data/%FF%FE"),
        (b"...", "/data/..."),
        (b"?#:@;", "/data/%3F%23%3A%40%3B"),
        ("🦀".as_bytes(), "/data/%F0%9F%A6%80"),
    ] {
        let value = client.get(key).await.unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&value.bytes).unwrap(), path);
    }
    assert!(matches!(client.get(".").await, Err(Error::DotKey("."))));
    assert!(matches!(client.set("..", "", &SetOptions::default()).await, Err(Error::DotKey(".."))));
    assert!(matches!(client.get([b'k'; 251]).await, Err(Error::Key(_))));
}

#[tokio::test]
async fn a_write_says_what_it_stores_and_on_which_condition() {
    let echo = |request: Request| async move {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1000).await.unwrap();
        let text = |name: header::HeaderName| parts.headers[name].to_str().unwrap().to_owned();
        assert_eq!((parts.uri.query(), &body[..]), (Some("ttl=60"), &b"[1]"[..]));
        assert_eq!(
            (text(header::CONTENT_TYPE), text(header::IF_NONE_MATCH)),
            ("application/json".into(), "*".into())
        );
        ([("content-type", "application/json")], r#"{"key":"a","version":"9"}"#)
    };
    let url = serve(Router::new().fallback(echo)).await;
    let options = SetOptions { ttl_seconds: Some(60), condition: only_if_absent(), ..SetOptions::default() };
    assert_eq!(client(&[&url]).set_json("a", &[1], &options).await.unwrap(), Version(9));
}

#[tokio::test]
async fn a_master_that_is_away_is_passed_over_and_one_that_answers_is_kept() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let count = move || async move {
        counter.fetch_add(1, Ordering::Relaxed);
        ([("etag", "\"1\"")], "x")
    };
    let (away, there) = (nobody().await, serve(Router::new().fallback(any(count))).await);
    let client = client(&[&away, &there]);
    for _ in 0..3 {
        client.get("a").await.unwrap().unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let conditional = SetOptions { condition: only_if_absent(), ..SetOptions::default() };
    // Nothing was sent to the master that is away, so a conditional write goes on as well.
    let fresh = Client::builder().masters([&away, &there]).build().unwrap();
    let answered = fresh.set("a", "x", &conditional).await;
    assert!(matches!(answered, Err(Error::Answer { .. })), "the echo is no answer to a write: {answered:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_master_that_hangs_leaves_time_to_ask_the_next_unless_the_write_is_conditional() {
    let hangs = serve(Router::new().fallback(any(std::future::pending::<()>))).await;
    let ok = |headers: HeaderMap, _: Bytes| async move {
        let has_condition = headers.contains_key(header::IF_NONE_MATCH);
        ([("content-type", "application/json")], format!(r#"{{"key":"{has_condition}","version":"3"}}"#))
    };
    let there = serve(Router::new().fallback(any(ok))).await;
    let client =
        || Client::builder().masters([&hangs, &there]).timeout(Duration::from_millis(400)).build().unwrap();
    assert_eq!(client().set("a", "x", &SetOptions::default()).await.unwrap(), Version(3));
    let conditional = SetOptions { condition: only_if_absent(), ..SetOptions::default() };
    assert!(matches!(client().set("a", "x", &conditional).await, Err(Error::Timeout { .. })));
}

#[tokio::test]
async fn when_nobody_answers_the_error_names_all_and_says_what_to_do() {
    let (one, two) = (nobody().await, nobody().await);
    let error = client(&[&one, &two]).nodes().await.unwrap_err().to_string();
    assert!(error.contains(&one) && error.contains(&two), "{error}");
    assert!(error.contains("refused") && error.contains("annulus dev"), "{error}");
}

#[tokio::test]
async fn an_answer_over_the_limit_is_refused() {
    let url = serve(Router::new().fallback(any(|| async { ([("etag", "\"1\"")], vec![0_u8; 5000]) }))).await;
    let client = Client::builder().master(&url).max_answer_bytes(4999).build().unwrap();
    assert!(matches!(client.get("a").await, Err(Error::TooLarge { max: 4999 })));
}
