//! What a master asks.

use super::Broken;
use super::token::{
    Words, check_key, decode, line, marks, number, push_flag, push_key, push_number, push_text,
};
use crate::Version;
use crate::hop::{Condition, CopyWrite, Look};
use crate::value::{OCTET_STREAM, check_content_type};

/// A request, its key and value still where they came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// What follows goes by this epoch, and means this life of the node; 0: any.
    Enter {
        /// The epoch.
        epoch: u64,
        /// The node's incarnation.
        life: u64,
    },
    /// The copy of a key.
    Get {
        /// The key.
        key: &'a [u8],
        /// How it is read.
        look: Look,
    },
    /// The promise to refuse whatever is below the ballot, and the copy.
    Promise {
        /// The key.
        key: &'a [u8],
        /// The ballot.
        ballot: Version,
    },
    /// To take a value or a tombstone.
    Put {
        /// The key.
        key: &'a [u8],
        /// What the write says of itself.
        head: WriteHead<'a>,
        /// The value; `None` deletes.
        value: Option<&'a [u8]>,
    },
    /// To forget everything at or below a version.
    Flush {
        /// The version.
        version: Version,
    },
    /// Nothing.
    Noop,
}

/// What a write says of itself beside its key and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteHead<'a> {
    /// The version it makes.
    pub version: Version,
    /// Milliseconds left to live; `None` for no expiry.
    pub ttl_left_ms: Option<u64>,
    /// The memcached client's flags.
    pub flags: u32,
    /// As [`StoredValue::marks`](crate::value::StoredValue::marks).
    pub marks: u8,
    /// The version under which it was first written, where it is carried on under a newer one.
    pub origin: Option<Version>,
    /// What must hold of the copy.
    pub condition: Condition,
    /// Whether what it writes counts as read.
    pub fetched: bool,
    /// The media type.
    pub content_type: &'a str,
}

/// What the input begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole request.
    Request {
        /// The request.
        request: Request<'a>,
        /// Its bytes.
        consumed: usize,
        /// The `traceparent` that it came with.
        trace: Option<&'a [u8]>,
    },
    /// A part of one.
    Incomplete {
        /// How many bytes of a value are still to come; 0 where the line has not ended.
        wanted: usize,
    },
}

/// Where a parser puts what it decodes.
#[derive(Debug, Default)]
pub struct Scratch {
    key: Vec<u8>,
    content_type: Vec<u8>,
}

impl<'a> Step<'a> {
    /// Reads the request that `input` begins with. Values over `max_value_bytes` are an error: a master sends none.
    ///
    /// # Errors
    /// [`Broken`] where the input is no request.
    pub fn read(input: &'a [u8], scratch: &'a mut Scratch, max_value_bytes: usize) -> Result<Self, Broken> {
        let Some((line, value_at)) = line(input)? else { return Ok(Self::Incomplete { wanted: 0 }) };
        let mut words = Words::new(line);
        let command = words.next().unwrap_or_default();
        let (request, trace) = match command {
            b"mg" => read_get(words, scratch)?,
            b"ms" => {
                let key = words.next().unwrap_or_default();
                let length = number(words.next().unwrap_or_default())? as usize;
                if length > max_value_bytes {
                    return Err(Broken("a value over the limit"));
                }
                let whole = value_at + length + 2;
                if input.len() < whole {
                    return Ok(Self::Incomplete { wanted: whole - input.len() });
                }
                if &input[value_at + length..whole] != b"\r\n" {
                    return Err(Broken("a value that does not end where it should"));
                }
                let value = &input[value_at..value_at + length];
                let (request, trace) = read_put(key, words, scratch, Some(value))?;
                return Ok(Self::Request { request, consumed: whole, trace });
            }
            b"md" => {
                let key = words.next().unwrap_or_default();
                read_put(key, words, scratch, None)?
            }
            b"xe" => {
                let epoch = number(words.next().unwrap_or_default())?;
                (Request::Enter { epoch, life: number(words.next().unwrap_or_default())? }, None)
            }
            b"xf" => {
                let version = Version(number(words.next().unwrap_or_default())?);
                (Request::Flush { version }, None)
            }
            b"mn" => (Request::Noop, None),
            _ => return Err(Broken("a request that is none")),
        };
        Ok(Self::Request { request, consumed: value_at, trace })
    }
}

/// A request with the trace that it came with.
type Traced<'a> = (Request<'a>, Option<&'a [u8]>);

fn read_get<'a>(mut words: Words<'a>, scratch: &'a mut Scratch) -> Result<Traced<'a>, Broken> {
    let mut key = words.next().unwrap_or_default();
    let (mut ballot, mut trace) = (None, None);
    let (mut encoded, mut look) = (false, Look::Plain);
    for word in words {
        match word {
            b"b" => encoded = true,
            b"h" => look = Look::ShowsUse,
            b"u" => look = Look::Aside,
            [b'i', text @ ..] => trace = Some(text),
            [b'P', digits @ ..] => ballot = Some(Version(number(digits)?)),
            _ => return Err(Broken("a flag that is none")),
        }
    }
    if encoded {
        key = decode(key, &mut scratch.key)?;
    }
    let key = check_key(key)?;
    Ok((ballot.map_or(Request::Get { key, look }, |ballot| Request::Promise { key, ballot }), trace))
}

