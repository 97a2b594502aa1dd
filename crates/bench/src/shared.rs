//! What all workers of a run read.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::keys::KeySpace;
use crate::parse::Url;
use crate::payload::Pool;
use crate::protocol::Options;
use crate::verify::Ledger;

pub(crate) struct Shared {
    pub(crate) urls: Vec<Url>,
    pub(crate) options: Options,
    pub(crate) timeout: Duration,
    /// Requests in one write.
    pub(crate) pipeline: usize,
    pub(crate) keys: KeySpace,
    pub(crate) pool: Pool,
    /// Under `--verify`.
    pub(crate) ledger: Option<Ledger>,
    /// Tells this run's values from those of earlier ones.
    pub(crate) run: u32,
    pub(crate) stop: AtomicBool,
}
