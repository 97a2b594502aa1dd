//! What all auxiliaries are told to do at once, and what came of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Restored, Settling, SnapshotInfo};
use crate::problem::{ErrorCode, Problem};

/// What all auxiliaries can be told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Write a snapshot.
    Backup,
    /// Load the last snapshot.
    Restore,
    /// Look at once for what lies in the wrong place.
    Rebalance,
}

impl Operation {
    /// The path of its route, the same on masters and auxiliaries.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Backup => "/backup",
            Self::Restore => "/restore",
            Self::Rebalance => "/rebalance",
        }
    }
}

/// The answer to `POST /backup`, `/restore` and `/rebalance` with `?wait=false`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobStarted {
    /// The job, for `GET /jobs/{id}` of the master that answered.
    pub job: String,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Some nodes have yet to answer.
    Running,
    /// All nodes have answered, or were given up.
    Done,
}

/// One operation on all auxiliaries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its id, known to the master that runs it only.
    pub job: String,
    /// What the nodes are told to do.
    pub operation: Operation,
    /// How far it is.
    pub state: JobState,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// When it was done, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// What came of it, by node; those that have yet to answer are absent.
    pub nodes: Vec<NodeResult>,
}

/// What came of an operation on one node. Exactly one of the other members is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeResult {
    /// The node's name.
    pub id: String,
    /// 200, or the status of `error`.
    #[schema(minimum = 200, maximum = 599)]
    pub status: u16,
    /// The snapshot that it wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotInfo>,
    /// What it loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
    /// How far it was with handing over when it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settling: Option<Settling>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// The problem document where no node can write a snapshot because each one's disk is full.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AllFull {
    /// What happened.
    #[serde(flatten)]
    pub problem: Problem,
    /// The job.
    pub job: String,
    /// What each node says.
    pub nodes: Vec<NodeResult>,
}

impl NodeResult {
    /// A node that failed.
    pub fn failed(id: impl Into<String>, error: Problem) -> Self {
        let status = error.status;
        Self { id: id.into(), status, snapshot: None, restored: None, settling: None, error: Some(error) }
    }
}

impl Job {
    /// The status that goes with the results: 200 where all nodes did it, 507 where the disk of each is full, else 207.
    pub fn status(&self) -> u16 {
        let all = |status| self.nodes.iter().all(|node| node.status == status);
        match () {
            () if all(200) => 200,
            () if all(ErrorCode::DiskFull.status()) => ErrorCode::DiskFull.status(),
            () => 207,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(of: &[u16]) -> u16 {
        let result = |status| match status {
            507 => NodeResult::failed("a", Problem::new(ErrorCode::DiskFull, "")),
            503 => NodeResult::failed("a", Problem::new(ErrorCode::Unavailable, "")),
            _ => NodeResult {
                status,
                error: None,
                ..NodeResult::failed("a", Problem::new(ErrorCode::Internal, ""))
            },
        };
        let nodes = of.iter().copied().map(result).collect();
        let (operation, state) = (Operation::Backup, JobState::Done);
        Job { job: "1".into(), operation, state, started_ms: 0, ended_ms: None, nodes }.status()
    }

    #[test]
    fn the_whole_is_well_only_where_all_are_and_full_only_where_all_are() {
        assert_eq!([status(&[200, 200]), status(&[507, 507]), status(&[503, 503])], [200, 507, 207]);
        assert_eq!([status(&[200, 507]), status(&[503, 507])], [207, 207]);
    }
}
