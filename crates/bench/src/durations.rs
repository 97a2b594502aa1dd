//! What times look like on the command line, here and in the commands beside `annulus bench`.

use std::time::Duration;

/// Ten years of 365 days: the longest time to live that masters take, and longer than anybody waits.
const MAX_SECONDS: u64 = 10 * 365 * 24 * 3600;

/// Reads `250ms`, `1.5s` or `1h30m`. A number without a unit is refused, because half the world reads it as
/// milliseconds.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn duration(text: &str) -> Result<Duration, String> {
    let shape = || "a duration reads 250ms, 30s, 5m, 2h or 1d".to_owned();
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(format!("a duration needs a unit, as in {text}s or {text}ms"));
    }
    let (mut seconds, mut rest) = (0.0, text);
    loop {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(shape)?;
        let (number, after) = rest.split_at(number_end);
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds_each = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Err(shape()),
        };
        seconds += number.parse::<f64>().map_err(|_| shape())? * seconds_each;
        rest = after.trim_start();
        if rest.is_empty() {
            break;
        }
    }
    if seconds > MAX_SECONDS as f64 {
        return Err("a duration is ten years at most".to_owned());
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| shape())
}

/// As [`duration`], and more than nothing.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than 0".to_owned()),
        more => Ok(more),
    }
}

/// A time to live in seconds, up to ten years; 0 is no expiry. As in the REST interface a bare number is seconds;
/// what [`duration`] reads is taken too.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn ttl_seconds(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "a time to live is whole seconds from 0 (no expiry) to {MAX_SECONDS} (ten years), or as in 5m or 12h"
        )
    };
    let text = text.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().map_err(|_| wrong())?
    } else {
        let ttl = duration(text).map_err(|_| wrong())?;
        if ttl.subsec_nanos() > 0 {
            return Err(wrong());
        }
        ttl.as_secs()
    };
    if seconds > MAX_SECONDS { Err(wrong()) } else { Ok(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration(" 1d 1s "), Ok(Duration::from_secs(86_401)));
        assert_eq!(duration("7"), Err("a duration needs a unit, as in 7s or 7ms".to_owned()));
        for wrong in ["", "s", "5 days", "-1s", "-5", "1.2.3s", "1e400", "5m3", "3651d", "é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(positive_duration("0s").is_err() && positive_duration("1us").is_ok());
    }

    #[test]
    fn a_ttl_is_whole_seconds_with_or_without_a_unit() {
        for (text, seconds) in
            [("60", 60), ("60s", 60), ("5m", 300), ("1500ms 500ms", 2), ("0", 0), ("0s", 0)]
        {
            assert_eq!(ttl_seconds(text), Ok(seconds), "{text}");
        }
        assert_eq!(ttl_seconds("315360000"), Ok(MAX_SECONDS));
        assert_eq!(ttl_seconds("3650d"), Ok(MAX_SECONDS));
        for wrong in
            ["", "500ms", "1.5", "-5", "-5s", "+5", "soon", "315360001", "3651d", "99999999999999999999"]
        {
            assert!(
                ttl_seconds(wrong).unwrap_err().starts_with("a time to live is whole seconds"),
                "{wrong}"
            );
        }
    }
}