fn read_put<'a>(
    mut key: &'a [u8],
    words: Words<'a>,
    scratch: &'a mut Scratch,
    value: Option<&'a [u8]>,
) -> Result<Traced<'a>, Broken> {
    let mut trace = None;
    let mut head = WriteHead {
        version: Version::ZERO,
        ttl_left_ms: None,
        flags: 0,
        marks: 0,
        origin: None,
        condition: Condition::Always,
        fetched: false,
        content_type: OCTET_STREAM,
    };
    let (mut content_type, mut encoded) = (None, false);
    for word in words {
        match word {
            b"b" => encoded = true,
            [b'i', text @ ..] => trace = Some(text),
            b"ME" => head.condition = Condition::Absent,
            b"MR" => head.condition = Condition::Present,
            b"P" => head.condition = Condition::Promised,
            b"h" => head.fetched = true,
            [b'E', digits @ ..] => head.version = Version(number(digits)?),
            [b'C', digits @ ..] => head.condition = Condition::VersionIs(Version(number(digits)?)),
            [b'F', digits @ ..] => {
                head.flags = u32::try_from(number(digits)?).map_err(|_| Broken("flags out of range"))?;
            }
            [b'm', digits @ ..] => head.marks = marks(digits)?,
            [b'Y', digits @ ..] => head.ttl_left_ms = Some(number(digits)?),
            [b'o', digits @ ..] => head.origin = Some(Version(number(digits)?)),
            [b'y', text @ ..] => content_type = Some(text),
            _ => return Err(Broken("a flag that is none")),
        }
    }
    if let Some(text) = content_type {
        let decoded = decode(text, &mut scratch.content_type)?;
        head.content_type = check_content_type(decoded).map_err(|_| Broken("a content type that is none"))?;
    }
    if encoded {
        key = decode(key, &mut scratch.key)?;
    }
    Ok((Request::Put { key: check_key(key)?, head, value }, trace))
}

/// Writes [`Request::Enter`].
pub fn encode_enter(out: &mut Vec<u8>, epoch: u64, life: u64) {
    out.extend_from_slice(b"xe ");
    push_number(out, epoch);
    out.push(b' ');
    push_number(out, life);
    out.extend_from_slice(b"\r\n");
}

/// Writes [`Request::Flush`].
pub fn encode_flush(out: &mut Vec<u8>, version: Version) {
    out.extend_from_slice(b"xf ");
    push_number(out, version.0);
    out.extend_from_slice(b"\r\n");
}

/// Writes [`Request::Get`].
pub fn encode_get(out: &mut Vec<u8>, key: &[u8], look: Look, trace: Option<&[u8]>) {
    out.extend_from_slice(b"mg ");
    push_key(out, key, |_| {});
    match look {
        Look::Plain => {}
        Look::ShowsUse => out.extend_from_slice(b" h"),
        Look::Aside => out.extend_from_slice(b" u"),
    }
    end(out, trace);
}

/// Writes [`Request::Promise`].
pub fn encode_promise(out: &mut Vec<u8>, key: &[u8], ballot: Version, trace: Option<&[u8]>) {
    out.extend_from_slice(b"mg ");
    push_key(out, key, |_| {});
    push_flag(out, b'P', ballot.0);
    end(out, trace);
}

/// Writes [`Request::Put`] up to its value, which has to follow with `\r\n` where there is one.
pub fn encode_put(out: &mut Vec<u8>, key: &[u8], write: &CopyWrite, trace: Option<&[u8]>) {
    out.extend_from_slice(if write.value.is_some() { b"ms " } else { b"md " });
    push_key(out, key, |out| {
        if let Some(content) = &write.value {
            out.push(b' ');
            push_number(out, content.bytes.len() as u64);
        }
    });
    push_flag(out, b'E', write.version.0);
    if write.flags != 0 {
        push_flag(out, b'F', write.flags.into());
    }
    if write.marks != 0 {
        push_flag(out, b'm', write.marks.into());
    }
    if let Some(left) = write.ttl_left_ms {
        push_flag(out, b'Y', left);
    }
    if let Some(origin) = write.origin {
        push_flag(out, b'o', origin.0);
    }
    if write.fetched {
        out.extend_from_slice(b" h");
    }
    match write.condition {
        Condition::Always => {}
        Condition::Absent => out.extend_from_slice(b" ME"),
        Condition::Present => out.extend_from_slice(b" MR"),
        Condition::Promised => out.extend_from_slice(b" P"),
        Condition::VersionIs(version) => push_flag(out, b'C', version.0),
    }
    if let Some(content) = write.value.as_ref().filter(|content| content.content_type != OCTET_STREAM) {
        push_text(out, b'y', &content.content_type);
    }
    end(out, trace);
}

