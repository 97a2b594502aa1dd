//! What every request carries: its deadline and its trace.

use std::time::Duration;

use annulus_protocol::hop::DEADLINE_HEADER;
use annulus_protocol::{ErrorCode, Problem};
use http::HeaderMap;

use crate::config::LimitSettings;

/// The time that a request may take: `X-Deadline-Ms`, at most the configured maximum, or the default.
///
/// # Errors
/// [`ErrorCode::BadRequest`] where the header is no number of milliseconds in range.
pub fn deadline(headers: &HeaderMap, limits: &LimitSettings) -> Result<Duration, Problem> {
    let Some(value) = headers.get(DEADLINE_HEADER) else { return Ok(limits.deadline) };
    let max_ms = limits.max_deadline.as_millis() as u64;
    match value.to_str().ok().and_then(|text| text.parse().ok()) {
        Some(ms @ 1..) if ms <= max_ms => Ok(Duration::from_millis(ms)),
        _ => Err(Problem::new(
            ErrorCode::BadRequest,
            format!("X-Deadline-Ms is a whole number of milliseconds from 1 to {max_ms}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_deadline_is_taken_within_its_range_and_refused_outside() {
        let limits = Settings::default().limits;
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(DEADLINE_HEADER, text.parse().unwrap());
            deadline(&headers, &limits)
        };
        assert_eq!(deadline(&HeaderMap::new(), &limits), Ok(Duration::from_secs(1)));
        assert_eq!(read("250"), Ok(Duration::from_millis(250)));
        assert_eq!(read("2000"), Ok(Duration::from_secs(2)));
        for bad in ["0", "2001", "-1", "1.5", "soon"] {
            assert_eq!(read(bad).unwrap_err().code, ErrorCode::BadRequest, "{bad}");
        }
    }
}
