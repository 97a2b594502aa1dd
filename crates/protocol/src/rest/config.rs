//! `POST /config/reload`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The answer to `POST /config/reload`: what has changed in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConfigReloaded {
    /// Settings that the node goes by from now on.
    pub changed: Vec<SettingChange>,
    /// Settings that it goes by only after a restart; until then each reload names them again.
    pub needs_restart: Vec<SettingChange>,
}

/// One setting whose value in the configuration is another than the one that the node goes by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingChange {
    /// `section.name`.
    pub path: String,
    /// What the node went by, in its shortest spelling; a secret is not shown.
    pub from: String,
    /// What the configuration says.
    pub to: String,
}
