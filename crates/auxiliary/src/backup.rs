//! Snapshots of this node: one now and then, one when it stops, one when asked; and the last one at the start.

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::rest::{Restored, Settling, SnapshotInfo};
use annulus_protocol::{ErrorCode, Problem};
use annulus_service::ApiError;
use annulus_service::metrics::{counters, gauge};
use annulus_store::{Batch, Condition, FLOOR_BUCKETS};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::Node;
use crate::candidates::Candidates;
use crate::settle::{Pass, Stopped};
use crate::snapshots::{Loaded, OpenSnapshot, Progress, SnapshotFailure, SnapshotJob};

/// What is counted of snapshots.
pub(crate) struct Backups {
    ok: IntCounter,
    failed: IntCounter,
    corrupt: IntCounter,
    last_ms: IntGauge,
    last_bytes: IntGauge,
    last_entries: IntGauge,
}

impl Backups {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let total = counters(
            registry,
            "annulus_snapshots_total",
            "Snapshots, by what came of them; corrupt ones are those set aside at the start.",
            &["outcome"],
        )?;
        Ok(Self {
            ok: total.with_label_values(&["ok"]),
            failed: total.with_label_values(&["failed"]),
            corrupt: total.with_label_values(&["corrupt"]),
            last_ms: gauge(
                registry,
                "annulus_snapshot_last_success_timestamp_seconds",
                "When the last good snapshot was begun, in seconds since the Unix epoch; 0: none since the start.",
            )?,
            last_bytes: gauge(registry, "annulus_snapshot_bytes", "Bytes of the last good snapshot.")?,
            last_entries: gauge(
                registry,
                "annulus_snapshot_entries",
                "Entries and tombstones in the last good snapshot.",
            )?,
        })
    }
}

pub(crate) fn routes(node: Arc<Node>) -> Router {
    Router::new()
        .route("/backup", post(backup))
        .route("/restore", post(restore))
        .route("/rebalance", post(rebalance))
        .with_state(node)
}

/// The last good snapshot. Damaged ones are set aside.
pub(crate) fn load(node: &Node) -> Option<OpenSnapshot> {
    let loaded = node.snapshots.as_ref()?.load_latest();
    let Loaded { snapshot, set_aside } = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            tracing::error!(%error, "cannot look for snapshots: check auxiliary.backup_dir; starting empty");
            node.backups.corrupt.inc();
            return None;
        }
    };
    for (name, error) in &set_aside {
        node.backups.corrupt.inc();
        tracing::error!(snapshot = name, %error, "a snapshot is damaged and was set aside; trying the one before");
    }
    if let Some(snapshot) = &snapshot {
        tracing::info!(
            snapshot = snapshot.name(),
            entries = snapshot.entries(),
            bytes = snapshot.bytes(),
            "found a snapshot"
        );
    }
    snapshot
}

/// Takes a snapshot into memory without asking anybody: for a node that stands alone.
pub(crate) fn put_all(node: &Node, snapshot: Option<OpenSnapshot>) -> u64 {
    let Some(snapshot) = snapshot else { return 0 };
    let now_ms = node.clock.now_ms();
    let mut taken = 0;
    let mut floors = snapshot.floors().to_vec();
    let mut read = || -> Result<(), annulus_store::SnapshotError> {
        let mut batches = snapshot.batches()?;
        while let Some(batch) = batches.next_batch()? {
            let Batch::Records(records) = batch else { continue };
            for record in &records {
                let hash = annulus_ring::key_hash(record.key);
                if record.deadline_ms.is_some_and(|at| at <= now_ms) {
                    let floor = &mut floors[hash as usize % FLOOR_BUCKETS];
                    *floor = record.version.max(*floor);
                    continue;
                }
                let put =
                    node.copies.store().put(record.key, hash, &record.write(), Condition::Always, now_ms);
                taken += u64::from(put.is_ok());
            }
        }
        Ok(())
    };
    if let Err(error) = read() {
        tracing::error!(%error, "cannot read the snapshot to its end");
    }
    node.raise_floors(&floors);
    taken
}

/// Takes a snapshot every `interval`, until cancelled from outside. A node that does not count yet takes none: its last one
/// is still needed.
pub(crate) async fn back_up(node: Arc<Node>, interval: Duration) {
    if node.snapshots.is_none() {
        return;
    }
    loop {
        tokio::time::sleep(interval).await;
        if node.holds_what_it_should()
            && let Err(error) = take(&node).await
        {
            tracing::error!(%error, "no snapshot was taken; the last good one stays");
        }
    }
}

/// Takes one snapshot.
async fn take(node: &Node) -> Result<SnapshotInfo, SnapshotFailure> {
    let result = async {
        let snapshots = node.snapshots.as_ref().ok_or(SnapshotFailure::Ended)?;
        let mut job = blocking(|| snapshots.start(node.clock.now_ms()))?;
        loop {
            if let Some(taken) = step(node, &mut job)? {
                return Ok(taken);
            }
            tokio::task::yield_now().await;
        }
    }
    .await;
    note(node, &result);
    result
}

