//! Many keys at once, over connections that stay open: what single requests on connections of their own take minutes for.

use std::collections::HashMap;

use annulus_protocol::ErrorCode;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::PATIENCE;
use crate::raw_http::{Answer, RawHttp, Received};
use crate::{Client, path_of};

/// Items of one bulk request: as many as a master takes by default.
const AT_ONCE: usize = 1000;
/// Connections used at once.
const CONNECTIONS: usize = 4;
/// The longest deadline that a master grants: bulk requests are large, and machines that test are busy.
const DEADLINE_MS: &str = "2000";

/// An entry to be stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Seconds to live.
    pub ttl: Option<u64>,
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its value.
    pub value: String,
    /// Seconds left to live.
    pub ttl: Option<u64>,
}

impl Client {
    /// Stores many texts.
    ///
    /// # Panics
    /// Where one is not stored.
    pub async fn store_many(&self, entries: &[Stored]) {
        let document = |entries: &[Stored]| {
            let one = |Stored { key, value, ttl }: &Stored| json!({ "key": key, "value": value, "ttl": ttl });
            Value::from(entries.iter().map(one).collect::<Vec<_>>())
        };
        let requests = entries.chunks(AT_ONCE).map(|some| self.bulk("/data/bulk", &document(some)));
        for answer in self.send_all(requests.collect()).await {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }

    /// Reads many texts; what is not among the answers is a miss.
    ///
    /// # Panics
    /// Where one cannot be read.
    pub async fn read_many(&self, keys: &[String]) -> HashMap<String, Found> {
        let requests = keys.chunks(AT_ONCE).map(|some| self.bulk("/data/bulk/get", &json!(some)));
        let mut all = HashMap::with_capacity(keys.len());
        for answer in self.send_all(requests.collect()).await {
            assert_eq!(answer.status, 200, "{}", answer.text());
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            for entry in answer.json()["found"].as_array().expect("what was found") {
                let found = Found { value: text(&entry["value"]), ttl: entry["ttl"].as_u64() };
                all.insert(text(&entry["key"]), found);
            }
        }
        all
    }

    /// Deletes many keys, whether they are there or not.
    ///
    /// # Panics
    /// Where one cannot be deleted.
    pub async fn delete_many(&self, keys: &[String]) {
        let requests = keys.iter().map(|key| self.request("DELETE", path_of(key)).bytes());
        for answer in self.send_all(requests.collect()).await {
            if answer.status != 200 {
                answer.problem(ErrorCode::NotFound);
            }
        }
    }

    fn bulk(&self, path: &str, document: &Value) -> Vec<u8> {
        let request = self.request("POST", path).header("x-deadline-ms", DEADLINE_MS);
        request.json(document.to_string()).bytes()
    }

    /// Sends requests over a few connections, one after the other on each.
    async fn send_all(&self, requests: Vec<Vec<u8>>) -> Vec<Answer> {
        let share = requests.len().div_ceil(CONNECTIONS).max(1);
        let answers = join_all(requests.chunks(share).map(|some| self.send_in_turn(some))).await;
        answers.into_iter().flatten().collect()
    }

    async fn send_in_turn(&self, requests: &[Vec<u8>]) -> Vec<Answer> {
        let mut connection = RawHttp::connect(self.address())
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.address()));
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            connection.send(request).await.expect("the connection stays open");
            match connection.receive(PATIENCE).await {
                Received::Answer(answer) => answers.push(answer),
                other => panic!("{}: {other:?}", self.address()),
            }
        }
        answers
    }
}
