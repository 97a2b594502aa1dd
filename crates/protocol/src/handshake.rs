//! How a node that joins and the cluster prove to each other that they know the cluster's secret, so that nobody makes
//! a master call arbitrary hosts, and nobody slips in a node to read values.
//!
//! ```text
//! node                                   master
//!  │ JoinRequest: beat, J, tag(beat, J)    │
//!  ├──────────────────────────────────────►│ opens it: the sender knows the secret
//!  │ Challenge: J, M, node, tag(J, M, node)│ resolves the beat's address once, checks it against the allowed
//!  │◄──────────────────────────────────────┤ networks, calls it and follows no redirect
//!  │ checks it: the caller knows the secret,
//!  │ and this is my join and my name       │
//!  │ ChallengeAnswer: tag(M, J, node)      │
//!  ├──────────────────────────────────────►│ checks it: the node is where it says; only now the beat counts
//! ```
//!
//! J and M are random nonces of 16 bytes, J fresh for every request and M for every challenge; `node` is the name, the
//! address and the incarnation. Tags are HMAC-SHA256 (RFC 2104) with the secret as the key.
//!
//! # Why replays are useless
//! - A *join* that is sent again, or held back, makes a master call the address that stands in it, and no other, since
//!   the tag covers it. The node there refuses the challenge unless it waits for the answer to just this request, in which
//!   case it gets what it asked for. Whoever has taken over the address since cannot answer the fresh M.
//! - A *challenge* names J: once the node's request has ended, J is forgotten and the challenge refused. Until then it
//!   draws the same answer again, which its master has already or has ceased to wait for.
//! - An *answer* covers M, which no other challenge has, and the node, so it lets in nobody else.
//! - No message stands in for another, and none can be sent back as its own answer: each purpose is tagged apart.
//! - To *relay* a challenge to another node is useless: that node has another name or address, and refuses it.
//!
//! So a node keeps one request under way at a time and forgets its J when the request ends, and a master keeps M only for
//! the length of its call. It calls the IP address that it has checked, since a name may resolve to another next time.
//!
//! A node beats for as long as it lives, and is not called back each time: a beat names, under the seal, the J of the last
//! request that the same master answered. The master calls back where that is not the J that it remembers of this life, so
//! a beat that was recorded counts no second time, at this master or at another ([`Registration`]).
//!
//! What this does not do is to hide or to protect the traffic that follows: who can change packets between the nodes reads
//! and writes values without joining. Networks that are not trusted need encryption below.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{ErrorCode, Problem};

pub use call::Call;
pub use nonces::Nonces;
pub use registration::{Refusal, Registration};
pub use secret::{
    HexError, MIN_SECRET_BYTES, NONCE_BYTES, Nonce, Purpose, Secret, SecretError, TAG_BYTES, Tag,
};

mod call;
mod nonces;
mod registration;
mod secret;

/// A node in one of its lives, as far as a handshake concerns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The stable name.
    pub name: String,
    /// Where it is reached, `host:port`, just as its beat gives it.
    pub address: String,
    /// The number of its life.
    pub incarnation: u64,
}

/// A node's beat, from the node to a master. The beat comes out only through [`Self::open`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    // Text within the text, so that whatever reformats JSON on the way changes no tagged byte.
    beat: String,
    nonce: Nonce,
    tag: Tag,
}

/// A master's question, to the address in the beat: "was that you?"
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    join: Nonce,
    nonce: Nonce,
    node: Identity,
    tag: Tag,
}

/// The node's answer: "it was".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeAnswer {
    tag: Tag,
}

