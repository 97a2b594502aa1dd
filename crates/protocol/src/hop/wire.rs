//! The hop as bytes: memcached's meta commands, with what versions, epochs, floors and promises need beyond them.
//!
//! Requests and answers are lines that end in `\r\n`; a value follows the line that gives its length. Answers come in the
//! order of the requests. A key stands as it is where it is printable ASCII without blanks; otherwise it is in base64 (RFC 4648
//! §4) and the flag `b` says so. Numbers are decimal.
//!
//! | request | what it asks |
//! | --- | --- |
//! | `xe EPOCH LIFE` | what follows goes by this epoch and means this life of the node, 0: any; not answered |
//! | `mg KEY` | the copy |
//! | `mg KEY h`, `mg KEY u` | the copy, and how it was used before; with `u` this does not count as a use |
//! | `mg KEY P VERSION` | the copy, and the promise to refuse whatever is below the version |
//! | `ms KEY LENGTH E VERSION` + value | to take a value under the version |
//! | `md KEY E VERSION` | to take a tombstone |
//! | `xf VERSION` | to forget everything at or below the version |
//! | `mn` | nothing |
//!
//! Flags stand directly before their value (`E17`). Beside `E` (the version; memcached's explicit CAS) a write may have `F`
//! (the client's flags), `m` (its marks), `Y` (milliseconds left to live), `o` (the version under which it was first written), `y` (the content
//! type in base64), `h` (it counts as read), and one of `ME` (only if there is no live entry), `MR` (only if there is one), `C` (only over this version)
//! and `P` (only if its promise still stands). Any of the first four may have `i` and a `traceparent`.
//!
//! | answer | what it says |
//! | --- | --- |
//! | `VA LENGTH c…` + value | the value, with the flags `c` (version), `f`, `m`, `t` (milliseconds left), `o`, `y`; with `h` or `u` in the request `h` if it was read before, and `l` (seconds since it was used) |
//! | `EN c… r… [d]` | no value: the floor or, with `d`, the tombstone's version, and why |
//! | `HD [p…] [l]` | taken; what was there before, `l` if it was live |
//! | `NS n… a`, `NS n… m…` | refused: this version is known; taken before, or not within so many milliseconds |
//! | `NS p…`, `NS c…`, `NS e`, `NS s`, `NS b` | refused: promised; condition, with or without a live version; too large; busy |
//! | `XO LENGTH` + JSON | not done: the node goes by this later roster |
//! | `XB`, `XL`, `XA` | not done: the node's roster is older; it is still loading; it is in another life |
//! | `MN` | nothing |
//! | `SERVER_ERROR …` | not done, or not known to be; the text says why |

mod answer;
mod request;
mod token;

pub use answer::{
    Answer, AnswerHead, ValueHead, encode_miss, encode_outdated, encode_put_answer, encode_refusal,
};
pub use request::{
    Request, Scratch, Step, WriteHead, encode_enter, encode_flush, encode_get, encode_promise, encode_put,
};

/// The longest line that either side sends, in bytes.
pub const MAX_LINE_BYTES: usize = 1024;

/// What one side sent and the other cannot make sense of: the connection is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hop's protocol is broken: {0}")]
pub struct Broken(pub &'static str);
