//! W3C trace context, level 1: <https://www.w3.org/TR/trace-context/>.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};

/// The header that carries a [`TraceContext`].
pub const TRACEPARENT: &str = "traceparent";

/// `version-traceid-parentid-flags`, of which the lengths never change.
const LENGTH: usize = 2 + 1 + 32 + 1 + 16 + 1 + 2;

/// Which trace a request belongs to, and which step of it this is.
///
/// Copying it is free; only [`header_value`](Self::header_value) allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    sampled: bool,
}

impl TraceContext {
    /// The context that the caller sent. Where there is none, or more than one, or it is malformed, a new trace
    /// starts: the standard says so, and a request is never refused for it.
    pub fn from_headers(headers: &HeaderMap, ids: &TraceIds) -> Self {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(only), None) => Self::parse(only.as_bytes()).unwrap_or_else(|| Self::start(ids)),
            _ => Self::start(ids),
        }
    }

    /// A new trace. It is not marked as sampled, because nobody has recorded it.
    pub fn start(ids: &TraceIds) -> Self {
        Self { trace_id: ids.trace_id(), span_id: ids.span_id(), sampled: false }
    }

    /// The next step of the same trace: what a hop is sent with.
    pub fn child(&self, ids: &TraceIds) -> Self {
        Self { span_id: ids.span_id(), ..*self }
    }

    /// Whether whoever began the trace records it.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Reads a `traceparent`. `None` for what the standard calls invalid: other lengths, upper case, ids of zeros,
    /// version `ff`. A later version may be followed by more fields, which are passed over.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(LENGTH)?;
        let version = hex(&known[..2])?;
        let ends = rest.is_empty() || (version > 0 && rest[0] == b'-');
        let dashes = [2, 35, 52].iter().all(|at| known[*at] == b'-');
        if version == 0xff || !ends || !dashes {
            return None;
        }
        let flags = hex(&known[53..])?;
        Some(Self {
            trace_id: NonZeroU128::new(hex(&known[3..35])?)?,
            span_id: NonZeroU64::new(hex(&known[36..52])? as u64)?,
            sampled: flags & 1 == 1,
        })
    }

    /// The value of a `traceparent` header, version 00.
    pub fn header_value(&self) -> HeaderValue {
        let mut text = [b'-'; LENGTH];
        text[..2].copy_from_slice(b"00");
        write_hex(self.trace_id.get(), &mut text[3..35]);
        write_hex(self.span_id.get().into(), &mut text[36..52]);
        write_hex(self.sampled.into(), &mut text[53..]);
        HeaderValue::from_bytes(&text).expect("hex digits and dashes are visible ASCII")
    }

    /// What names the request in logs and answers: the trace id.
    pub fn request_id(&self) -> RequestId {
        let mut text = [b'0'; 32];
        write_hex(self.trace_id.get(), &mut text);
        RequestId(text)
    }
}

/// A trace id in 32 lower-case hex digits, on the stack.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes ids, without end and without a lock, from one seed: SplitMix64 (Steele, Lea and Flood, *Fast Splittable
/// Pseudorandom Number Generators*, OOPSLA 2014) over a counter. Equal seeds give equal ids, so each node needs its
/// own. They are unique, not secret.
#[derive(Debug)]
pub struct TraceIds {
    state: AtomicU64,
    key: u64,
}

impl TraceIds {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// A generator of its own for this seed.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed), key: mix(!seed) }
    }

    fn next_state(&self) -> u64 {
        self.state.fetch_add(Self::STEP, Ordering::Relaxed)
    }

    /// The key keeps two nodes apart whose counters happen to meet.
    fn trace_id(&self) -> NonZeroU128 {
        let state = self.next_state();
        let id = u128::from(mix(state)) << 64 | u128::from(mix(state ^ self.key));
        NonZeroU128::new(id).unwrap_or(NonZeroU128::MIN)
    }

    fn span_id(&self) -> NonZeroU64 {
        NonZeroU64::new(mix(self.next_state())).unwrap_or(NonZeroU64::MIN)
    }
}

fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| match digit {
        b'0'..=b'9' => Some(value << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(value << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

fn write_hex(mut value: u128, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (http::HeaderName::from_static(TRACEPARENT), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_valid_traceparent_is_honoured() {
        let context = TraceContext::from_headers(&headers(&[GIVEN]), &TraceIds::new(1));
        assert_eq!(context.header_value(), GIVEN);
        assert_eq!(context.request_id().as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn a_child_stays_in_the_trace_under_its_own_id() {
        let parent = TraceContext::parse(GIVEN.as_bytes()).unwrap();
        let child = parent.child(&TraceIds::new(1));
        assert_eq!(child.request_id(), parent.request_id());
        assert_ne!(child.header_value(), parent.header_value());
        assert!(child.header_value().to_str().unwrap().ends_with("-01"));
    }

    #[test]
    fn a_malformed_traceparent_starts_a_new_trace() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let malformed = [
            String::new(),
            format!("00-{id}-00f067aa0ba902b7"),
            format!("00-{id}-00f067aa0ba902b7-01-more"),
            format!("00-{id}-00f067aa0ba902b7-01-"),
            format!("ff-{id}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00_{id}-00f067aa0ba902b7-01"),
            format!("00-{id}-00f067aa0ba902bg-01"),
            format!("01-{id}-00f067aa0ba902b7-01more"),
        ];
        for text in malformed {
            assert_eq!(TraceContext::parse(text.as_bytes()), None, "{text}");
            let context = TraceContext::from_headers(&headers(&[&text]), &TraceIds::new(1));
            assert_ne!(context.request_id().as_str(), id);
            assert_eq!(TraceContext::parse(context.header_value().as_bytes()), Some(context));
        }
        let twice = TraceContext::from_headers(&headers(&[GIVEN, GIVEN]), &TraceIds::new(1));
        assert_ne!(twice.request_id().as_str(), id);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("cc{}-more", &GIVEN[2..]);
        assert_eq!(TraceContext::parse(later.as_bytes()), TraceContext::parse(GIVEN.as_bytes()));
        let unknown_flags = format!("{}ff", &GIVEN[..53]);
        assert_eq!(TraceContext::parse(unknown_flags.as_bytes()).unwrap().header_value(), GIVEN);
    }

    #[test]
    fn ids_are_distinct_within_a_node_and_between_nodes_and_repeat_with_the_seed() {
        let draw = |seed| {
            let ids = TraceIds::new(seed);
            (0..1000).map(|_| TraceContext::start(&ids).request_id().to_string()).collect::<Vec<_>>()
        };
        // The second seed starts one step into the sequence of the first.
        let (first, second) = (draw(7), draw(7_u64.wrapping_add(TraceIds::STEP)));
        let distinct: std::collections::BTreeSet<_> = first.iter().chain(&second).collect();
        assert_eq!(distinct.len(), 2000);
        assert_eq!(first, draw(7));
    }
}
