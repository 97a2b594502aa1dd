//! Who is in the cluster, and who answers.
//!
//! Two questions that are easily mixed up, and are kept apart here:
//!
//! - **Membership**: a [`View`] says who stands on the ring. It comes from an authority, here the static list
//!   ([`View::from_list`]), and is numbered. Only a new view moves keys.
//! - **Health**: [`Health`] is one master's own opinion of who answers at the moment. It decides whom to ask first and
//!   whom to probe, and never drops a node: a node that is down still owns its keys.
//!
//! Everything is a plain function of what happened: events and the time go in, actions come out.
//!
//! ```
//! use annulus_cluster::{Health, HealthSettings, Outcome, View};
//!
//! let view = View::from_list(["a=10.0.0.1:3001", "b=10.0.0.2:3001"])?;
//! let settings =
//!     HealthSettings { breaker_failures: 1, health_check_interval_ms: 10_000, probe_interval_ms: 500 };
//! let mut health = Health::new(settings, &view, 0);
//!
//! let ticket = health.sent(0);
//! health.record(ticket, Outcome::Failed, 5);
//! let mut owners = [0, 1];
//! health.rank(&mut owners);
//! assert_eq!(owners, [1, 0]);
//! # Ok::<(), annulus_cluster::ViewError>(())
//! ```
//!
//! # What it never does
//!
//! IO, reading a clock, randomness, tokio, statics. It knows neither routes nor values.

mod breaker;
mod health;
mod node;
mod view;

pub use breaker::{Breaker, Condition, HealthSettings, Outcome};
pub use health::{Census, Change, Health, Probe, Ticket};
pub use node::{MAX_NAME_BYTES, MAX_WEIGHT, Node, NodeError};
pub use view::{View, ViewError};
