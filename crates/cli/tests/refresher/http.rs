//! What a replica serves.

use annulus_protocol::ErrorCode;
use annulus_testkit::{Client, eventually};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Group, LIMIT, NAME, Reply, Shape};

async fn rates() -> Group {
    let dataset = "key = 'rates/{currency}'\nitems = '/rates'".to_owned();
    let mut group = Group::new(Shape { dataset, interval: "500ms", ..Shape::default() }).await;
    let body = "{\"base\":\"EUR\",\"rates\":{\"USD\":1.10,\"a/b é\":{\"x\":[1]}}}";
    group.upstream.answer(Reply::Tagged(body.to_owned(), "v1".to_owned()));
    group.add(group.redis.address()).await;
    group.ready().await;
    group
}

/// Lines of a stream of events.
async fn events(group: &Group, headers: &str) -> tokio::io::Lines<BufReader<TcpStream>> {
    let mut io = TcpStream::connect(group.replicas[0].address()).await.unwrap();
    let request = format!("GET /datasets/{NAME}/events HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    BufReader::new(io).lines()
}

/// The next line that begins so.
async fn next(lines: &mut tokio::io::Lines<BufReader<TcpStream>>, begin: &str) -> String {
    let find = async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the stream goes on");
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.to_owned();
            }
        }
    };
    timeout(LIMIT, find).await.unwrap_or_else(|_| panic!("no line begins with {begin}"))
}

#[tokio::test]
async fn a_dataset_and_its_items_are_served_as_the_upstream_wrote_them() {
    let group = rates().await;
    let client = group.replicas[0].client();
    let whole = client.get(format!("/datasets/{NAME}")).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, Some("application/json")));
    assert!(whole.text().starts_with("{\"base\":\"EUR\""), "{}", whole.text());
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", group.revision(0).await));
    assert!(whole.header("age").unwrap().parse::<u64>().unwrap() < 60);

    for (path, value) in [("USD", "1.10"), ("a%2Fb%20%C3%A9", "{\"x\":[1]}"), ("a/b%20%C3%A9", "{\"x\":[1]}")]
    {
        let item = client.get(format!("/datasets/{NAME}/{path}")).await;
        assert_eq!((item.status, item.text(), item.header("etag")), (200, value, Some(etag.as_str())));
        assert_eq!(item.header("content-type"), Some("application/json"));
    }
    for path in [format!("/datasets/{NAME}"), format!("/datasets/{NAME}/USD")] {
        let known = client.request("GET", &*path).header("if-none-match", etag.clone()).send().await;
        assert_eq!((known.status, known.header("etag")), (304, Some(etag.as_str())));
        let other = client.request("GET", &*path).header("if-none-match", "\"1\"").send().await;
        assert_eq!(other.status, 200);
        let head = client.request("HEAD", &*path).send().await;
        assert_eq!((head.status, head.header("etag")), (200, Some(etag.as_str())));
    }
    let list = client.get("/datasets").await.json();
    assert_eq!(list["datasets"][0]["name"], NAME);
    assert_eq!(list["datasets"][0]["items"], 2);
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let group = rates().await;
    let client = group.replicas[0].client();
    client.get("/datasets/other").await.problem(ErrorCode::NotFound);
    client.get("/datasets/other/x").await.problem(ErrorCode::NotFound);
    client.get("/datasets/other/events").await.problem(ErrorCode::NotFound);
    client.get(format!("/datasets/{NAME}/EUR")).await.problem(ErrorCode::NotFound);
    client.get("/nothing").await.problem(ErrorCode::NoRoute);
    client.post("/datasets", &json!({})).await.problem(ErrorCode::MethodNotAllowed);
    let tag = client.request("GET", format!("/datasets/{NAME}")).header("if-none-match", "nonsense");
    tag.send().await.problem(ErrorCode::BadRequest);

    let mut empty = Group::new(Shape::default()).await;
    empty
        .upstream
        .answer(Reply::Raw("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned()));
    empty.add(empty.redis.address()).await;
    let client: Client = empty.replicas[0].client();
    client.get(format!("/datasets/{NAME}")).await.problem(ErrorCode::Unavailable);
    assert_eq!(client.get("/ready").await.status, 503);
    let health = client.get("/health").await;
    assert_eq!((health.status, &health.json()["data_fresh"]), (200, &json!(false)));
    assert_eq!(health.json()["datasets"][NAME]["memory_cache_size"], 0);
}

#[tokio::test]
async fn health_says_who_leads_and_what_is_in_memory() {
    let group = rates().await;
    group.leader().await;
    let health = group.health(0).await;
    assert_eq!(health["role"], "refresher");
    for field in ["is_leader", "redis_connected", "data_fresh"] {
        assert_eq!(health[field], true, "{health}");
    }
    assert_eq!(health["status"], "ok", "{health}");
    let dataset = &health["datasets"][NAME];
    assert_eq!((&dataset["data_fresh"], &dataset["memory_cache_size"]), (&json!(true), &json!(2)));
    assert!(dataset["last_error"].is_null());
}

#[tokio::test]
async fn each_new_revision_is_an_event_and_a_stream_resumes_where_it_was() {
    let group = rates().await;
    let first = group.revision(0).await;
    let mut stream = events(&group, "").await;
    assert_eq!(next(&mut stream, "content-type: ").await, "text/event-stream");
    assert_eq!(next(&mut stream, "id: ").await, first.to_string());
    assert_eq!(next(&mut stream, "event: ").await, "updated");
    let data: serde_json::Value = serde_json::from_str(&next(&mut stream, "data: ").await).unwrap();
    assert_eq!((&data["dataset"], &data["revision"]), (&json!(NAME), &json!(first)));

    // Who has seen it is told of the next one only.
    let mut resumed = events(&group, &format!("last-event-id: {first}\r\n")).await;
    assert_eq!(next(&mut resumed, "HTTP/1.1 ").await, "200 OK");
    group.upstream.answer(Reply::Tagged("{\"rates\":{\"USD\":1.11}}".to_owned(), "v2".to_owned()));
    let second = next(&mut resumed, "id: ").await;
    assert!(second.parse::<u64>().unwrap() > first);
    assert_eq!(next(&mut stream, "id: ").await, second);
    let mut late = events(&group, &format!("last-event-id: {first}\r\n")).await;
    assert_eq!(next(&mut late, "id: ").await, second, "and what was missed meanwhile comes at once");
    let mut wrong = events(&group, "last-event-id: x\r\n").await;
    assert_eq!(next(&mut wrong, "HTTP/1.1 ").await, "400 Bad Request");
}

#[tokio::test]
async fn streams_are_bounded_and_end_with_their_clients() {
    let flags = ["--set", "refresher.max_streams=2"].map(str::to_owned).to_vec();
    let group = Group::start(Shape { flags, ..Shape::default() }, 1).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = events(&group, "").await;
        next(&mut stream, "id: ").await;
        open.push(stream);
    }
    let client = group.replicas[0].client();
    client.get(format!("/datasets/{NAME}/events")).await.problem(ErrorCode::Overloaded);
    open.clear();
    eventually("they are free again", LIMIT, async || {
        let mut stream = events(&group, "").await;
        next(&mut stream, "HTTP/1.1 ").await == "200 OK"
    })
    .await;
}
