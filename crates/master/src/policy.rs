//! What a master goes by that may change while it runs: decided from the settings in one step, and taken over in one step.

use std::sync::Arc;

use annulus_service::config::{Consistency, LimitSettings, Route, Settings};

use crate::routing::gutter::Gutter;
use crate::routing::near::Near;

/// One reading of the settings. A request goes by the one that it found.
pub(crate) struct Policy {
    pub(crate) limits: LimitSettings,
    /// How many copies a read asks whose client does not say.
    pub(crate) consistency: Consistency,
    /// With `route = near-then-cluster`.
    pub(crate) near: Option<Arc<Near>>,
    /// Where there is one.
    pub(crate) gutter: Option<Arc<Gutter>>,
    near_settings: Option<(usize, u64)>,
}

impl Policy {
    /// What the settings say, from `now_us` on. The near store goes on with what it holds, unless its own settings have
    /// changed.
    pub(crate) fn new(
        settings: &Settings,
        before: Option<&Self>,
        gutter: Option<Arc<Gutter>>,
        now_us: u64,
    ) -> Self {
        let near_settings = near_settings(settings);
        let kept = before.filter(|before| before.near_settings == near_settings);
        // Writes that are under way do not tell a new one that they end.
        let longest_us = settings.limits.max_deadline.as_micros() as u64;
        let floor_us = before.map_or(0, |_| now_us + longest_us);
        let near = match kept {
            Some(before) => before.near.clone(),
            None => near_settings.map(|(bytes, age_us)| Arc::new(Near::new(bytes, age_us, floor_us))),
        };
        Self {
            limits: settings.limits.clone(),
            consistency: consistency(settings),
            near,
            gutter,
            near_settings,
        }
    }
}

/// Where every node has a copy, one of them is enough for a read that does not ask for more.
fn consistency(settings: &Settings) -> Consistency {
    match settings.cluster.route {
        Route::Replicated => Consistency::One,
        Route::Sharded | Route::NearThenCluster => settings.cluster.consistency,
    }
}

fn near_settings(settings: &Settings) -> Option<(usize, u64)> {
    let age_us = settings.master.near_max_age.as_micros() as u64;
    (settings.cluster.route == Route::NearThenCluster).then_some((settings.master.near_memory, age_us))
}

/// Whether a master takes a change of this setting over while it runs.
pub(crate) fn is_live(path: &str, from: &str, to: &str) -> bool {
    let changes_copies = [from, to].contains(&"replicated");
    annulus_service::config::is_live(annulus_service::config::Role::Master, path)
        && !(path == "cluster.route" && changes_copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = Settings::default();
        change(&mut settings);
        settings
    }

    #[test]
    fn a_read_of_replicated_keys_asks_one_copy() {
        assert_eq!(Policy::new(&Settings::default(), None, None, 0).consistency, Consistency::Quorum);
        let replicated = settings(|settings| settings.cluster.route = Route::Replicated);
        assert_eq!(Policy::new(&replicated, None, None, 0).consistency, Consistency::One);
    }

    #[test]
    fn the_near_store_is_kept_while_its_settings_are() {
        let near = settings(|settings| settings.cluster.route = Route::NearThenCluster);
        let first = Policy::new(&near, None, None, 0);
        let kept = settings(|settings| {
            *settings = near.clone();
            settings.limits.max_bulk_items = 7;
        });
        let second = Policy::new(&kept, Some(&first), None, 1);
        assert!(Arc::ptr_eq(first.near.as_ref().unwrap(), second.near.as_ref().unwrap()));
        let larger = settings(|settings| {
            *settings = near.clone();
            settings.master.near_memory *= 2;
        });
        let third = Policy::new(&larger, Some(&second), None, 2);
        assert!(!Arc::ptr_eq(second.near.as_ref().unwrap(), third.near.as_ref().unwrap()));
        assert!(Policy::new(&Settings::default(), Some(&third), None, 3).near.is_none());
    }

    #[test]
    fn the_number_of_copies_never_changes_under_way() {
        assert!(is_live("cluster.route", "sharded", "near-then-cluster"));
        assert!(!is_live("cluster.route", "sharded", "replicated"));
        assert!(!is_live("cluster.route", "replicated", "sharded"));
        assert!(is_live("limits.deadline", "1s", "2s") && !is_live("master.port", "8000", "8001"));
    }
}
