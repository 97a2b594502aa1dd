//! The cluster's secret and the tags that are made with it.

use std::fmt;
use std::str::FromStr;

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Sha256;

/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 16;
/// How long a nonce is, in bytes.
pub const NONCE_BYTES: usize = 16;
/// How long a tag is, in bytes.
pub const TAG_BYTES: usize = 32;

/// What the nodes of a cluster know and nobody else does. Neither `Debug` nor serde shows it.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

/// A secret that is no good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the cluster's secret is {0} bytes, which can be guessed: take at least {MIN_SECRET_BYTES}, such as the output of `openssl rand -hex 32`"
)]
pub struct SecretError(pub usize);

/// What a tag is for; a tag made for one purpose is never taken for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A node asks a master to take its beat: see [`JoinRequest`](super::JoinRequest).
    Join,
    /// A master asks a node whether it sent that: see [`Challenge`](super::Challenge).
    Challenge,
    /// The node says yes: see [`ChallengeAnswer`](super::ChallengeAnswer).
    Answer,
    /// A roster that is handed over: see [`Secret::roster_tag`].
    Roster,
    /// A call between two auxiliaries: see [`Secret::settle_tag`].
    Settle,
    /// A nonce: see [`Nonces`](super::Nonces).
    Nonce,
    /// A question to another process: see [`Call`](super::Call).
    Call,
    /// Its answer.
    CallAnswer,
}

/// Proof that its maker knew the secret. Equality takes the same time wherever two tags differ. As text, 64 lower-case
/// hexadecimal digits; `Debug` hides it, because some tags are good for a while and logs are read by many.
#[derive(Clone, Copy)]
pub struct Tag([u8; TAG_BYTES]);

/// Random bytes that are used once. As text, 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; NONCE_BYTES]);

/// Text that is not so many lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not {0} lower-case hexadecimal digits")]
pub struct HexError(usize);

impl Secret {
    /// Takes the text, without white space at its ends: files end in a newline, and environment variables do not.
    ///
    /// # Errors
    /// [`SecretError`] below [`MIN_SECRET_BYTES`].
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let key = text.trim().as_bytes();
        if key.len() < MIN_SECRET_BYTES {
            return Err(SecretError(key.len()));
        }
        Ok(Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length")))
    }

    /// The tag of `parts` for a purpose. Each part goes in with its length, so no two lists of parts are the same bytes.
    pub fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> Tag {
        let mut mac = self.0.clone();
        for part in [purpose.label().as_bytes()].iter().chain(parts) {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        Tag(mac.finalize().into_bytes().into())
    }

    /// Whether `tag` is the tag of `parts` for a purpose.
    pub fn verify(&self, purpose: Purpose, parts: &[&[u8]], tag: &Tag) -> bool {
        self.sign(purpose, parts) == *tag
    }

    /// The tag that goes with a roster to the node called `receiver`. `request` is the nonce of the request that the
    /// roster answers, so that a node that has just started cannot be handed an old one; a node that knows a roster
    /// already takes none with a lower revision.
    pub fn roster_tag(&self, request: Nonce, receiver: &str, roster_json: &[u8]) -> Tag {
        self.sign(Purpose::Roster, &[&request.0, receiver.as_bytes(), roster_json])
    }

    /// The tag that every call from one auxiliary to another carries while the cluster settles to an epoch. It covers no
    /// body, so both sides make it once an epoch and a call costs one comparison. The other side of that: who reads the traffic may
    /// call as the sender until the next epoch.
    pub fn settle_tag(&self, epoch: u64, sender: &str, receiver: &str) -> Tag {
        self.sign(Purpose::Settle, &[&epoch.to_be_bytes(), sender.as_bytes(), receiver.as_bytes()])
    }
}

impl From<Tag> for Nonce {
    /// The tag's first half.
    fn from(tag: Tag) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&tag.0[..NONCE_BYTES]);
        Self(nonce)
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        Self::new(text)
    }
}

