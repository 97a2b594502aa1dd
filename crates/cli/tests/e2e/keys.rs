//! Many keys whose values a test knows, and somebody who reads them all the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annulus_testkit::{Client, Cluster, Found, Stored};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Keys read at once.
const AT_ONCE: usize = 1000;

/// Keys with values, some with times to live, as they were stored at one time.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) entries: Vec<Stored>,
    stored: Option<(Instant, Instant)>,
    deleted: bool,
}

impl Keys {
    /// Keys `<prefix>-<number>` of these numbers, all with one value.
    pub(crate) fn new(prefix: &str, numbers: impl Iterator<Item = usize>, value: &str) -> Self {
        let entry = |n| Stored { key: format!("{prefix}-{n:06}"), value: value.to_owned(), ttl: None };
        Self { entries: numbers.map(entry).collect(), stored: None, deleted: false }
    }

    /// Every `nth` of them lives for so many seconds.
    pub(crate) fn with_ttl(mut self, nth: usize, seconds: u64) -> Self {
        self.entries.iter_mut().step_by(nth).for_each(|entry| entry.ttl = Some(seconds));
        self
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.key.clone()).collect()
    }

    /// Stores all of them.
    pub(crate) async fn store(&mut self, client: Client) {
        let before = Instant::now();
        client.store_many(&self.entries).await;
        self.stored = Some((before, Instant::now()));
    }

    /// Deletes all of them: none may be there from then on.
    pub(crate) async fn delete(&mut self, client: Client) {
        client.delete_many(&self.names()).await;
        self.deleted = true;
    }

    /// Reads all of them through all masters: each is there, with its value and what is left of its time to the second; or,
    /// where they were deleted, none is.
    pub(crate) async fn are_right(&self, cluster: &Cluster) {
        for master in 0..cluster.masters().len() {
            for some in self.entries.chunks(AT_ONCE) {
                self.check(some, cluster.client(master)).await;
            }
        }
    }

    /// Reads them over and over until told to stop, through all masters.
    pub(crate) fn watch(&self, cluster: &Cluster) -> Watch {
        let clients: Vec<_> = (0..cluster.masters().len()).map(|master| cluster.client(master)).collect();
        let (keys, stop) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let stopping = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut read = 0;
            let chunks = keys.entries.chunks(AT_ONCE).cycle().zip(clients.iter().cycle());
            for (some, client) in chunks.take_while(|_| !stopping.load(Ordering::Relaxed)) {
                keys.check(some, *client).await;
                read += some.len();
            }
            read
        });
        Watch { task, stop }
    }

    async fn check(&self, some: &[Stored], client: Client) {
        let names: Vec<_> = some.iter().map(|entry| entry.key.clone()).collect();
        let asked = Instant::now();
        let found = client.read_many(&names).await;
        let answered = Instant::now();
        if self.deleted {
            return assert_eq!(found, HashMap::new());
        }
        let missing: Vec<_> = names.iter().filter(|name| !found.contains_key(*name)).take(5).collect();
        assert_eq!(found.len(), some.len(), "missing: {missing:?} ...");
        for entry in some {
            self.check_one(entry, &found, (asked, answered));
        }
    }

    fn check_one(
        &self,
        entry: &Stored,
        found: &HashMap<String, Found>,
        (asked, answered): (Instant, Instant),
    ) {
        let Found { value, ttl } = &found[&entry.key];
        assert_eq!(*value, entry.value, "{}", entry.key);
        assert_eq!(ttl.is_some(), entry.ttl.is_some(), "{}: {ttl:?}", entry.key);
        let (Some(left), Some(whole), Some((before, after))) = (*ttl, entry.ttl, self.stored) else { return };
        // What is left is rounded to a second.
        let least = whole as f64 - (answered - before).as_secs_f64() - 1.0;
        let most = whole as f64 - (asked - after).as_secs_f64() + 1.0;
        assert!((least..=most).contains(&(left as f64)), "{}: {left} s, not {least} to {most}", entry.key);
    }
}

/// Somebody who reads keys all the time.
pub(crate) struct Watch {
    task: JoinHandle<usize>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Ends it; returns how many reads found what they should.
    ///
    /// # Panics
    /// Where one did not.
    pub(crate) async fn ends(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every key was there all the time")
    }
}
