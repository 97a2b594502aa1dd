//! Who is in the cluster, and who answers.
//!
//! Two questions that are easily mixed up, and are kept apart here:
//!
//! - **Membership**: a [`Roster`] says who stands on the ring, in which life. It comes from an [`Authority`]: a [`registry`]
//!   or a fixed list ([`View::from_list`]), and is numbered. Only a new roster moves keys; a [`Placement`] says where to.
//! - **Health**: [`Health`] is one master's own opinion of who answers at the moment. It decides whom to ask first and
//!   whom to probe, and never drops a node: a node that is down still owns its keys.
//!
//! Beside them stands the election of the one that leads, where there must be one: [`Lease`], and the [`FencedStore`] that
//! holds the lease and refuses what is written without it.
//!
//! But for the registries and stores, everything is a plain function of what happened: events and the time go in, actions come out.
//!
//! ```
//! use annulus_cluster::{Health, HealthSettings, NodeList, Outcome, View};
//!
//! let view = View::from_list(["a=10.0.0.1:3001", "b=10.0.0.2:3001"])?;
//! let settings =
//!     HealthSettings { breaker_failures: 1, health_check_interval_ms: 10_000, probe_interval_ms: 500 };
//! let mut health = Health::new(settings, view.nodes(), 0);
//!
//! let ticket = health.sent(0);
//! health.record(ticket, Outcome::Failed, 5);
//! let mut owners: NodeList = [0, 1].into_iter().collect();
//! owners.sort_by_rank(|node| health.reluctance(node));
//! assert!(owners.iter().eq([1, 0]));
//! # Ok::<(), annulus_cluster::ViewError>(())
//! ```
//!
//! # What it never does
//!
//! Reading a clock, randomness, statics; IO and tokio outside of [`registry`], [`discovery`] and [`fenced`]. It knows neither routes nor values.

mod authority;
mod breaker;
pub mod discovery;
pub mod fenced;
mod health;
pub mod lease;
mod mechanisms;
mod node;
mod placement;
mod quorum;
pub mod registry;
pub mod roster;
mod view;

pub use authority::{Authority, AuthorityError, StaticAuthority};
pub use breaker::{Breaker, Condition, HealthSettings, Outcome};
pub use discovery::Discovered;
pub use fenced::{FencedStore, MemoryStore, RedisStore, StoreError};
pub use health::{Census, Change, Health, Probe, Ticket};
pub use lease::{Lease, LeaseSettings};
pub use mechanisms::Mechanisms;
pub use node::{MAX_NAME_BYTES, MAX_WEIGHT, Node, NodeError};
pub use placement::{Duty, Holders, Placed, Placement, Stake};
pub use quorum::{MAX_PREFERENCE, NodeList, Quorum};
pub use registry::{
    Keeper, KeeperSettings, MemoryRegistry, RedisRegistry, RedisSettings, Registry, RegistryError,
    SteadyClock,
};
pub use roster::{Beat, BeatError, Layout, Member, Roster, Seat};
pub use view::{View, ViewError};
