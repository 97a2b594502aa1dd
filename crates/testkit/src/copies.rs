//! What each auxiliary holds, entry by entry: read from a snapshot that it is asked to take, so that nothing is changed by
//! looking.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::time::Duration;

use annulus_ring::{Member, Ring, key_hash};
use annulus_store::{Batch, SnapshotReader};
use tokio::time::Instant;

use crate::Cluster;

/// Between two looks: each takes a snapshot of every node.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What one node holds of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its version.
    pub version: u64,
    /// When it ends, by the node's clock, in milliseconds since the Unix epoch.
    pub deadline_ms: Option<u64>,
    /// The value; `None` for the mark of a deleted key.
    pub value: Option<Vec<u8>>,
}

/// The copies of one node, by key.
pub type Copies = BTreeMap<Vec<u8>, Copy>;

impl Cluster {
    /// What an auxiliary of a cluster with disks holds.
    ///
    /// # Panics
    /// Where it takes no snapshot, or one that cannot be read.
    pub async fn copies(&self, auxiliary: usize) -> Copies {
        let answer = self.auxiliaries()[auxiliary].client().request("POST", "/backup").send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let path = self.disk(auxiliary).join(answer.json()["name"].as_str().expect("its name"));
        let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = SnapshotReader::open(BufReader::new(file)).expect("a snapshot");
        let mut copies = Copies::new();
        while let Some(batch) = reader.next_batch().expect("a whole snapshot") {
            let Batch::Records(records) = batch else { continue };
            for record in records {
                let value = record.value.map(<[u8]>::to_vec);
                let copy = Copy { version: record.version, deadline_ms: record.deadline_ms, value };
                copies.insert(record.key.to_vec(), copy);
            }
        }
        copies
    }

    /// Waits until the owners of each key hold the same, and nobody else anything: `converges`. Marks of deleted keys count
    /// like values.
    ///
    /// # Panics
    /// Where that is not so within `limit`.
    pub async fn converges(&self, limit: Duration) {
        let nodes = self.nodes(0).await;
        let number = |field: &str| nodes[field].as_u64().unwrap_or_else(|| panic!("{field}: {nodes}"));
        let replicas = number("replicas") as usize;
        let all = 0..self.auxiliaries().len();
        let running: Vec<_> = all.filter(|n| self.auxiliaries()[*n].is_running()).collect();
        let members = running.iter().map(|n| Member::new(format!("aux-{}", n + 1)));
        let ring = Ring::new(members, number("virtual_nodes") as u32).expect("a ring");
        let started = Instant::now();
        loop {
            let mut held = BTreeMap::new();
            for auxiliary in &running {
                held.insert(format!("aux-{}", auxiliary + 1), self.copies(*auxiliary).await);
            }
            let Some(wrong) = first_difference(&held, &ring, replicas) else { return };
            assert!(started.elapsed() < limit, "not within {limit:?}: {wrong}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// What keeps the copies from being as they should.
fn first_difference(held: &BTreeMap<String, Copies>, ring: &Ring, replicas: usize) -> Option<String> {
    for (node, copies) in held {
        for (key, copy) in copies {
            let owners: Vec<_> =
                ring.owners(key_hash(key), replicas).map(|owner| &*ring.members()[owner].name).collect();
            let shown = || format!("{} of {node}, whose owners are {owners:?}", String::from_utf8_lossy(key));
            if !owners.contains(&&**node) {
                return Some(format!("a stray: {}", shown()));
            }
            let theirs = |owner: &&str| held[*owner].get(key).map(|copy| (copy.version, &copy.value));
            if owners.iter().any(|owner| theirs(owner) != Some((copy.version, &copy.value))) {
                return Some(format!("not the same on all: {}", shown()));
            }
        }
    }
    None
}
