//! A question from one process of a cluster to another, and its answer.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{HandshakeError, Nonce, Purpose, Secret, Tag};

/// A question under the cluster's seal, to the process of one node. What it asks comes out only through [`Self::open`].
///
/// The seal covers to whom it goes, so that a process that has taken over an address answers nothing that was meant for
/// another. It does not keep a question from being sent again: that is for the question to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    // Text within the text, so that whatever reformats JSON on the way changes no tagged byte.
    question: String,
    nonce: Nonce,
    tag: Tag,
}

impl Call {
    /// A question to the node called `to`. `nonce` is random.
    ///
    /// # Errors
    /// Where the question cannot be written as JSON.
    pub fn new(
        secret: &Secret,
        to: &str,
        question: &impl Serialize,
        nonce: Nonce,
    ) -> Result<Self, serde_json::Error> {
        let question = serde_json::to_string(question)?;
        let tag = secret.sign(Purpose::Call, &[&nonce.0, to.as_bytes(), question.as_bytes()]);
        Ok(Self { question, nonce, tag })
    }

    /// What is asked of the node called `own`, once the tag fits.
    ///
    /// # Errors
    /// [`HandshakeError::CallTag`] or [`HandshakeError::NoQuestion`].
    pub fn open<Q: DeserializeOwned>(&self, secret: &Secret, own: &str) -> Result<Q, HandshakeError> {
        let parts: [&[u8]; 3] = [&self.nonce.0, own.as_bytes(), self.question.as_bytes()];
        if !secret.verify(Purpose::Call, &parts, &self.tag) {
            return Err(HandshakeError::CallTag);
        }
        serde_json::from_str(&self.question).map_err(|error| HandshakeError::NoQuestion(error.to_string()))
    }

    /// The tag that goes with the answer: it fits this question alone, and shows that whoever answers knows the secret.
    pub fn answer_tag(&self, secret: &Secret, answer: &[u8]) -> Tag {
        secret.sign(Purpose::CallAnswer, &[&self.nonce.0, answer])
    }
}

#[cfg(test)]
mod tests {
    use super::super::NONCE_BYTES;
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    #[test]
    fn a_question_is_for_one_node_of_one_cluster() {
        let (ours, theirs) = (secret("correct horse battery"), secret("incorrect horse battery"));
        let call = Call::new(&ours, "a", &vec![1, 2], Nonce([1; NONCE_BYTES])).unwrap();
        let call: Call = serde_json::from_str(&serde_json::to_string(&call).unwrap()).unwrap();
        assert_eq!(call.open::<Vec<u8>>(&ours, "a"), Ok(vec![1, 2]));
        assert_eq!(call.open::<Vec<u8>>(&ours, "b"), Err(HandshakeError::CallTag));
        assert_eq!(call.open::<Vec<u8>>(&theirs, "a"), Err(HandshakeError::CallTag));
        assert!(matches!(call.open::<u8>(&ours, "a"), Err(HandshakeError::NoQuestion(_))));
        let changed = Call { question: "[1,3]".to_owned(), ..call };
        assert_eq!(changed.open::<Vec<u8>>(&ours, "a"), Err(HandshakeError::CallTag));
    }

    #[test]
    fn an_answer_fits_one_question() {
        let ours = secret("correct horse battery");
        let call = |nonce| Call::new(&ours, "a", &1, Nonce([nonce; NONCE_BYTES])).unwrap();
        let tag = call(1).answer_tag(&ours, b"yes");
        assert_eq!(tag, call(1).answer_tag(&ours, b"yes"));
        assert_ne!(tag, call(2).answer_tag(&ours, b"yes"));
        assert_ne!(tag, call(1).answer_tag(&ours, b"no"));
        assert_ne!(tag, call(1).tag);
    }
}
