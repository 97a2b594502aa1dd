//! What keeps copies right, each with a switch, so that tests can show that each is needed.

/// The mechanisms. All are on, but in tests that show that the simulation notices when one is missing.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    /// Of several answers the one of the newest version counts; off: the first.
    pub versions: bool,
    /// A copy refuses a write that is older than what it knows; off: it takes whatever comes.
    pub refusals: bool,
    /// A read that finds copies behind brings them up before it answers.
    pub read_repair: bool,
    /// A life that has not settled yet does not stand for the one before it; off: it counts as if it had never been away.
    pub cold_nodes: bool,
    /// What was forgotten is remembered by its bucket's floor.
    pub floors: bool,
    /// A spare answers by a floor of its own; off: by that of all that it has forgotten.
    pub spare_floors: bool,
    /// Until all have settled, operations need a quorum in both views; off: in the current one.
    pub both_views: bool,
    /// What is handed over keeps its deadline; off: it lives for ever.
    pub expiry: bool,
    /// Requests carry the epoch and are turned away by nodes that go by another.
    pub epochs: bool,
    /// A delete leaves a tombstone; off: it leaves nothing.
    pub tombstones: bool,
}

impl Default for Mechanisms {
    fn default() -> Self {
        Self {
            versions: true,
            refusals: true,
            read_repair: true,
            cold_nodes: true,
            floors: true,
            spare_floors: true,
            both_views: true,
            expiry: true,
            epochs: true,
            tombstones: true,
        }
    }
}
