//! A deterministic simulation of a whole cluster in one thread: the real masters and auxiliaries on turmoil's network,
//! several clients, and faults. A seed decides everything and replays exactly.

mod client;
mod net;
mod run;

pub use net::SimNet;
pub use run::{Outcome, Scenario, run};
