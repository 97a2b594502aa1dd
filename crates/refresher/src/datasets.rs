//! What a replica knows of its datasets beside their data, and what it says of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use annulus_client::follower::{Dataset, FollowError, Follower, Observer};
use annulus_cluster::fenced::{Head, Notice};
use annulus_protocol::rest::{DatasetHealth, DatasetInfo};
use annulus_service::config::DatasetSettings;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::metrics::{DatasetFamilies, DatasetMetrics};
use crate::split::Rule;

/// How long it takes a replica to learn of something, beside the time between two looks.
const GRACE: Duration = Duration::from_secs(2);

/// All datasets, by name.
pub(crate) struct Datasets {
    all: BTreeMap<String, Arc<DatasetNode>>,
    /// The highest term that anybody was in, as far as this replica has heard.
    heard: watch::Sender<u64>,
}

/// One dataset.
pub(crate) struct DatasetNode {
    pub(crate) settings: DatasetSettings,
    pub(crate) rule: Rule,
    pub(crate) metrics: DatasetMetrics,
    /// Told when the store has lost something that its leader should publish again.
    pub(crate) lost: Notify,
    trouble: Mutex<Trouble>,
}

#[derive(Default)]
struct Trouble {
    refresh: Option<String>,
    entries: Option<String>,
    sync: Option<String>,
    failures: u32,
}

impl Datasets {
    pub(crate) fn new(
        all: impl IntoIterator<Item = (DatasetSettings, Rule)>,
        families: &DatasetFamilies,
    ) -> Self {
        let node = |(settings, rule): (DatasetSettings, Rule)| {
            let metrics = families.of(&settings.name);
            let name = settings.name.clone();
            let node =
                DatasetNode { settings, rule, metrics, lost: Notify::new(), trouble: Mutex::default() };
            (name, Arc::new(node))
        };
        Self { all: all.into_iter().map(node).collect(), heard: watch::Sender::new(0) }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<DatasetNode>> {
        self.all.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<DatasetNode>> {
        self.all.values()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    pub(crate) fn heard(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }
}

impl DatasetNode {
    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    /// It was refreshed.
    pub(crate) fn went_well(&self) {
        let mut trouble = self.trouble.lock();
        trouble.refresh = None;
        trouble.failures = 0;
    }

    /// It was not refreshed.
    pub(crate) fn went_wrong(&self, why: &str) {
        let mut trouble = self.trouble.lock();
        trouble.refresh = Some(why.to_owned());
        trouble.failures = trouble.failures.saturating_add(1);
    }

    /// What keeps entries out of the cache; `None`: nothing any more.
    pub(crate) fn entries_went(&self, why: Option<String>) {
        self.trouble.lock().entries = why;
    }

    /// How long the data may have gone unchecked and still be called fresh.
    fn fresh_for(&self, poll_interval: Duration) -> Duration {
        2 * self.settings.refresh_interval + poll_interval + GRACE
    }

    pub(crate) fn health(&self, follower: &Follower, poll_interval: Duration) -> DatasetHealth {
        let age = follower.age(self.name());
        let dataset = follower.get(self.name());
        let snapshot = dataset.as_ref().map(|dataset| dataset.snapshot());
        let trouble = self.trouble.lock();
        DatasetHealth {
            data_fresh: dataset.is_some() && age.is_some_and(|age| age <= self.fresh_for(poll_interval)),
            memory_cache_size: snapshot
                .map_or(0, |snapshot| if snapshot.is_split() { snapshot.len() as u64 } else { 1 }),
            memory_cache_bytes: snapshot.map_or(0, |snapshot| snapshot.size() as u64),
            revision: dataset.as_ref().map_or(0, |dataset| dataset.revision()),
            age_seconds: age.map(|age| age.as_secs()),
            last_error: [&trouble.refresh, &trouble.entries, &trouble.sync]
                .into_iter()
                .flatten()
                .next()
                .cloned(),
            failures: trouble.failures,
        }
    }

    pub(crate) fn info(&self, follower: &Follower) -> DatasetInfo {
        let name = self.name().to_owned();
        let Some(dataset) = follower.get(&name) else {
            return DatasetInfo { name, ..DatasetInfo::default() };
        };
        DatasetInfo {
            revision: Some(dataset.revision()),
            updated_at: Some(dataset.updated_ms() / 1000),
            age_seconds: follower.age(&name).map(|age| age.as_secs()),
            items: dataset.len() as u64,
            bytes: dataset.body().len() as u64,
            content_type: Some(dataset.content_type().to_owned()),
            name,
        }
    }

    pub(crate) fn refresh_metrics(&self, follower: &Follower, poll_interval: Duration) {
        self.metrics.fresh.set(self.health(follower, poll_interval).data_fresh.into());
        let age = follower.age(self.name()).map_or(0, |age| age.as_secs());
        self.metrics.age.set(age as i64);
    }

    pub(crate) fn is_in_memory(&self, dataset: &Dataset) {
        self.metrics.revision.set(dataset.revision() as i64);
        self.metrics.items.set(dataset.len() as i64);
        self.metrics.bytes.set(dataset.snapshot().size() as i64);
    }
}

impl Observer for Datasets {
    fn noticed(&self, notice: &Notice) {
        tracing::debug!(dataset = notice.dataset, revision = notice.revision, "told of a new revision");
    }

    fn loaded(&self, dataset: &Dataset, lag: Option<Duration>) {
        let Some(node) = self.get(dataset.name()) else { return };
        if let Some(lag) = lag {
            node.metrics.lag.observe(lag.as_secs_f64());
        }
        node.is_in_memory(dataset);
        // Somebody has refreshed it.
        node.went_well();
        tracing::info!(
            dataset = dataset.name(),
            revision = dataset.revision(),
            items = dataset.len(),
            lag_ms = lag.map(|lag| lag.as_millis() as u64),
            "a new revision is in memory"
        );
    }

    fn looked(&self, dataset: &str, head: &Head) {
        let Some(node) = self.get(dataset) else { return };
        let token = head.known.token;
        self.heard.send_if_modified(|heard| {
            let is_higher = token > *heard;
            *heard = token.max(*heard);
            is_higher
        });
        if head.has_lost_something() {
            node.lost.notify_one();
        }
    }

    fn caught_up(&self, dataset: &str) {
        if let Some(node) = self.get(dataset) {
            node.trouble.lock().sync = None;
        }
    }

    fn failed(&self, dataset: &str, error: &FollowError) {
        let Some(node) = self.get(dataset) else { return };
        node.metrics.sync_failures.inc();
        let text = error.to_string();
        // Once for each kind of trouble, not for each attempt.
        let is_news = node.trouble.lock().sync.replace(text.clone()) != Some(text);
        if is_news {
            tracing::warn!(dataset, %error, "cannot look for a newer revision; what is in memory stays");
        }
    }
}
