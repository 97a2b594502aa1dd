//! What every server of the project shares: the accept loop with its limits, graceful shutdown, layered configuration,
//! telemetry, metrics and the routes for operators. It knows neither masters nor auxiliaries.

pub mod admin;
pub mod body;
pub mod config;
pub mod error;
pub mod metrics;
pub mod net;
pub mod pool;
pub mod process;
pub mod reload;
pub mod request;
pub mod server;
pub mod stream;
pub mod telemetry;
pub mod workers;

pub use error::ApiError;
pub use net::{Clock, Listener, Net, SystemNet};
pub use server::{Doors, Server, ServerLimits};
pub use workers::Workers;
