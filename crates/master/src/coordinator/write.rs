//! Writing a key without a condition.

use annulus_protocol::hop::{Refusal, Taken};
use annulus_protocol::value::Content;
use annulus_protocol::{ErrorCode, Key, Problem, Version};

use super::gather::gather;
use super::{Context, Coordinator, MAX_ATTEMPTS, plain};

/// What a write makes of a key.
#[derive(Debug, Clone)]
pub struct Change {
    /// The value; `None` deletes.
    pub value: Option<Content>,
    /// Milliseconds to live from now; `None` for no expiry.
    pub ttl_left_ms: Option<u64>,
    /// The memcached client's flags.
    pub flags: u32,
}

/// A write that is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The version it made.
    pub version: Version,
    /// Whether it replaced a live entry, as far as the copies that took it knew.
    pub replaced: bool,
}

impl Coordinator {
    /// Writes a key over whatever is there.
    ///
    /// # Errors
    /// [`ErrorCode::Unavailable`] where too few copies take it (some may have it then), [`ErrorCode::TooLarge`] where it
    /// fits into no memory. The caller bounds the time.
    pub async fn write(&self, key: &Key, change: &Change, context: &Context) -> Result<Written, Problem> {
        for attempt in 1..=MAX_ATTEMPTS {
            let version = self.next_version();
            let write = plain(version, change);
            let ask = |node| self.hop.put(node, key, &write, self.call(context));
            let need = self.quorum.replicas;
            let preference = self.preference(key);
            let gathered = gather(&self.fleet, self.rules(preference, need), ask, Result::is_err).await;
            if let Some(refusal) = gathered.answers.iter().find_map(|(_, answer)| answer.err()) {
                self.metrics.refusals.inc();
                self.learn(refusal)?;
                self.back_off(attempt - 1).await;
                continue;
            }
            if !gathered.complete {
                return Err(Self::too_few_answer(gathered.answers.len(), need));
            }
            let taken = gathered.answers.iter().filter_map(|(_, answer)| answer.ok());
            return Ok(Written { version, replaced: replaced_live(taken) });
        }
        Err(Self::contended())
    }

    /// Moves the clock past what a refusal shows, so that the next attempt is newer.
    pub(super) fn learn(&self, refusal: Refusal) -> Result<(), Problem> {
        match refusal {
            Refusal::Newer(version) | Refusal::Promised(version) => {
                self.versions.observe(version);
                Ok(())
            }
            Refusal::Condition(_) | Refusal::Busy => Ok(()),
            Refusal::TooLarge => Err(Problem::new(
                ErrorCode::TooLarge,
                "the entry does not fit into an auxiliary's memory; raise auxiliary.memory or store less",
            )),
        }
    }
}

/// Whether the newest of what the copies replaced was a live entry.
pub(super) fn replaced_live(taken: impl Iterator<Item = Taken>) -> bool {
    taken.max_by_key(|taken| taken.previous).is_some_and(|taken| taken.was_live)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_is_what_the_newest_copy_says() {
        let live = |v| Taken { previous: Some(Version(v)), was_live: true };
        let tombstone = |v| Taken { previous: Some(Version(v)), was_live: false };
        assert!(replaced_live([live(1), Taken::default()].into_iter()));
        assert!(!replaced_live([live(1), tombstone(2)].into_iter()));
        assert!(!replaced_live([Taken::default()].into_iter()));
    }
}
