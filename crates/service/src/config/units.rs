//! How durations and sizes read: `5m`, `30s`, `250ms`; `64Mi`, `1Gi`, or plain bytes.

use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 4] = [("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];

/// Reads a duration such as `5m`, `30s`, `250ms` or `1m 30s`.
///
/// # Errors
/// A sentence that says what is wrong. A bare number is refused: `5` could be seconds or milliseconds.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Err(format!("a duration needs a unit, as in {text}s or {text}ms"));
    }
    humantime::parse_duration(text).map_err(|_| "a duration reads 250ms, 30s or 5m".to_owned())
}

/// The shortest spelling in one whole unit: 90 s is `90s`, 600 s is `10m`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let units = [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];
    match units.iter().find(|(_, size)| nanos.is_multiple_of(*size) && nanos > 0) {
        Some((unit, size)) => format!("{}{unit}", nanos / size),
        None if nanos == 0 => "0s".to_owned(),
        None => format!("{nanos}ns"),
    }
}

/// Reads a size in bytes such as `64Mi`, `1Gi`, `512KiB` or `1048576`.
///
/// # Errors
/// A sentence that says what is wrong. `64M` and `64MB` are refused, because half the world reads them as powers of ten.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    const SHAPE: &str = "a size reads 64Mi, 1Gi or a plain number of bytes";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let unit = unit.strip_suffix('B').unwrap_or(unit);
    let factor = match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => *factor,
        None if unit.is_empty() => 1,
        None => return Err(SHAPE.to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| SHAPE.to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "it is more than 64 bits can count".to_owned())
}

/// The shortest spelling in one whole unit: 67,108,864 is `64Mi`, 1,500 is `1500`.
pub fn format_bytes(bytes: u64) -> String {
    match SIZE_UNITS.iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", bytes / factor),
        None => bytes.to_string(),
    }
}

/// For `#[serde(with)]`: a [`Duration`] as its text.
pub(super) mod duration_text {
    use std::borrow::Cow;
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        super::parse_duration(&Cow::<str>::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// For `#[serde(with)]`: a number of bytes as its text.
pub(super) mod bytes_text {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    #[allow(clippy::trivially_copy_pass_by_ref)] // serde hands over a reference
    pub(in crate::config) fn serialize<S: Serializer>(value: &usize, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&super::format_bytes(*value as u64))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
        let bytes = super::parse_bytes(&Cow::<str>::deserialize(from)?).map_err(D::Error::custom)?;
        usize::try_from(bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_binary_units_or_plain_bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("1Ki", 1024),
            ("64Mi", 64 << 20),
            ("2GiB", 2 << 30),
            (" 1 Ti ", 1 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_could_mean_two_things_are_refused() {
        for text in
            ["", "64M", "64MB", "64mi", "1.5Gi", "-1", "Mi", "1Mi2", "99999999999999999999", "16777216Ti"]
        {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("75"), Err("a duration needs a unit, as in 75s or 75ms".to_owned()));
        assert_eq!(parse_duration("soon"), Err("a duration reads 250ms, 30s or 5m".to_owned()));
    }

    #[test]
    fn what_is_formatted_reads_back_as_the_same() {
        for text in ["0s", "1ns", "250ms", "1500ms", "75s", "90m", "24h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["0", "1500", "1Ki", "1025Ki", "64Mi", "3Gi", "1Ti"] {
            assert_eq!(format_bytes(parse_bytes(text).unwrap()), text);
        }
    }
}