/// Why a message of a handshake is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The join's tag does not fit.
    #[error(
        "the join request was not made with this cluster's secret, or was changed on its way: give the node the same secret as the masters"
    )]
    JoinTag,
    /// The join is genuine, and what it carries is no beat.
    #[error(
        "the join request carries no beat that this master understands ({0}): run the same version on all nodes"
    )]
    NotABeat(String),
    /// The challenge's tag does not fit.
    #[error(
        "the challenge was not made with this cluster's secret, or was changed on its way: give the masters the same secret as this node"
    )]
    ChallengeTag,
    /// The challenge is genuine, and for a request that is not under way.
    #[error("the challenge is for a join request that is not under way: it came too late or was sent again")]
    OtherJoin,
    /// The challenge is genuine, and for another node.
    #[error(
        "the challenge is for {asked}, and this is {own}: give each node an address at which only it is reached"
    )]
    OtherNode {
        /// Whom it names.
        asked: Box<Identity>,
        /// Who got it.
        own: Box<Identity>,
    },
    /// The answer's tag does not fit.
    #[error(
        "the answer of {0} to the challenge was not made with this cluster's secret, or not for this challenge: check that the address is the node's own and that it has the same secret as the masters"
    )]
    AnswerTag(Box<Identity>),
    /// A call's tag does not fit.
    #[error(
        "the question was not made with this cluster's secret, is for another node, or was changed on its way: give all nodes the same secret, and each its own name"
    )]
    CallTag,
    /// A call is genuine, and asks nothing that is known here.
    #[error("not a question that this node understands ({0}): run the same version on all nodes")]
    NoQuestion(String),
}

impl JoinRequest {
    /// A node's request. `nonce` is random and the node's own; it remembers it until the request ends.
    ///
    /// # Errors
    /// Where the beat cannot be written as JSON.
    pub fn new(secret: &Secret, beat: &impl Serialize, nonce: Nonce) -> Result<Self, serde_json::Error> {
        let beat = serde_json::to_string(beat)?;
        let tag = secret.sign(Purpose::Join, &[&nonce.0, beat.as_bytes()]);
        Ok(Self { beat, nonce, tag })
    }

    /// What the master goes by: the beat, once the tag fits. It counts only when the node has answered a challenge.
    ///
    /// # Errors
    /// [`HandshakeError::JoinTag`] or [`HandshakeError::NotABeat`].
    pub fn open<B: DeserializeOwned>(&self, secret: &Secret) -> Result<B, HandshakeError> {
        if !secret.verify(Purpose::Join, &[&self.nonce.0, self.beat.as_bytes()], &self.tag) {
            return Err(HandshakeError::JoinTag);
        }
        serde_json::from_str(&self.beat).map_err(|error| HandshakeError::NotABeat(error.to_string()))
    }

    /// The node's nonce.
    pub fn nonce(&self) -> Nonce {
        self.nonce
    }
}

impl Challenge {
    /// A master's challenge to `node`, taken from the beat of the request whose nonce is `join`. `nonce` is random and the
    /// master's own.
    pub fn new(secret: &Secret, join: Nonce, nonce: Nonce, node: Identity) -> Self {
        let tag = sign_node(secret, Purpose::Challenge, [join, nonce], &node);
        Self { join, nonce, node, tag }
    }

    /// The answer of the node `own`, which has sent the request `join` and waits for its end; `None` where it waits for
    /// none. A caller without the secret learns nothing else.
    ///
    /// # Errors
    /// [`HandshakeError::ChallengeTag`], [`HandshakeError::OtherJoin`] or [`HandshakeError::OtherNode`].
    pub fn answer(
        &self,
        secret: &Secret,
        own: &Identity,
        join: Option<Nonce>,
    ) -> Result<ChallengeAnswer, HandshakeError> {
        if sign_node(secret, Purpose::Challenge, [self.join, self.nonce], &self.node) != self.tag {
            return Err(HandshakeError::ChallengeTag);
        }
        if self.node != *own {
            return Err(HandshakeError::OtherNode {
                asked: Box::new(self.node.clone()),
                own: Box::new(own.clone()),
            });
        }
        if join != Some(self.join) {
            return Err(HandshakeError::OtherJoin);
        }
        Ok(ChallengeAnswer { tag: self.answer_tag(secret) })
    }

    fn answer_tag(&self, secret: &Secret) -> Tag {
        sign_node(secret, Purpose::Answer, [self.nonce, self.join], &self.node)
    }
}

