//! A registry in the memory of one of the pods, for where nothing else can keep it: Kubernetes lets us look, and not write.
//!
//! Every process sees from the same [`Snapshots`] which pod is the home. The home's process keeps the roster ([`Home`]), all
//! others ask it ([`HomeRegistry`]) over a [`Wire`].
//!
//! A home forgets when it starts again, and that is no rare event. So before it keeps anything, it asks every pod that has an
//! address which roster it knows, itself included, and goes on from the latest. Whoever took part in an operation knows the
//! roster by which it was done; so none that counted is lost. A pod at whose address nobody listens has no process, and
//! nothing to tell; one that does not answer is waited for, until it does or Kubernetes says that it is gone.
//!
//! There is one home at a time: whoever is asked stops keeping the roster itself, and goes on only after it has asked all
//! others in turn. So where two take themselves for the home, because one has heard of a change first, the last to ask is it,
//! with all that the other has taken.
//!
//! A home numbers what it takes over anew, [`Roster::NUMBERS_OF_A_HOME`] or more above the latest that is known: the home
//! before may have made rosters that died with it, and no two rosters may share an epoch.

mod client;
mod keeper;

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::Roster;

pub use self::client::HomeRegistry;
pub use self::keeper::Home;

/// How long a home waits for a change before it answers that there is none.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What a process asks the home; and, [`Known`](Question::Known), what one that is about to be the home asks the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The newest roster that this process knows. It keeps none for others from now on.
    Known,
    /// As [`Registry::load`](super::Registry::load).
    Load,
    /// As [`Registry::replace`](super::Registry::replace).
    Replace {
        /// What must be there.
        expected_revision: Option<u64>,
        /// What is to be.
        next: Box<Roster>,
    },
    /// As [`Registry::renew`](super::Registry::renew).
    Renew {
        /// Whose.
        name: String,
        /// Of which life.
        incarnation: u64,
        /// For how long, in milliseconds.
        ttl_ms: u64,
    },
    /// As [`Registry::holders`](super::Registry::holders).
    Holders {
        /// Of whose leases.
        names: Vec<String>,
    },
    /// As [`Registry::release`](super::Registry::release).
    Release {
        /// Whose.
        name: String,
        /// Of which life.
        incarnation: u64,
    },
    /// The revision, once it is another one or [`LONGEST_WAIT`] is over.
    Wait {
        /// The one that is known.
        revision: Option<u64>,
    },
}

/// A question, and to which life of the process it goes: one that was recorded is worth nothing later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The number of the life, as [`Answer::OtherLife`] gives it; 0 where it is not known yet.
    pub life: u64,
    /// The question.
    pub question: Question,
}

/// What a process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing was done: the question goes to another life than this one.
    OtherLife(u64),
    /// Nothing was done: this process does not keep the roster, or not yet.
    NotHome(String),
    /// To [`Question::Known`] and [`Question::Load`].
    Roster(Option<Box<Roster>>),
    /// To [`Question::Replace`] and [`Question::Renew`].
    Done(bool),
    /// To [`Question::Holders`], in the order of the names.
    Holders(Vec<Option<u64>>),
    /// To [`Question::Release`].
    Released,
    /// To [`Question::Wait`].
    Revision(Option<u64>),
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Nobody listens at that address: there is no process.
    #[error("nobody listens there")]
    NobodyThere,
    /// Whatever else.
    #[error("{0}")]
    Failed(String),
}

/// How a process asks another. Each question ends within a few seconds, [`Question::Wait`] after [`LONGEST_WAIT`] more.
pub trait Wire: Send + Sync + 'static {
    /// Asks the process of the node called `name`, and no other, at `address`.
    fn ask<'a>(
        &'a self,
        name: &'a str,
        address: &'a str,
        letter: &'a Letter,
    ) -> BoxFuture<'a, Result<Answer, WireError>>;
}
