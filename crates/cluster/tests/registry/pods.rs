//! Processes in pods that ask each other without a network.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use annulus_cluster::Roster;
use annulus_cluster::discovery::{Event, Pod, Snapshots, StatefulSet, Watched};
use annulus_cluster::registry::{Answer, Home, HomeRegistry, Letter, Wire, WireError};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// What stands at an address.
#[derive(Clone)]
enum Process {
    Runs { name: String, home: Arc<Home>, known: Option<Arc<Roster>>, keeping: AbortHandle },
    Hangs,
}

/// All processes there are.
#[derive(Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<BTreeMap<String, Process>>>);

impl Wire for Processes {
    fn ask<'a>(
        &'a self,
        name: &'a str,
        address: &'a str,
        letter: &'a Letter,
    ) -> BoxFuture<'a, Result<Answer, WireError>> {
        let process = self.0.lock().get(address).cloned();
        async move {
            // As the sealed calls do, it goes through JSON.
            let letter = serde_json::from_str(&serde_json::to_string(letter).unwrap()).unwrap();
            match process {
                None => Err(WireError::NobodyThere),
                Some(Process::Runs { name: own, home, known, .. }) if own == name => {
                    let answer = home.answer(letter, known).await;
                    Ok(serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap())
                }
                Some(_) => Err(WireError::Failed("no answer in time".to_owned())),
            }
        }
        .boxed()
    }
}

impl Processes {
    /// A process of the node called `name` starts in place of whatever is at `address`.
    pub(crate) fn start(&self, name: &str, address: &str, snapshots: Snapshots, known: Option<Arc<Roster>>) {
        self.end(address);
        let begin = Instant::now();
        let clock = Arc::new(move || begin.elapsed().as_millis() as u64);
        let home = Arc::new(Home::new(name, RandomState::new().hash_one(()), clock));
        let (keeper, wire) = (Arc::clone(&home), self.clone());
        let keeping = tokio::spawn(async move { keeper.keep(&wire, snapshots).await }).abort_handle();
        let process = Process::Runs { name: name.to_owned(), home, known, keeping };
        self.0.lock().insert(address.to_owned(), process);
    }

    /// The process there takes connections and says nothing.
    pub(crate) fn hang(&self, address: &str) {
        self.end(address);
        self.0.lock().insert(address.to_owned(), Process::Hangs);
    }

    /// Nobody is at this address any more.
    pub(crate) fn end(&self, address: &str) {
        if let Some(Process::Runs { keeping, .. }) = self.0.lock().remove(address) {
            keeping.abort();
        }
    }

    pub(crate) fn registry(&self, snapshots: Snapshots) -> HomeRegistry {
        HomeRegistry::new(Arc::new(self.clone()), snapshots)
    }
}

/// What Kubernetes tells, as the test has it.
pub(crate) struct Told {
    watched: Watched,
    sender: watch::Sender<Result<Arc<annulus_cluster::discovery::Snapshot>, String>>,
}

impl Told {
    pub(crate) fn nothing(set: Option<&str>) -> Self {
        let watched = Watched::new(set);
        Self { sender: watch::Sender::new(watched.snapshot().map(Arc::new)), watched }
    }

    /// A StatefulSet called `cache`, and all its pods.
    pub(crate) fn replicas(replicas: u32) -> Self {
        let mut told = Self::nothing(Some("cache"));
        told.scale(replicas, 1);
        told.tell(Event::Listed((0..replicas).map(|n| pod(&format!("cache-{n}"))).collect()));
        told
    }

    pub(crate) fn scale(&mut self, replicas: u32, generation: u64) {
        self.tell(Event::Set(StatefulSet { name: "cache".to_owned(), start: 0, replicas, generation }));
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.watched.take(event);
        let snapshot = self.watched.snapshot().map(Arc::new);
        self.sender.send_modify(|last| *last = snapshot);
    }

    pub(crate) fn snapshots(&self) -> Snapshots {
        self.sender.subscribe()
    }
}

/// A pod that runs at its own name, port 1.
pub(crate) fn pod(name: &str) -> Pod {
    Pod {
        name: name.to_owned(),
        address: Some(format!("{name}:1")),
        zone: None,
        runs: true,
        created: name.to_owned(),
    }
}
