//! How auxiliaries speak of many keys at once: bodies of `/settle/*`, in bytes.
//!
//! - ask: for each key its length (1 byte) and bytes; answered with 9 bytes a key: 1 for held or 0, then the version or the
//!   floor, little endian.
//! - push: 8 bytes, little endian, of how many milliseconds ago the first entry was put into it; then for each entry a byte, 1
//!   where nothing newer can have been acknowledged or 0, and a [`Record`] whose deadline is what was left to live at that time;
//!   answered with one byte an entry.
//! - floors: 8 bytes a bucket, of all that was forgotten, and then of what was taken as a spare.

use annulus_store::{MAX_KEY_BYTES, Record};

use super::judge::Said;

/// What a node answers to a record that is pushed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Pushed {
    /// It holds it now, or knows something as new.
    Settled = 0,
    /// Not now: a swap of the key is under way.
    Later = 1,
    /// It does not fit into its memory.
    TooLarge = 2,
}

pub(crate) fn put_key(key: &[u8], out: &mut Vec<u8>) {
    out.push(key.len() as u8);
    out.extend_from_slice(key);
}

/// The next key of an ask; `None` where it is cut or too long.
pub(crate) fn next_key<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = body.split_first()?;
    let (key, rest) =
        rest.split_at_checked(usize::from(*len)).filter(|(key, _)| key.len() <= MAX_KEY_BYTES)?;
    *body = rest;
    Some(key)
}

pub(crate) fn put_said(said: Said, out: &mut Vec<u8>) {
    let (tag, version) = match said {
        Said::Lacks(floor) => (0, floor),
        Said::Holds(version) => (1, version),
    };
    out.push(tag);
    out.extend_from_slice(&version.to_le_bytes());
}

/// The answers to an ask of `count` keys.
pub(crate) fn said(body: &[u8], count: usize) -> Option<Vec<Said>> {
    let (answers, rest) = body.as_chunks::<9>();
    let one = |bytes: &[u8; 9]| {
        let version = u64::from_le_bytes(bytes[1..].try_into().ok()?);
        match bytes[0] {
            0 => Some(Said::Lacks(version)),
            1 => Some(Said::Holds(version)),
            _ => None,
        }
    };
    if answers.len() != count || !rest.is_empty() {
        return None;
    }
    answers.iter().map(one).collect()
}

/// A push that is being put together.
pub(crate) struct Push {
    begun_ms: u64,
    bytes: Vec<u8>,
    count: usize,
}

/// Bytes of a push before its first record: its age.
const AGE_BYTES: usize = 8;

impl Push {
    pub(crate) fn begin(now_ms: u64) -> Self {
        Self { begun_ms: now_ms, bytes: vec![0; AGE_BYTES], count: 0 }
    }

    pub(crate) fn put(&mut self, mut record: Record<'_>, is_newest: bool) {
        self.bytes.push(u8::from(is_newest));
        record.deadline_ms = record.deadline_ms.map(|deadline| deadline.saturating_sub(self.begun_ms));
        record.encode(&mut self.bytes);
        self.count += 1;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many records it holds, and its body as it leaves.
    pub(crate) fn finish(mut self, now_ms: u64) -> (usize, Vec<u8>) {
        self.bytes[..AGE_BYTES].copy_from_slice(&now_ms.saturating_sub(self.begun_ms).to_le_bytes());
        (self.count, self.bytes)
    }
}

/// When a push was begun, by the clock of the one whom it reached at `arrived_ms`. What lies between it and its records is not
/// added to their time, however long a busy node leaves them waiting.
pub(crate) fn begun_ms(body: &mut &[u8], arrived_ms: u64) -> Option<u64> {
    let (age_ms, rest) = body.split_first_chunk::<AGE_BYTES>()?;
    *body = rest;
    Some(arrived_ms.saturating_sub(u64::from_le_bytes(*age_ms)))
}

/// The next record of a push that was begun at `begun_ms`, and whether nothing newer can have been acknowledged.
pub(crate) fn next_record<'a>(body: &mut &'a [u8], begun_ms: u64) -> Option<(Record<'a>, bool)> {
    let (is_newest, mut rest) = body.split_first().filter(|(is_newest, _)| **is_newest <= 1)?;
    let mut record = Record::decode(&mut rest).ok()?;
    *body = rest;
    record.deadline_ms = record.deadline_ms.map(|left| begun_ms.saturating_add(left));
    Some((record, *is_newest == 1))
}

