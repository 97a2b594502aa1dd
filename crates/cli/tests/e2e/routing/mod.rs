//! Where masters send requests: `cluster.route`, the gutter, zones, and changing all of it under way.

mod gutter;
mod multiget;
mod near;
mod reload;
mod replicated;
mod support;
