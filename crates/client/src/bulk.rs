//! Many entries at once.

use annulus_protocol::value::JSON;
use annulus_protocol::{Key, rest};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde::Serialize;

use crate::transport::Call;
use crate::{Client, Error};

/// One entry of [`Client::bulk_set`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BulkItem {
    /// 1 to 250 bytes.
    pub key: String,
    /// A string is stored as its text, anything else as its JSON.
    pub value: serde_json::Value,
    /// Seconds to live; `None` or 0: no expiry.
    #[serde(rename = "ttl", skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// One entry of [`Client::bulk_set_raw`].
#[derive(Clone, Debug, Serialize)]
pub struct RawBulkItem<'a> {
    /// 1 to 250 bytes.
    pub key: &'a str,
    /// JSON that is sent as it is, so that `1.10` stays `1.10`.
    pub value: &'a serde_json::value::RawValue,
    /// Seconds to live; `None` or 0: no expiry.
    #[serde(rename = "ttl", skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

impl Client {
    /// Stores many entries. The answer says of each key whether it was stored, and why not.
    ///
    /// # Errors
    /// Where the request as a whole was not taken; what fails for one key is in the answer.
    pub async fn bulk_set(&self, items: &[BulkItem]) -> Result<rest::BulkStored, Error> {
        for item in items {
            Key::new(item.key.clone())?;
        }
        self.post_json("data/bulk", items).await
    }

    /// As [`Self::bulk_set`], for values that are JSON already.
    ///
    /// # Errors
    /// Where the request as a whole was not taken; what fails for one key is in the answer.
    pub async fn bulk_set_raw(&self, items: &[RawBulkItem<'_>]) -> Result<rest::BulkStored, Error> {
        for item in items {
            Key::new(item.key.to_owned())?;
        }
        self.post_json("data/bulk", items).await
    }

    /// Reads many entries. Keys in neither list of the answer are misses.
    ///
    /// # Errors
    /// Where the request as a whole was not taken; what fails for one key is in the answer.
    pub async fn bulk_get<K: AsRef<str>>(&self, keys: &[K]) -> Result<rest::BulkFound, Error> {
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        self.post_json("data/bulk/get", &keys).await
    }

    /// Both bulk routes may be repeated: one reads, the other writes without conditions.
    async fn post_json<T>(&self, path: &str, body: &(impl Serialize + ?Sized)) -> Result<T, Error>
    where
        T: serde::de::DeserializeOwned,
    {
        let body = serde_json::to_vec(body).map_err(Error::Json)?;
        let mut call = Call { method: Method::POST, body: body.into(), ..Call::get(path) };
        call.headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        self.transport.send(&call).await?.success()?.json()
    }
}
