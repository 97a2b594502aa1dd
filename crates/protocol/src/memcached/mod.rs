//! The memcached protocol: the text commands and the meta commands of memcached 1.6.
//!
//! Bytes in, requests out; outcomes in, bytes out. Nothing here listens, stores or tells the time. A server goes
//! through three steps:
//!
//! 1. [`Parser::next`] reads a [`Request`] off the front of the connection's buffer: an [`Action`] and [`Wants`].
//! 2. The action is carried out. For one key, [`Update::apply`] says what becomes of the item (a [`Change`]) and what is
//!    to be said (an [`Outcome`]). A server with a lock applies it to the entry; one with replicated copies applies it to
//!    what it read, writes on condition that nothing came between, and starts again if something did.
//! 3. [`Wants::render`] writes the answer.
//!
//! Clients read answers with [`AnswerParser`].

mod admin;
mod answer;
mod apply;
mod change;
pub mod exchange;
mod expiry;
pub mod invariants;
mod item;
mod key;
mod meta;
mod outcome;
mod parser;
pub mod reference;
mod render;
mod request;
pub mod stats;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod update;
mod wants;

pub use answer::{Answer, AnswerLimits, AnswerParser, AnswerStep, MetaAnswer, MetaCode};
pub use change::{Change, NewItem, NewValue, Verdict};
pub use expiry::{Exptime, Now, Ttl};
pub use item::{Item, Marks};
pub use key::{KeyScratch, WireKey};
pub use outcome::{Hit, Number, Outcome};
pub use parser::{Limits, Parser, Refused, Step};
pub use render::{END, VALUE_END};
pub use request::{Action, Detail, KeyIter, Keys, Request, Store, StoreMode, Topic};
pub use update::{Delta, Direction, Invalidate, Join, Side, Update, Vivify};
pub use wants::Wants;