fn step(node: &Node, job: &mut SnapshotJob) -> Result<Option<SnapshotInfo>, SnapshotFailure> {
    match blocking(|| job.step(node.copies.store(), node.clock.now_ms()))? {
        Progress::Running { .. } => Ok(None),
        Progress::Done(taken) => Ok(Some(SnapshotInfo {
            name: taken.name,
            created_ms: taken.created_ms,
            entries: taken.entries,
            bytes: taken.bytes,
        })),
    }
}

fn note(node: &Node, result: &Result<SnapshotInfo, SnapshotFailure>) {
    match result {
        Ok(taken) => {
            node.backups.ok.inc();
            node.backups.last_ms.set((taken.created_ms / 1000) as i64);
            node.backups.last_bytes.set(taken.bytes as i64);
            node.backups.last_entries.set(taken.entries as i64);
            tracing::debug!(snapshot = taken.name, entries = taken.entries, "took a snapshot");
        }
        Err(_) => node.backups.failed.inc(),
    }
}

/// The snapshot of a node that stops: after it nothing changes any more.
pub(crate) fn last(node: &Node) {
    let Some(snapshots) = &node.snapshots else { return };
    if !node.held_what_it_should() {
        return;
    }
    let result = snapshots.start(node.clock.now_ms()).and_then(|mut job| {
        loop {
            if let Some(taken) = step(node, &mut job)? {
                return Ok(taken);
            }
        }
    });
    note(node, &result);
    match result {
        Ok(taken) => tracing::info!(snapshot = taken.name, entries = taken.entries, "took a last snapshot"),
        Err(error) => tracing::error!(%error, "no last snapshot was taken; the one before stays"),
    }
}

/// Does work that may wait for the disk without holding up others, where there are other threads.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

async fn backup(State(node): State<Arc<Node>>) -> Response {
    if node.snapshots.is_none() {
        return no_folder().into_response();
    }
    match take(&node).await {
        Ok(taken) => Json(taken).into_response(),
        Err(error) => {
            let code = match error {
                SnapshotFailure::DiskFull(_) => ErrorCode::DiskFull,
                SnapshotFailure::Running => ErrorCode::Conflict,
                _ => ErrorCode::Internal,
            };
            ApiError::new(code, error.to_string()).into_response()
        }
    }
}

async fn restore(State(node): State<Arc<Node>>) -> Response {
    match load_and_settle(&node).await {
        Ok(restored) => Json(restored).into_response(),
        Err(problem) => ApiError(problem).into_response(),
    }
}

/// Does not wait for the end: `GET /nodes` of a master tells how far it is.
async fn rebalance(State(node): State<Arc<Node>>) -> Json<Settling> {
    node.settle_now.notify_one();
    Json(node.progress.show())
}

/// Brings what the last snapshot holds to those who should hold it, wherever nothing newer is known.
async fn load_and_settle(node: &Arc<Node>) -> Result<Restored, Problem> {
    let snapshots = node.snapshots.as_ref().ok_or_else(|| no_folder().0)?;
    let loaded = blocking(|| snapshots.load_latest())
        .map_err(|error| Problem::new(ErrorCode::Internal, format!("cannot look for snapshots: {error}")))?;
    let set_aside = loaded.set_aside.iter().map(|(name, error)| format!("{name}: {error}")).collect();
    let Some(snapshot) = loaded.snapshot else {
        return Ok(Restored { snapshot: None, valid: 0, outdated: 0, set_aside });
    };
    let info = SnapshotInfo {
        name: snapshot.name().to_owned(),
        created_ms: snapshot.created_ms(),
        entries: snapshot.entries(),
        bytes: snapshot.bytes(),
    };
    let entries = info.entries;
    let (valid, outdated) = if let (Some(members), Some(peers)) = (&node.members, &node.peers) {
        let standing = members.standing().filter(|standing| standing.me.is_some() && standing.is_purged());
        let standing = standing.ok_or_else(|| try_later("this node is no member yet"))?;
        let pass = Pass { node, standing, peers: &**peers };
        let offered = Candidates::new(Some(snapshot)).offer(&pass).await;
        let offered = offered.map_err(|Stopped::Outdated| try_later("the members have changed meanwhile"))?;
        (offered.valid, offered.outdated)
    } else {
        let valid = blocking(|| put_all(node, Some(snapshot)));
        (valid, entries.saturating_sub(valid))
    };
    Ok(Restored { snapshot: Some(info), valid, outdated, set_aside })
}

fn try_later(why: &str) -> Problem {
    Problem::new(ErrorCode::Unavailable, format!("{why}; try again"))
}

fn no_folder() -> ApiError {
    ApiError::new(
        ErrorCode::Conflict,
        "this node has no folder for snapshots: set auxiliary.backup_dir (BACKUP_DIR) and start it again",
    )
}