fn end(out: &mut Vec<u8>, trace: Option<&[u8]>) {
    if let Some(trace) = trace {
        out.extend_from_slice(b" i");
        out.extend_from_slice(trace);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Content;

    const MAX_VALUE: usize = 1 << 20;

    fn condition() -> impl Strategy<Value = Condition> {
        prop_oneof![
            Just(Condition::Always),
            Just(Condition::Absent),
            Just(Condition::Present),
            Just(Condition::Promised),
            any::<u64>().prop_map(|version| Condition::VersionIs(Version(version))),
        ]
    }

    fn content() -> impl Strategy<Value = Content> {
        let content_type = prop_oneof![Just(OCTET_STREAM), Just("text/html; charset=utf-8")];
        let bytes = prop::collection::vec(any::<u8>(), 0..300);
        (content_type, bytes).prop_map(|(content_type, bytes)| Content {
            content_type: content_type.into(),
            bytes: bytes.into(),
        })
    }

    prop_compose! {
        fn write()(
            version in 1_u64..,
            value in prop::option::of(content()),
            ttl_left_ms in prop::option::of(any::<u64>()),
            flags in any::<u32>(),
            marks in 0_u8..16,
            origin in prop::option::of(any::<u64>()),
            condition in condition(),
            fetched in any::<bool>(),
        ) -> CopyWrite {
            let (version, origin) = (Version(version), origin.map(Version));
            CopyWrite { version, value, ttl_left_ms, flags, marks, origin, condition, fetched }
        }
    }

    proptest! {
        #[test]
        fn a_write_reads_back_and_its_parts_ask_for_no_more_than_is_missing(
            key in prop::collection::vec(any::<u8>(), 1..=250),
            write in write(),
        ) {
            let mut sent = Vec::new();
            encode_put(&mut sent, &key, &write, None);
            if let Some(content) = &write.value {
                sent.extend_from_slice(&content.bytes);
                sent.extend_from_slice(b"\r\n");
            }
            let mut scratch = Scratch::default();
            for cut in 0..sent.len() {
                let Step::Incomplete { wanted } = Step::read(&sent[..cut], &mut scratch, MAX_VALUE).unwrap() else {
                    panic!("a whole request of {cut} bytes of {}", sent.len())
                };
                prop_assert!(wanted <= sent.len() - cut);
            }
            sent.extend_from_slice(b"mn\r\n");
            let step = Step::read(&sent, &mut scratch, MAX_VALUE).unwrap();
            let Step::Request { request: Request::Put { key: read_key, head, value }, consumed, .. } = step else {
                panic!("{step:?}")
            };
            prop_assert_eq!(consumed, sent.len() - 4);
            prop_assert_eq!(read_key, &key[..]);
            prop_assert_eq!(value, write.value.as_ref().map(|content| &content.bytes[..]));
            let content_type = write.value.as_ref().map_or(OCTET_STREAM, |content| &*content.content_type);
            prop_assert_eq!(head.content_type, content_type);
            prop_assert_eq!(head.fetched, write.fetched);
            let read = (head.version, head.ttl_left_ms, (head.flags, head.marks), head.origin, head.condition);
            prop_assert_eq!(read, (write.version, write.ttl_left_ms, (write.flags, write.marks), write.origin, write.condition));
        }

        #[test]
        fn a_read_and_a_promise_read_back(
            key in prop::collection::vec(any::<u8>(), 1..=250),
            ballot in any::<u64>(),
            look in prop_oneof![Just(Look::Plain), Just(Look::ShowsUse), Just(Look::Aside)],
        ) {
            let mut sent = Vec::new();
            encode_get(&mut sent, &key, look, None);
            let mut scratch = Scratch::default();
            let expected = Step::Request { request: Request::Get { key: &key, look }, consumed: sent.len(), trace: None };
            prop_assert_eq!(Step::read(&sent, &mut scratch, 0).unwrap(), expected);
            sent.clear();
            encode_promise(&mut sent, &key, Version(ballot), Some(b"00-1-2-01"));
            let request = Request::Promise { key: &key, ballot: Version(ballot) };
            let expected = Step::Request { request, consumed: sent.len(), trace: Some(b"00-1-2-01") };
            prop_assert_eq!(Step::read(&sent, &mut scratch, 0).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Step::read(&bytes, &mut Scratch::default(), 100);
        }
    }

    #[test]
    fn what_is_no_request_breaks_the_connection() {
        for bad in [
            "get k\r\n",
            "mg\r\n",
            "mg k Q1\r\n",
            "ms k x E1\r\n",
            "ms k 101 E1\r\n",
            "ms k 1 E1\r\nabc",
            "xe 1\r\n",
        ] {
            assert!(Step::read(bad.as_bytes(), &mut Scratch::default(), 100).is_err(), "{bad:?}");
        }
    }
}
