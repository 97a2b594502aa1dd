//! Conditional requests, alone and in a race.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use annulus_protocol::ErrorCode;
use annulus_testkit::{Answer, Client};
use serde_json::json;

use crate::support::cluster;

const WRITERS: usize = 8;
const WRITES_EACH: usize = 10;

async fn put_if(client: Client, key: &str, header: &str, condition: &str, value: &str) -> Answer {
    client.request("PUT", format!("/data/{key}")).header(header, condition).body(value).send().await
}

#[tokio::test]
async fn an_entry_is_added_only_where_there_is_none() {
    let cluster = cluster().await;
    let [one, other] = [cluster.client(0), cluster.client(1)];
    assert_eq!(put_if(one, "k", "if-none-match", "*", "first").await.status, 200);
    put_if(other, "k", "if-none-match", "*", "second").await.problem(ErrorCode::PreconditionFailed);
    assert_eq!(other.get("/data/k?raw").await.text(), "first");
    assert_eq!(one.request("DELETE", "/data/k").send().await.status, 200);
    assert_eq!(put_if(other, "k", "if-none-match", "*", "third").await.status, 200);
    assert_eq!(one.get("/data/k?raw").await.text(), "third");
}

#[tokio::test]
async fn what_the_client_has_already_is_not_sent_again() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let etag = format!("\"{}\"", client.store("k", "v").await);
    let get_if =
        |tags: String| cluster.client(1).request("GET", "/data/k").header("if-none-match", tags).send();
    for tags in [etag.clone(), format!("\"1\", {etag}"), "*".to_owned()] {
        let answer = get_if(tags.clone()).await;
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{tags}");
        assert_eq!(answer.header("etag"), Some(&*etag), "{tags}");
    }
    assert_eq!(get_if("\"1\"".to_owned()).await.status, 200);
    get_if("not quoted".to_owned()).await.problem(ErrorCode::BadRequest);
}

#[tokio::test]
async fn an_entry_is_changed_only_where_it_is_still_the_one_that_was_read() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let first = format!("\"{}\"", client.store("k", "first").await);
    let changed = put_if(client, "k", "if-match", &first, "second").await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let second = changed.header("etag").unwrap().to_owned();
    assert_ne!(first, second);
    let refused = put_if(cluster.client(1), "k", "if-match", &first, "third").await;
    assert!(refused.problem(ErrorCode::PreconditionFailed).detail.contains(second.trim_matches('"')));
    put_if(client, "absent", "if-match", &first, "v").await.problem(ErrorCode::PreconditionFailed);
    put_if(client, "absent", "if-match", "*", "v").await.problem(ErrorCode::PreconditionFailed);
    put_if(client, "k", "if-match", &format!("W/{second}"), "v").await.problem(ErrorCode::PreconditionFailed);
    put_if(client, "k", "if-match", "17", "v").await.problem(ErrorCode::BadRequest);
    assert_eq!(client.get("/data/k?raw").await.text(), "second");
}

#[tokio::test]
async fn conditions_hold_for_json_writes_and_for_deletes_too() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    let etag = format!("\"{}\"", client.store("k", "v").await);
    let post = |tags: &str| {
        let document = json!({ "key": "k", "value": "w" }).to_string();
        client.request("POST", "/data").header("if-match", tags).json(document).send()
    };
    let delete = |tags: &str| client.request("DELETE", "/data/k").header("if-match", tags).send();
    post("\"1\"").await.problem(ErrorCode::PreconditionFailed);
    delete("\"1\"").await.problem(ErrorCode::PreconditionFailed);
    let posted = post(&etag).await;
    assert_eq!(posted.status, 200);
    assert_eq!(delete(posted.header("etag").unwrap()).await.status, 200);
    client.get("/data/k").await.problem(ErrorCode::NotFound);
}

/// Each writer adds its own words to one list, by compare-and-swap, through the two masters in turn. A write that is
/// acknowledged must be in the list for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_writers_through_two_masters_lose_no_update() {
    let cluster = cluster().await;
    cluster.client(0).put("/data/list", "").await;
    let unknown = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let clients = [cluster.client(0), cluster.client(1)];
            let unknown = Arc::clone(&unknown);
            tokio::spawn(async move {
                for n in 0..WRITES_EACH {
                    append(clients[(writer + n) % 2], &format!("{writer}-{n};"), &unknown).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer ends");
    }
    for master in 0..2 {
        let list = cluster.client(master).get("/data/list?raw").await;
        let words: Vec<_> = list.text().split_terminator(';').collect();
        for word in (0..WRITERS).flat_map(|writer| (0..WRITES_EACH).map(move |n| format!("{writer}-{n}"))) {
            assert!(words.contains(&&*word), "{word} is lost: {words:?}");
        }
        let doubled = words.len() - WRITERS * WRITES_EACH;
        assert!(doubled <= unknown.load(Ordering::Relaxed), "{doubled} written twice: {words:?}");
    }
}

/// Adds a word, trying until it is in the list for certain.
async fn append(client: Client, word: &str, unknown: &AtomicUsize) {
    loop {
        let list = client.get("/data/list?raw").await;
        assert_eq!(list.status, 200, "{}", list.text());
        if list.text().split_inclusive(';').any(|known| known == word) {
            return;
        }
        let longer = format!("{}{word}", list.text());
        let written = put_if(client, "list", "if-match", list.header("etag").unwrap(), &longer).await;
        match written.status {
            200 => return,
            412 => {}
            503 | 504 => {
                unknown.fetch_add(1, Ordering::Relaxed);
            }
            _ => panic!("{}", written.text()),
        }
    }
}
