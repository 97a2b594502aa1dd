//! Readers of replicas: one each, without a pause, while something goes wrong.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annulus_testkit::Client;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{Group, NAME};

/// Between two reads of one reader.
const PACE: Duration = Duration::from_millis(10);

/// What all readers have seen together.
#[derive(Default)]
struct Seen {
    reads: usize,
    slowest: Duration,
    bodies: BTreeMap<u64, Vec<u8>>,
    wrong: Vec<String>,
}

/// Reads the dataset from every replica of a group until it is ended.
pub(crate) struct Readers {
    seen: Arc<Mutex<Seen>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(group: &Group) -> Self {
        let all: Vec<usize> = (0..group.replicas.len()).collect();
        Self::start_with(group, &all)
    }

    /// Of these replicas only.
    pub(crate) fn start_with(group: &Group, replicas: &[usize]) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let read = |at: &usize| tokio::spawn(read(*at, group.replicas[*at].client(), Arc::clone(&seen)));

        Self { tasks: replicas.iter().map(read).collect(), seen }
    }

    /// No read failed or was slower than `slowest`, no replica's revision fell, and each revision was one body everywhere.
    pub(crate) async fn end(self, slowest: Duration) {
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            if let Err(error) = task.await {
                assert!(error.is_cancelled(), "a reader got no answer: {error}");
            }
        }
        let seen = self.seen.lock().unwrap();
        println!("{} reads, slowest {:?}, {} revisions", seen.reads, seen.slowest, seen.bodies.len());
        assert_eq!(seen.wrong, Vec::<String>::new());
        assert!(seen.reads > 0 && seen.slowest < slowest, "{:?} of {} reads", seen.slowest, seen.reads);
    }
}

async fn read(at: usize, client: Client, seen: Arc<Mutex<Seen>>) {
    let mut last = 0;
    loop {
        let started = Instant::now();
        let answer = client.get(format!("/datasets/{NAME}")).await;
        let took = started.elapsed();
        {
            let mut seen = seen.lock().unwrap();
            seen.reads += 1;
            seen.slowest = seen.slowest.max(took);
            let revision = answer.header("etag").and_then(|etag| etag.trim_matches('"').parse().ok());
            let revision: u64 = revision.unwrap_or(0);
            if answer.status != 200 {
                seen.wrong.push(format!("replica {at}: {}", answer.text()));
            }
            if revision < last {
                seen.wrong.push(format!("replica {at}: {revision} after {last}"));
            }
            let body = seen.bodies.entry(revision).or_insert_with(|| answer.body.clone());
            if *body != answer.body {
                seen.wrong.push(format!("replica {at}: another body of {revision}"));
            }
            last = revision;
        }
        sleep(PACE).await;
    }
}
