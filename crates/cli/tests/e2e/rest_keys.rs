//! Keys of any bytes.

use annulus_protocol::ErrorCode;
use annulus_testkit::path_of;
use serde_json::json;

use crate::support::cluster;

/// Keys that are easily taken for something else, and their neighbours.
fn awkward_keys() -> Vec<Vec<u8>> {
    let texts = [
        "a",
        "a/b",
        "a%2Fb",
        "/",
        "//",
        ".",
        "..",
        "../..",
        "%",
        "%%",
        "%2F",
        "%00",
        " ",
        "  ",
        "a b",
        "a+b",
        "a\r\nb",
        "a\nX-Header: 1",
        "\t",
        "\0",
        "a\0",
        "?",
        "a?raw",
        "#",
        "&",
        "=",
        ";",
        ":",
        "*",
        "\"",
        "\\",
        "{}",
        "\u{7f}",
        "é",
        "e\u{301}",
        "\u{1f980}",
        "\u{202e}",
        "\u{feff}",
        "bulk",
        "bulk/get",
        "data",
        "nodes",
        "promise",
        "a/promise",
        "entries",
        "key",
        "K",
        "k",
    ];
    let mut keys: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    keys.extend([vec![0xff], vec![0xfe, 0xff], vec![0xc3, 0x28], vec![0x80], vec![0xed, 0xa0, 0x80]]);
    keys.extend([vec![b'k'; 250], vec![0xff; 250], vec![b'/'; 250], "\u{1f980}".repeat(62).into_bytes()]);
    keys
}

#[tokio::test]
async fn every_key_holds_its_own_value_whatever_its_bytes() {
    let cluster = cluster().await;
    let keys = awkward_keys();
    for (n, key) in keys.iter().enumerate() {
        let put = cluster.client(n % 2).put(path_of(key), format!("value {n}")).await;
        assert_eq!(put.status, 200, "{}: {}", path_of(key), put.text());
    }
    for (n, key) in keys.iter().enumerate() {
        for master in 0..2 {
            let read = cluster.client(master).get(format!("{}?raw", path_of(key))).await;
            assert_eq!((read.status, read.text()), (200, &*format!("value {n}")), "{}", path_of(key));
        }
        let shown = cluster.client(0).get(path_of(key)).await.json()["key"].as_str().unwrap().to_owned();
        match std::str::from_utf8(key) {
            Ok(text) => assert_eq!(shown, text),
            Err(_) => assert_eq!(format!("/data/{shown}"), path_of(key)),
        }
    }
    for key in &keys {
        let deleted = cluster.client(1).request("DELETE", path_of(key)).send().await;
        assert_eq!(deleted.status, 200, "{}", path_of(key));
        cluster.client(0).get(path_of(key)).await.problem(ErrorCode::NotFound);
    }
}

#[tokio::test]
async fn a_key_in_json_and_the_same_key_in_a_path_are_one() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for key in awkward_keys() {
        let Ok(text) = std::str::from_utf8(&key) else { continue };
        client.store(text, text).await;
        assert_eq!(client.get(path_of(text)).await.json()["value"], text, "{text:?}");
        let found = client.post("/data/bulk/get", &json!([text])).await.json();
        assert_eq!(found["found"][0]["value"], text, "{text:?}");
    }
}

#[tokio::test]
async fn a_character_may_be_escaped_or_not_and_either_way_of_hexadecimal_will_do() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    client.store("a-b~é", "v").await;
    for path in ["/data/a-b~%C3%A9", "/data/a%2db%7e%c3%a9", "/data/%61-%62~%C3%A9"] {
        assert_eq!(client.get(path).await.json()["value"], "v", "{path}");
    }
}

#[tokio::test]
async fn a_key_out_of_range_is_refused_with_the_limit_in_the_text() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for path in [format!("/data/{}", "k".repeat(251)), format!("/data/{}", "%FF".repeat(251))] {
        for method in ["GET", "PUT", "DELETE"] {
            let refused = client.request(method, &*path).send().await.problem(ErrorCode::BadKey);
            assert!(refused.detail.contains("250") && refused.detail.contains("251"), "{}", refused.detail);
        }
    }
    for key in ["", &"k".repeat(251), &"é".repeat(126)] {
        let refused =
            client.post("/data", &json!({ "key": key, "value": 1 })).await.problem(ErrorCode::BadKey);
        assert!(refused.detail.contains("250"), "{}", refused.detail);
    }
    let no_key = client.get("/data/").await;
    assert!(matches!(no_key.status, 400 | 404), "{}", no_key.text());
}

#[tokio::test]
async fn a_percent_sign_that_escapes_nothing_is_refused() {
    let cluster = cluster().await;
    let client = cluster.client(0);
    for path in ["/data/%", "/data/100%", "/data/%zz", "/data/%2", "/data/a%2"] {
        let refused = client.get(path).await.problem(ErrorCode::BadKey);
        assert!(refused.detail.contains("%25"), "{}", refused.detail);
    }
}

#[tokio::test]
async fn a_slash_that_is_not_escaped_ends_the_key_and_the_answer_says_how_to_write_it() {
    let cluster = cluster().await;
    for path in ["/data/a/b", "/data//", "/data/a/"] {
        let refused = cluster.client(0).get(path).await.problem(ErrorCode::NoRoute);
        assert!(refused.detail.contains("%2F"), "{path}: {}", refused.detail);
    }
}
