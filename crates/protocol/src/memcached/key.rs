//! Keys as they stand on a line.

use bytes::BufMut;

use crate::key::MAX_KEY_BYTES;

/// What is no symbol, in [`DECODE`].
const NONE: u8 = 0xff;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const DECODE: [u8; 256] = decode_table();

const fn decode_table() -> [u8; 256] {
    let mut table = [NONE; 256];
    let mut i = 0;
    while i < 64 {
        table[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    table[b'=' as usize] = 0;
    table
}

/// A key as it came in: 1 to 250 bytes of a line, which may be base64 (meta commands with flag `b`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireKey<'a> {
    wire: &'a [u8],
    binary: bool,
}

/// Room for a decoded key, so that decoding takes no allocation.
#[derive(Debug, Clone)]
pub struct KeyScratch([u8; DECODED_BYTES]);

/// What the longest base64 of a key stands for, at most.
const DECODED_BYTES: usize = MAX_KEY_BYTES / 4 * 3;

impl Default for KeyScratch {
    fn default() -> Self {
        Self([0; DECODED_BYTES])
    }
}

impl<'a> WireKey<'a> {
    /// A key that stands for itself. The parser has checked its length.
    pub(super) fn plain(wire: &'a [u8]) -> Self {
        Self { wire, binary: false }
    }

    /// A key in base64. `None` where it is not, or holds no byte.
    pub(super) fn base64(wire: &'a [u8]) -> Option<Self> {
        decode(wire, &mut KeyScratch::default().0).map(|_| Self { wire, binary: true })
    }

    /// The key as it stands on the line.
    pub fn wire(self) -> &'a [u8] {
        self.wire
    }

    /// Whether it stands there in base64.
    pub fn is_binary(self) -> bool {
        self.binary
    }

    /// The key itself, 1 to 250 bytes. Only one in base64 makes use of `scratch`.
    pub fn bytes<'s>(self, scratch: &'s mut KeyScratch) -> &'s [u8]
    where
        'a: 's,
    {
        if !self.binary {
            return self.wire;
        }
        // It was decoded once when it was parsed, so the fallback is never taken.
        let len = decode(self.wire, &mut scratch.0).unwrap_or(0);
        &scratch.0[..len]
    }

    /// The key itself, in memory of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut KeyScratch::default()).to_vec()
    }
}

/// Base64 of RFC 4648 §4 with padding, read as memcached does: other characters are skipped, and so is what follows a
/// padded group. Gives back how many bytes it wrote; `None` where that is none, or a group of four is not full.
fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let symbols = || text.iter().copied().filter(|symbol| DECODE[usize::from(*symbol)] != NONE);
    if symbols().count() % 4 != 0 {
        return None;
    }
    let (mut at, mut group, mut filled, mut padding) = (0, 0_u32, 0, 0);
    for symbol in symbols() {
        group = group << 6 | u32::from(DECODE[usize::from(symbol)]);
        filled += 1;
        padding += usize::from(symbol == b'=');
        if filled < 4 {
            continue;
        }
        let keep = 3_usize.checked_sub(padding).filter(|keep| *keep > 0)?;
        out.get_mut(at..at + keep)?.copy_from_slice(&group.to_be_bytes()[1..=keep]);
        at += keep;
        if padding > 0 {
            break;
        }
        (group, filled) = (0, 0);
    }
    (at > 0).then_some(at)
}

/// Base64 of RFC 4648 §4 with padding.
pub(super) fn encode(bytes: &[u8], out: &mut impl BufMut) {
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        let mut symbols = [b'='; 4];
        for (i, symbol) in symbols.iter_mut().take(chunk.len() + 1).enumerate() {
            *symbol = ALPHABET[(group >> (18 - 6 * i) & 63) as usize];
        }
        out.put_slice(&symbols);
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn base64_is_that_of_rfc_4648(key in prop::collection::vec(any::<u8>(), 1..=186)) {
            let mut encoded = Vec::new();
            encode(&key, &mut encoded);
            prop_assert_eq!(&encoded, &STANDARD.encode(&key).into_bytes());
            let wire = WireKey::base64(&encoded).unwrap();
            prop_assert_eq!(wire.to_vec(), key);
            prop_assert_eq!(wire.wire(), &encoded[..]);
        }

        #[test]
        fn any_text_decodes_to_at_most_three_quarters_of_it(text in prop::collection::vec(any::<u8>(), 0..=250)) {
            if let Some(len) = decode(&text, &mut KeyScratch::default().0) {
                prop_assert!(len > 0 && len * 4 <= text.len() * 3);
            }
        }
    }

    #[test]
    fn a_plain_key_is_its_own_wire_form() {
        let key = WireKey::plain(b"Zm9v");
        assert_eq!((key.bytes(&mut KeyScratch::default()), key.is_binary()), (&b"Zm9v"[..], false));
    }

    #[test]
    fn other_characters_are_skipped_and_what_follows_padding_is_not_read() {
        assert_eq!(WireKey::base64(b"Z!m-9_v").unwrap().to_vec(), b"foo");
        assert_eq!(WireKey::base64(b"Zm8=Zm9v").unwrap().to_vec(), b"fo");
        for none in [&b""[..], b"Z", b"Zm8", b"====", b"Z==="] {
            assert!(WireKey::base64(none).is_none(), "{none:?}");
        }
    }
}