impl ChallengeAnswer {
    /// Checks the answer against the challenge that the master sent, and not one that it was shown.
    ///
    /// # Errors
    /// [`HandshakeError::AnswerTag`].
    pub fn check(&self, secret: &Secret, challenge: &Challenge) -> Result<(), HandshakeError> {
        if challenge.answer_tag(secret) == self.tag {
            return Ok(());
        }
        Err(HandshakeError::AnswerTag(Box::new(challenge.node.clone())))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted and escaped, because it may come from a stranger and end in a log.
        write!(f, "node {:?} at {:?} in its life {}", self.name, self.address, self.incarnation)
    }
}

impl From<HandshakeError> for Problem {
    fn from(error: HandshakeError) -> Self {
        use HandshakeError::{
            AnswerTag, CallTag, ChallengeTag, JoinTag, NoQuestion, NotABeat, OtherJoin, OtherNode,
        };
        let code = match error {
            JoinTag | ChallengeTag | CallTag => ErrorCode::NotSealed,
            NotABeat(_) | NoQuestion(_) => ErrorCode::BadJson,
            OtherJoin | OtherNode { .. } => ErrorCode::Conflict,
            AnswerTag(_) => ErrorCode::AddressNotConfirmed,
        };
        Self::new(code, error.to_string())
    }
}