impl PartialEq for Secret {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        let fingerprint = |secret: &Self| secret.0.clone().finalize();
        fingerprint(self) == fingerprint(other)
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Purpose {
    /// What separates the purposes. A change of what a tag covers takes a new number.
    const fn label(self) -> &'static str {
        match self {
            Self::Join => "annulus join 1",
            Self::Challenge => "annulus challenge 1",
            Self::Answer => "annulus answer 1",
            Self::Roster => "annulus roster 1",
            Self::Settle => "annulus settle 1",
            Self::Nonce => "annulus nonce 1",
            Self::Call => "annulus call 1",
            Self::CallAnswer => "annulus call answer 1",
        }
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        CtOutput::<Hmac<Sha256>>::new(self.0.into()) == CtOutput::new(other.0.into())
    }
}

impl Eq for Tag {}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(hidden)")
    }
}

/// Text, and so JSON, as lower-case hexadecimal digits.
macro_rules! as_hex {
    ($($type:ident)*) => {$(
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl FromStr for $type {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                from_hex(text).map(Self)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_hex!(Tag Nonce);

fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks();
    if pairs.len() != N || !rest.is_empty() {
        return Err(HexError(2 * N));
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = digit(*high).zip(digit(*low)).ok_or(HexError(2 * N))?;
        *byte = (high << 4) | low;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const J: Nonce = Nonce([1; NONCE_BYTES]);
    const OTHER: Nonce = Nonce([3; NONCE_BYTES]);

    fn secret() -> Secret {
        Secret::new("correct horse battery staple").unwrap()
    }

    fn stranger() -> Secret {
        Secret::new("incorrect horse battery staple").unwrap()
    }

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        assert_eq!(Secret::new("fifteen bytes  \n").unwrap_err(), SecretError(13));
        assert_eq!(Secret::new("correct horse battery staple\n").unwrap(), secret());
        assert_ne!(secret(), stranger());
        let shown = format!("{:?} {:?}", secret(), secret().settle_tag(1, "a", "b"));
        assert_eq!(shown, "Secret(hidden) Tag(hidden)");
    }

    #[test]
    fn a_tag_is_what_pythons_hmac_makes_of_the_same_bytes() {
        // hmac.new(secret, b"".join(len(p).to_bytes(8, "big") + p for p in [label, b"a", b""]), "sha256").hexdigest()
        let tag = secret().sign(Purpose::Settle, &[b"a", b""]);
        assert_eq!(tag.to_string(), "5ab96f1f8d61b579ec518dc506005ee3ab858aa74b2f3194ccb47d9f43d01f02");
    }

    #[test]
    fn tags_and_nonces_read_back_and_nothing_else_does() {
        let tag = secret().sign(Purpose::Join, &[]);
        assert_eq!(tag.to_string().parse(), Ok(tag));
        assert_eq!(J.to_string(), "01".repeat(NONCE_BYTES));
        let text = J.to_string();
        for bad in ["", "01", &text[1..], &format!("{text}0"), &text.replace('1', "A"), &"é".repeat(16)] {
            assert_eq!(bad.parse::<Nonce>(), Err(HexError(32)), "{bad}");
        }
        assert!(serde_json::from_str::<Tag>(r#""zz""#).is_err());
    }

    #[test]
    fn rosters_and_calls_are_bound_to_their_receiver() {
        let tag = secret().settle_tag(4, "aux-1", "aux-2");
        assert_eq!(tag, secret().settle_tag(4, "aux-1", "aux-2"));
        for other in [(5, "aux-1", "aux-2"), (4, "aux-2", "aux-1"), (4, "aux-1", "aux-3")] {
            assert_ne!(tag, secret().settle_tag(other.0, other.1, other.2));
        }
        let tag = secret().roster_tag(J, "aux-1", b"{}");
        assert_eq!(tag, secret().roster_tag(J, "aux-1", b"{}"));
        assert_ne!(tag, secret().roster_tag(OTHER, "aux-1", b"{}"));
        assert_ne!(tag, secret().roster_tag(J, "aux-2", b"{}"));
        assert_ne!(tag, stranger().roster_tag(J, "aux-1", b"{}"));
    }
}