/// The answers to a push of `count` records.
pub(crate) fn pushed(body: &[u8], count: usize) -> Option<Vec<Pushed>> {
    let one = |byte: &u8| match byte {
        0 => Some(Pushed::Settled),
        1 => Some(Pushed::Later),
        2 => Some(Pushed::TooLarge),
        _ => None,
    };
    if body.len() == count { body.iter().map(one).collect() } else { None }
}

pub(crate) fn floors_to_bytes(floors: &[u64]) -> Vec<u8> {
    floors.iter().flat_map(|floor| floor.to_le_bytes()).collect()
}

pub(crate) fn floors(body: &[u8]) -> Vec<u64> {
    body.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_and_answers_read_back() {
        let mut body = Vec::new();
        put_key(b"one", &mut body);
        put_key(&[0xff; 250], &mut body);
        let mut rest = &body[..];
        assert_eq!(next_key(&mut rest), Some(&b"one"[..]));
        assert_eq!(next_key(&mut &rest[..rest.len() - 1]), None);
        assert_eq!((next_key(&mut rest), rest), (Some(&[0xff; 250][..]), &[][..]));
        let too_long = [251; 252];
        assert_eq!(next_key(&mut &too_long[..]), None);

        let mut answer = Vec::new();
        put_said(Said::Holds(7), &mut answer);
        put_said(Said::Lacks(u64::MAX), &mut answer);
        assert_eq!(said(&answer, 2), Some(vec![Said::Holds(7), Said::Lacks(u64::MAX)]));
        assert_eq!(said(&answer, 3), None);
        assert_eq!(said(&answer[..17], 2), None);
        assert_eq!(said(&[9; 9], 1), None);
    }

    #[test]
    fn a_record_travels_with_what_is_left_of_its_time() {
        let record = Record {
            key: b"k",
            version: 5,
            origin: None,
            flags: 0,
            marks: 2,
            content_type: "",
            deadline_ms: Some(1_500),
            value: Some(b"v"),
        };
        let mut push = Push::begin(1_000);
        push.put(record, true);
        let (count, mut body) = push.finish(1_200);
        assert_eq!(count, 1);
        let mut rest = &body[..];
        let begun_ms = begun_ms(&mut rest, 90_000).unwrap();
        assert_eq!(begun_ms, 89_800, "it was 200 ms on its way before it left");
        let (read, is_newest) = next_record(&mut rest, begun_ms).unwrap();
        assert_eq!((read.deadline_ms, read.key, is_newest, rest.len()), (Some(90_300), &b"k"[..], true, 0));
        assert_eq!(read.marks, 2);
        assert!(super::begun_ms(&mut &body[..7], 0).is_none());
        assert!(next_record(&mut &body[AGE_BYTES..11], 0).is_none());
        body[AGE_BYTES] = 2;
        assert!(next_record(&mut &body[AGE_BYTES..], 0).is_none());
    }

    #[test]
    fn floors_and_outcomes_read_back() {
        assert_eq!(floors(&floors_to_bytes(&[1, u64::MAX])), [1, u64::MAX]);
        assert_eq!(pushed(&[0, 1, 2], 3), Some(vec![Pushed::Settled, Pushed::Later, Pushed::TooLarge]));
        assert_eq!((pushed(&[0], 2), pushed(&[3], 1)), (None, None));
    }
}
