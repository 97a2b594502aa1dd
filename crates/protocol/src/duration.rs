//! Times on the wire: TTLs in, deadlines out.

/// The longest time to live, in seconds: ten years of 365 days.
pub const MAX_TTL_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// A TTL that cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the TTL {0:?} is not a whole number of seconds from 0 (no expiry) to {MAX_TTL_SECONDS} (ten years)")]
pub struct TtlError(pub String);

/// Reads a TTL in whole seconds; 0 means no expiry and gives `None`.
///
/// # Errors
/// [`TtlError`] where the text is not a number from 0 to [`MAX_TTL_SECONDS`].
pub fn parse_ttl_seconds(text: &str) -> Result<Option<u64>, TtlError> {
    match text.parse::<u64>() {
        // `parse` takes a leading plus sign, which no other reader of the header does.
        Ok(seconds) if seconds <= MAX_TTL_SECONDS && !text.starts_with('+') => {
            Ok((seconds > 0).then_some(seconds))
        }
        _ => Err(TtlError(text.chars().take(40).collect())),
    }
}

/// The deadline of something written at `now_ms` to live `ttl_seconds`, both ends in milliseconds since the Unix epoch.
pub fn deadline_ms(now_ms: u64, ttl_seconds: Option<u64>) -> Option<u64> {
    ttl_seconds.map(|ttl| now_ms.saturating_add(ttl.saturating_mul(1000)))
}

/// The `max-age` that a `Cache-Control` header gives, in seconds; `None` where it gives none or 0.
///
/// # Errors
/// [`TtlError`] for a `max-age` that is no number or too large.
pub fn max_age_seconds(cache_control: &str) -> Result<Option<u64>, TtlError> {
    for directive in cache_control.split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        if name.trim().eq_ignore_ascii_case("max-age") {
            return parse_ttl_seconds(value.trim().trim_matches('"'));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_a_whole_number_of_seconds_up_to_ten_years() {
        assert_eq!(parse_ttl_seconds("0"), Ok(None));
        assert_eq!(parse_ttl_seconds("60"), Ok(Some(60)));
        assert_eq!(parse_ttl_seconds(&MAX_TTL_SECONDS.to_string()), Ok(Some(MAX_TTL_SECONDS)));
        for bad in ["-1", "1.5", "1e3", "+5", "", "abc", "99999999999999999999", "315360001"] {
            assert!(parse_ttl_seconds(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn max_age_is_found_among_other_directives() {
        assert_eq!(max_age_seconds("public, Max-Age=30"), Ok(Some(30)));
        assert_eq!(max_age_seconds("no-cache"), Ok(None));
        assert!(max_age_seconds("max-age=-1").is_err());
    }
}
