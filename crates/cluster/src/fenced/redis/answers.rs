//! What the scripts answer.

use crate::fenced::{Head, Known};

/// The answer of the script `HEAD`, in its order; what is missing reads as 0. `None`: something is no number.
pub(super) fn head(answer: Vec<Vec<u8>>) -> Option<Head> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    let mut parts = answer.into_iter();
    let mut number = || {
        let part = parts.next()?;
        if part.is_empty() { Some(0) } else { text(&part)?.parse().ok() }
    };
    let (now_ms, bytes, revision, token) = (number()?, number()?, number()?, number()?);
    let (floor, updated_ms, checked_ms, cached) = (number()?, number()?, number()?, number()?);
    let note = text(&parts.next()?)?;
    Some(Head {
        known: Known { revision, token },
        floor,
        bytes,
        updated_ms,
        checked_ms,
        cached,
        note,
        now_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_zero_and_what_is_no_number_is_an_error() {
        let answer = |texts: [&str; 9]| head(texts.map(|text| text.as_bytes().to_vec()).to_vec());
        let empty = answer(["17", "0", "", "", "", "", "", "", ""]).unwrap();
        assert_eq!(empty, Head { now_ms: 17, ..Head::default() });
        let full = answer(["17", "5", "4", "3", "6", "7", "8", "2", "{}"]).unwrap();
        assert_eq!((full.known, full.floor), (Known { revision: 4, token: 3 }, 6));
        assert_eq!((full.updated_ms, full.checked_ms, full.cached, full.note.as_str()), (7, 8, 2, "{}"));
        assert_eq!(answer(["17", "5", "x", "3", "6", "7", "8", "2", "{}"]), None);
    }
}
