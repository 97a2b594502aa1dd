//! Query parameters and headers of the routes under `/data`.

use annulus_protocol::condition::{Comparison, ETags, Precondition};
use annulus_protocol::duration::{max_age_seconds, parse_ttl_seconds};
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::config::Consistency;
use http::header::{ACCEPT, CACHE_CONTROL, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName};

/// What may stand behind the question mark.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct DataQuery {
    /// `raw`: the bytes, not JSON.
    pub(super) raw: bool,
    /// `ttl`: seconds to live; 0 for no expiry.
    pub(super) ttl_seconds: Option<u64>,
    /// `consistency`: how many copies to ask.
    pub(super) consistency: Option<Consistency>,
}

impl DataQuery {
    /// Reads a query string that may hold each of `taken` once. Any other name is an error: a misspelt `ttl` would be an
    /// entry that never expires.
    pub(super) fn parse(query: Option<&str>, taken: &[&str]) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        let mut seen: Vec<&str> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !taken.contains(&name) {
                return Err(unknown(name, taken));
            }
            if seen.contains(&name) {
                return Err(bad(&format!("the query parameter {name} stands twice")));
            }
            seen.push(name);
            match (name, value) {
                ("raw", "" | "1" | "true") => parsed.raw = true,
                ("raw", "0" | "false") => parsed.raw = false,
                ("ttl", value) => parsed.ttl_seconds = Some(parse_ttl_seconds(value)?.unwrap_or(0)),
                ("consistency", "quorum") => parsed.consistency = Some(Consistency::Quorum),
                ("consistency", "one") => parsed.consistency = Some(Consistency::One),
                ("consistency", _) => return Err(bad("consistency is quorum or one")),
                _ => return Err(bad("raw is true or false, or stands alone")),
            }
        }
        Ok(parsed)
    }
}

/// Whether a control route waits for the end: `?wait=false` says no.
pub(super) fn waits(query: Option<&str>) -> Result<bool, Problem> {
    let mut waits = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "wait" {
            return Err(unknown(name, &["wait"]));
        }
        if waits.is_some() {
            return Err(bad("the query parameter wait stands twice"));
        }
        waits = Some(match value {
            "true" => true,
            "false" => false,
            _ => return Err(bad("wait is true or false")),
        });
    }
    Ok(waits.unwrap_or(true))
}

fn unknown(name: &str, taken: &[&str]) -> Problem {
    let shown: String = name.chars().take(40).collect();
    let known = if taken.is_empty() { "none".to_owned() } else { taken.join(", ") };
    bad(&format!("the query parameter {shown:?} is not taken here; known: {known}"))
}

/// The TTL of a `PUT`: `?ttl=`, else `Cache-Control: max-age`.
pub(super) fn put_ttl_seconds(query: &DataQuery, headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    if let Some(ttl) = query.ttl_seconds {
        return Ok((ttl > 0).then_some(ttl));
    }
    text(headers, &CACHE_CONTROL)?.map_or(Ok(None), |value| Ok(max_age_seconds(value)?))
}

/// `If-Match` and `If-None-Match`.
pub(super) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    Ok(Precondition {
        if_match: tags(headers, &IF_MATCH, Comparison::Strong)?,
        if_none_match: tags(headers, &IF_NONE_MATCH, Comparison::Weak)?,
    })
}

/// Whether the client asks for the bytes by `Accept: application/octet-stream`.
pub(super) fn accepts_bytes(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).is_some_and(|accept| {
        let types = accept.to_str().unwrap_or_default().split(',');
        types
            .map(|one| one.split(';').next().unwrap_or_default().trim())
            .any(|one| one.eq_ignore_ascii_case("application/octet-stream"))
    })
}

fn tags(headers: &HeaderMap, name: &HeaderName, comparison: Comparison) -> Result<Option<ETags>, Problem> {
    let Some(value) = text(headers, name)? else { return Ok(None) };
    ETags::parse(value, comparison).map(Some).map_err(|detail| bad(&format!("{name}: {detail}")))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    value.to_str().map(Some).map_err(|_| bad(&format!("{name}: not visible ASCII")))
}

fn bad(detail: &str) -> Problem {
    Problem::new(ErrorCode::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["raw", "ttl", "consistency"];

    #[test]
    fn a_parameter_that_the_method_does_not_take_is_named() {
        let refused = |query, taken| DataQuery::parse(Some(query), taken).unwrap_err().detail;
        assert!(refused("consistncy=one", ALL).contains("\"consistncy\""));
        assert!(refused("ttl=5", &["raw"]).contains("\"ttl\" is not taken here; known: raw"));
        assert!(refused("ttl=5&ttl=6", ALL).contains("ttl stands twice"));
    }

    #[test]
    fn a_misspelt_parameter_is_an_error_and_not_an_entry_that_never_expires() {
        assert_eq!(DataQuery::parse(Some("tll=5"), ALL).unwrap_err().code, ErrorCode::BadRequest);
        assert_eq!(DataQuery::parse(Some("ttl=-5"), ALL).unwrap_err().code, ErrorCode::BadTtl);
        assert_eq!(DataQuery::parse(Some("consistency=some"), ALL).unwrap_err().code, ErrorCode::BadRequest);
        let parsed = DataQuery::parse(Some("raw&ttl=5&consistency=one"), ALL).unwrap();
        let consistency = Some(Consistency::One);
        assert_eq!(parsed, DataQuery { raw: true, ttl_seconds: Some(5), consistency });
        assert_eq!(DataQuery::parse(None, ALL).unwrap(), DataQuery::default());
    }

    #[test]
    fn a_control_route_waits_unless_told_otherwise() {
        assert_eq!([waits(None), waits(Some("")), waits(Some("wait=true"))], [Ok(true), Ok(true), Ok(true)]);
        assert_eq!(waits(Some("wait=false")), Ok(false));
        for (query, part) in [
            ("wait", "wait is true or false"),
            ("wait=0", "wait is true or false"),
            ("wait=true&wait=true", "stands twice"),
            ("wiat=false", "\"wiat\" is not taken here; known: wait"),
        ] {
            let refused = waits(Some(query)).unwrap_err();
            assert!(refused.code == ErrorCode::BadRequest && refused.detail.contains(part), "{refused:?}");
        }
    }

    #[test]
    fn the_query_comes_before_the_header() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, "max-age=30".parse().unwrap());
        let ttl = |query| put_ttl_seconds(&DataQuery::parse(query, ALL).unwrap(), &headers).unwrap();
        assert_eq!(ttl(None), Some(30));
        assert_eq!(ttl(Some("ttl=5")), Some(5));
        assert_eq!(ttl(Some("ttl=0")), None);
    }

    #[test]
    fn bytes_are_asked_for_by_their_media_type() {
        let accepts = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, value.parse().unwrap());
            accepts_bytes(&headers)
        };
        assert!(accepts("text/html, application/octet-stream;q=0.5"));
        assert!(!accepts("*/*"));
        assert!(!accepts("application/json"));
    }
}
