//! `POST /backup`, `/restore`, `/rebalance`, `GET /jobs/{id}`.

use std::time::Duration;

use annulus_auxiliary::snapshots::MemoryFiles;
use annulus_protocol::ErrorCode;
use annulus_protocol::rest::{AllFull, Job, JobState};
use annulus_testkit::{Answer, eventually};

use crate::support::{Running, cluster, master, registry};

async fn post(master: &Running, target: &'static str) -> Answer {
    master.client().request("POST", target).send().await
}

/// The job of an answer of this status.
fn job(answer: &Answer, status: u16) -> Job {
    assert_eq!(answer.status, status, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("a job")
}

fn statuses(job: &Job) -> Vec<(&str, u16)> {
    job.nodes.iter().map(|node| (node.id.as_str(), node.status)).collect()
}

#[tokio::test]
async fn a_backup_is_written_by_every_node_and_can_be_loaded_again() {
    let files = [MemoryFiles::default(), MemoryFiles::default()];
    let (master, nodes) = cluster(2, &files).await;
    for key in ["a", "b", "c"] {
        master.client().store(key, "v").await;
    }
    let backup = job(&post(&master, "/backup").await, 200);
    assert_eq!((backup.state, backup.ended_ms >= Some(backup.started_ms)), (JobState::Done, true));
    assert_eq!(statuses(&backup), [("aux-1", 200), ("aux-2", 200)]);
    assert!(backup.nodes.iter().all(|node| node.snapshot.as_ref().unwrap().entries == 3), "{backup:?}");

    let restored = job(&post(&master, "/restore?wait=true").await, 200);
    for node in &restored.nodes {
        let loaded = node.restored.as_ref().unwrap();
        assert_eq!((loaded.valid + loaded.outdated, &loaded.set_aside[..]), (3, &[][..]), "{node:?}");
        assert!(loaded.snapshot.is_some());
    }
    assert_eq!(master.client().get("/data/a").await.status, 200);

    let rebalanced = job(&post(&master, "/rebalance").await, 200);
    assert!(rebalanced.nodes.iter().all(|node| node.settling.is_some()), "{rebalanced:?}");
    drop(nodes);
}

#[tokio::test]
async fn a_job_can_be_asked_for_where_it_was_started_and_nowhere_else() {
    let (master, nodes) = cluster(1, &[MemoryFiles::default()]).await;
    let started = post(&master, "/backup?wait=false").await;
    assert_eq!(started.status, 202, "{}", started.text());
    let id = started.json()["job"].as_str().unwrap().to_owned();
    let location = started.header("location").unwrap().to_owned();
    assert_eq!(location, format!("/jobs/{id}"));
    let escaped = location.replace('-', "%2D");
    assert_eq!(job(&master.client().get(escaped).await, 200).job, id);
    let show = async || job(&master.client().get(location.clone()).await, 200);
    eventually("the job is done", Duration::from_secs(10), async || show().await.state == JobState::Done)
        .await;
    let done = show().await;
    assert_eq!((done.job.as_str(), statuses(&done)), (id.as_str(), vec![("aux-1", 200)]));

    let other = crate::support::master(&registry()).await;
    for (client, path) in
        [(master.client(), "/jobs/nope"), (master.client(), "/jobs/%"), (other.client(), &*location)]
    {
        let problem = client.get(path).await.problem(ErrorCode::NotFound);
        assert!(problem.detail.contains("the master that started them"), "{problem:?}");
    }
    drop(nodes);
}

#[tokio::test]
async fn jobs_that_are_remembered_are_bounded() {
    let (master, nodes) = cluster(1, &[]).await;
    let first = job(&post(&master, "/rebalance").await, 200).job;
    for _ in 0..64 {
        job(&post(&master, "/rebalance").await, 200);
    }
    master.client().get(format!("/jobs/{first}")).await.problem(ErrorCode::NotFound);
    drop(nodes);
}

#[tokio::test]
async fn what_is_wrong_with_one_node_is_told_of_that_node() {
    let full = MemoryFiles::default();
    full.set_capacity(Some(10));
    let (master, mut nodes) = cluster(3, &[MemoryFiles::default(), full]).await;
    master.client().store("a", "v").await;
    let backup = job(&post(&master, "/backup").await, 207);
    assert_eq!(statuses(&backup), [("aux-1", 200), ("aux-2", 507), ("aux-3", 409)]);
    let detail = |node: usize| &backup.nodes[node].error.as_ref().unwrap().detail;
    assert!(detail(1).contains("full") && detail(2).contains("auxiliary.backup_dir"), "{backup:?}");

    drop(nodes.remove(0));
    let backup = job(&post(&master, "/backup").await, 207);
    let first = &backup.nodes[0];
    let code = first.error.as_ref().map(|error| error.code);
    assert_eq!((first.id.as_str(), code), ("aux-1", Some(ErrorCode::NodeUnavailable)), "{backup:?}");
}

#[tokio::test]
async fn where_every_disk_is_full_the_whole_says_so() {
    let full = || {
        let disk = MemoryFiles::default();
        disk.set_capacity(Some(10));
        disk
    };
    let (master, nodes) = cluster(2, &[full(), full()]).await;
    let answer = post(&master, "/backup").await;
    let problem = answer.problem(ErrorCode::DiskFull);
    assert!(problem.detail.contains("free some space"), "{problem:?}");
    let all: AllFull = serde_json::from_slice(&answer.body).unwrap();
    assert!(all.nodes.len() == 2 && all.nodes.iter().all(|node| node.status == 507), "{all:?}");
    drop(nodes);
}

#[tokio::test]
async fn what_cannot_be_done_is_said_at_once() {
    let master = master(&registry()).await;
    for target in ["/backup?wait=maybe", "/restore?wiat=true", "/rebalance?wait=true&wait=true"] {
        post(&master, target).await.problem(ErrorCode::BadRequest);
    }
    let problem = post(&master, "/backup").await.problem(ErrorCode::Unavailable);
    assert!(problem.detail.contains("no auxiliary has joined"), "{problem:?}");
}
