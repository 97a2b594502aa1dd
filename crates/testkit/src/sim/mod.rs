//! A deterministic simulation of a whole cluster in one thread: the real masters and auxiliaries on a simulated network,
//! a registry, disks, several clients, and faults. A seed decides everything and replays exactly.

mod batch;
mod client;
mod end;
mod faults;
mod inspect;
mod net;
mod outcome;
mod registry;
mod run;
mod scenario;
mod wire;
mod world;

pub use batch::{Batch, run_batch};
pub use outcome::Outcome;
pub use run::run;
pub use scenario::Scenario;
