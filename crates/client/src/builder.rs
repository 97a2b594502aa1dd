//! How a client is made.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;

use crate::transport::Transport;
use crate::{Client, Error};

/// Longer than any deadline of the server, so that its own answer about the delay comes first.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST_CONNECT: Duration = Duration::from_secs(2);
const DEFAULT_MAX_ANSWER_BYTES: usize = 256 << 20;

/// Options of a [`Client`].
#[derive(Clone, Debug)]
pub struct Builder {
    masters: Vec<String>,
    timeout: Duration,
    max_answer_bytes: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self { masters: Vec::new(), timeout: DEFAULT_TIMEOUT, max_answer_bytes: DEFAULT_MAX_ANSWER_BYTES }
    }
}

impl Builder {
    /// Adds a master, as `http://host:port`; `http://` may be left out. The first is asked first.
    pub fn master(mut self, url: impl Into<String>) -> Self {
        self.masters.push(url.into());
        self
    }

    /// Adds masters.
    pub fn masters<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.masters.extend(urls.into_iter().map(Into::into));
        self
    }

    /// The time for one call, 5 s by default. Each master gets an equal share of it, so that one that hangs leaves time
    /// to ask the next.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The largest answer that is read, 256 MiB by default. A larger one is an error.
    pub fn max_answer_bytes(mut self, bytes: usize) -> Self {
        self.max_answer_bytes = bytes;
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Url`] where there is no master or one's URL cannot be used.
    pub fn build(self) -> Result<Client, Error> {
        let masters = self.masters.iter().map(|url| base_url(url)).collect::<Result<Vec<_>, _>>()?;
        if masters.is_empty() {
            return Err(Error::Url { url: String::new(), why: "no master is named".to_owned() });
        }
        let share = self.timeout / u32::try_from(masters.len()).unwrap_or(u32::MAX);
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(share.min(LONGEST_CONNECT))
            .timeout(share)
            .tcp_nodelay(true)
            .build()
            .map_err(|error| Error::Url { url: self.masters.join(","), why: error.to_string() })?;
        let transport = Transport::new(http, masters, share, self.max_answer_bytes);
        Ok(Client { transport: Arc::new(transport) })
    }
}

/// The URL with a path that ends in a slash, so that routes can be joined to it.
fn base_url(text: &str) -> Result<Url, Error> {
    let wrong = |why: &str| Error::Url { url: text.to_owned(), why: why.to_owned() };
    let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&full).map_err(|error| wrong(&error.to_string()))?;
    match url.scheme() {
        "http" => {}
        "https" => return Err(wrong("this client has no TLS; use http://, or a proxy that ends TLS")),
        _ => return Err(wrong("only http:// is spoken")),
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("a query or fragment has no place in it"));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_ends_in_a_slash_and_may_lack_its_scheme() {
        for (text, url) in [
            ("http://a:8000", "http://a:8000/"),
            ("localhost:8000", "http://localhost:8000/"),
            ("http://a/cache", "http://a/cache/"),
        ] {
            assert_eq!(base_url(text).unwrap().as_str(), url);
        }
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_before_anything_is_sent() {
        for text in ["", "https://a", "ftp://a", "http://a?x", "http://a b", "http://:80"] {
            assert!(matches!(base_url(text), Err(Error::Url { .. })), "{text}");
        }
        assert!(matches!(Client::builder().build(), Err(Error::Url { .. })));
    }
}