fn sign_node(secret: &Secret, purpose: Purpose, nonces: [Nonce; 2], node: &Identity) -> Tag {
    let [first, second] = nonces;
    let incarnation = node.incarnation.to_be_bytes();
    let (name, address) = (node.name.as_bytes(), node.address.as_bytes());
    secret.sign(purpose, &[&first.0, &second.0, name, address, &incarnation])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const J: Nonce = Nonce([1; NONCE_BYTES]);
    const M: Nonce = Nonce([2; NONCE_BYTES]);
    const OTHER: Nonce = Nonce([3; NONCE_BYTES]);

    fn secret() -> Secret {
        Secret::new("correct horse battery staple").unwrap()
    }

    fn stranger() -> Secret {
        Secret::new("incorrect horse battery staple").unwrap()
    }

    fn node(name: &str, address: &str, incarnation: u64) -> Identity {
        Identity { name: name.to_owned(), address: address.to_owned(), incarnation }
    }

    fn own() -> Identity {
        node("aux-1", "10.0.0.1:3001", 7)
    }

    fn challenge() -> Challenge {
        Challenge::new(&secret(), J, M, own())
    }

    /// What `message` becomes where somebody changes it on its way.
    fn changed<T: Serialize + DeserializeOwned>(message: &T, change: impl FnOnce(&mut Value)) -> T {
        let mut json = serde_json::to_value(message).unwrap();
        change(&mut json);
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn who_knows_the_secret_gets_in() {
        let beat = json!({"name": "aux-1", "settled": 0});
        let join = JoinRequest::new(&secret(), &beat, J).unwrap();
        let join: JoinRequest = serde_json::from_str(&serde_json::to_string(&join).unwrap()).unwrap();
        assert_eq!(join.open::<Value>(&secret()), Ok(beat));
        let challenge = Challenge::new(&secret(), join.nonce(), M, own());
        let sent = serde_json::from_str::<Challenge>(&serde_json::to_string(&challenge).unwrap()).unwrap();
        let answer = sent.answer(&secret(), &own(), Some(J)).unwrap();
        assert_eq!(answer.check(&secret(), &challenge), Ok(()));
    }

    #[test]
    fn who_has_another_secret_is_refused_on_either_side() {
        let join = JoinRequest::new(&stranger(), &json!({}), J).unwrap();
        assert_eq!(join.open::<Value>(&secret()), Err(HandshakeError::JoinTag));
        let of_stranger = Challenge::new(&stranger(), J, M, own());
        let refused = of_stranger.answer(&secret(), &own(), Some(J));
        assert_eq!(refused, Err(HandshakeError::ChallengeTag));
        let answer = of_stranger.answer(&stranger(), &own(), Some(J)).unwrap();
        let refused = answer.check(&secret(), &challenge()).unwrap_err();
        assert_eq!(refused, HandshakeError::AnswerTag(Box::new(own())));
        assert!(
            refused.to_string().contains(r#"node "aux-1" at "10.0.0.1:3001" in its life 7"#),
            "{refused}"
        );
    }

    #[test]
    fn a_join_that_was_changed_is_refused() {
        let join = JoinRequest::new(&secret(), &json!({"address": "10.0.0.1:3001"}), J).unwrap();
        for forged in [
            changed(&join, |json| json["beat"] = json!({"address": "10.6.6.6:80"}).to_string().into()),
            changed(&join, |json| json["nonce"] = json!(OTHER)),
            changed(&join, |json| json["tag"] = json!("00".repeat(TAG_BYTES))),
            changed(&join, |json| json["tag"] = json!(challenge().tag)),
        ] {
            assert_eq!(forged.open::<Value>(&secret()), Err(HandshakeError::JoinTag));
        }
        assert!(matches!(join.open::<u8>(&secret()), Err(HandshakeError::NotABeat(_))));
    }

    #[test]
    fn a_challenge_to_another_join_is_refused() {
        for under_way in [Some(OTHER), None] {
            let refused = challenge().answer(&secret(), &own(), under_way);
            assert_eq!(refused, Err(HandshakeError::OtherJoin));
        }
        let forged = changed(&challenge(), |json| json["join"] = json!(OTHER));
        assert_eq!(forged.answer(&secret(), &own(), Some(OTHER)), Err(HandshakeError::ChallengeTag));
    }

    #[test]
    fn a_challenge_that_is_relayed_to_another_node_is_refused() {
        for other in [
            node("aux-2", "10.0.0.1:3001", 7),
            node("aux-1", "10.0.0.2:3001", 7),
            node("aux-1", "10.0.0.1:3001", 8),
        ] {
            let refused = challenge().answer(&secret(), &other, Some(J));
            assert!(matches!(refused, Err(HandshakeError::OtherNode { .. })), "{other}");
            let forged = changed(&challenge(), |json| json["node"] = json!(other));
            let refused = forged.answer(&secret(), &other, Some(J));
            assert_eq!(refused, Err(HandshakeError::ChallengeTag), "{other}");
        }
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let swapped = node("10.0.0.1:3001", "aux-1", 7);
        let shifted = node("aux-11", "0.0.0.1:3001", 7);
        for other in [swapped, shifted] {
            let forged = changed(&challenge(), |json| json["node"] = json!(other));
            let refused = forged.answer(&secret(), &other, Some(J));
            assert_eq!(refused, Err(HandshakeError::ChallengeTag), "{other}");
        }
        assert_ne!(
            secret().sign(Purpose::Join, &[b"ab", b"c"]),
            secret().sign(Purpose::Join, &[b"a", b"bc"])
        );
        assert_ne!(secret().sign(Purpose::Join, &[b"ab"]), secret().sign(Purpose::Join, &[b"ab", b""]));
    }

    #[test]
    fn an_answer_fits_one_challenge_only() {
        let answer = challenge().answer(&secret(), &own(), Some(J)).unwrap();
        let of_other_node = node("aux-2", "10.0.0.2:3001", 7);
        for other in [
            Challenge::new(&secret(), J, OTHER, own()),
            Challenge::new(&secret(), OTHER, M, own()),
            Challenge::new(&secret(), M, J, own()),
            Challenge::new(&secret(), J, M, of_other_node),
        ] {
            assert!(
                matches!(answer.check(&secret(), &other), Err(HandshakeError::AnswerTag(_))),
                "{other:?}"
            );
        }
    }

    #[test]
    fn nothing_is_its_own_answer() {
        let reflected = ChallengeAnswer { tag: challenge().tag };
        assert!(reflected.check(&secret(), &challenge()).is_err());
        let answer = challenge().answer(&secret(), &own(), Some(J)).unwrap();
        // With the same nonce twice, only the purpose keeps the two apart.
        let mirror = Challenge::new(&secret(), J, J, own());
        assert!(ChallengeAnswer { tag: mirror.tag }.check(&secret(), &mirror).is_err());
        let forged = Challenge { join: M, nonce: J, node: own(), tag: answer.tag };
        assert_eq!(forged.answer(&secret(), &own(), Some(M)), Err(HandshakeError::ChallengeTag));
    }
}
