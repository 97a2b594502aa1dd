//! A deterministic simulation of a whole cluster in one thread: the real masters and auxiliaries on turmoil's network,
//! a registry, disks, several clients, and faults. A seed decides everything and replays exactly.

mod client;
mod faults;
mod inspect;
mod net;
mod outcome;
mod registry;
mod run;
mod scenario;
mod world;

pub use net::SimNet;
pub use outcome::Outcome;
pub use run::run;
pub use scenario::Scenario;
