//! What a node that registers through a master says under the seal of its request, and how it is turned away.

use serde::{Deserialize, Serialize};

use super::Nonce;
use crate::Problem;

/// What a [`JoinRequest`](super::JoinRequest) to `POST /nodes` carries; `B` is a beat, and `R` a roster. The answer to a beat
/// is the roster; that to a farewell is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration<B, R> {
    /// The node is there.
    Beat {
        /// What it says of itself.
        beat: B,
        /// The last roster that it has seen, so that a master whose registry has forgotten everything gets it back.
        known: Option<R>,
        /// The nonce of the last request of this life that this master has answered.
        previous: Option<Nonce>,
    },
    /// The node's process ends: its lease is free.
    Farewell {
        /// The name.
        name: String,
        /// The number of the life that ends.
        incarnation: u64,
    },
}

/// The problem document with which a beat is turned away; `B` is the reason as the node's program takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal<B> {
    /// The same for people.
    #[serde(flatten)]
    pub problem: Problem,
    /// Why.
    pub beat: B,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorCode;

    #[test]
    fn a_refusal_is_a_problem_document_with_one_member_more() {
        let refusal = Refusal { problem: Problem::new(ErrorCode::Conflict, "why"), beat: "Superseded" };
        let json = serde_json::to_value(&refusal).unwrap();
        assert_eq!(
            (&json["status"], &json["code"], &json["beat"]),
            (&409.into(), &"conflict".into(), &"Superseded".into())
        );
        assert_eq!(serde_json::from_value::<Problem>(json.clone()).unwrap(), refusal.problem);
        assert_eq!(serde_json::from_value::<Refusal<String>>(json).unwrap().beat, refusal.beat);
    }

    #[test]
    fn what_a_node_says_reads_back() {
        let farewell = Registration::<(), ()>::Farewell { name: "a".into(), incarnation: 3 };
        let json = serde_json::to_value(&farewell).unwrap();
        assert_eq!(json, json!({ "farewell": { "name": "a", "incarnation": 3 } }));
        assert_eq!(serde_json::from_value::<Registration<(), ()>>(json).unwrap(), farewell);
    }
}
