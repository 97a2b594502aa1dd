//! Disks that are full, read-only, or give back what was not written.

use std::fs;
use std::path::{Path, PathBuf};

use annulus_protocol::ErrorCode;
use annulus_testkit::{Answer, Cluster, MetricsPage, Shape};

use crate::keys::Keys;
use crate::support::BINARY;

/// Room for two snapshots and what else is kept, and little more.
const DISK_BYTES: u64 = 2 << 20;
const KEYS: usize = 2000;

async fn start() -> (Cluster, Keys) {
    let shape = Shape::default().redis().small_disks(DISK_BYTES).set("log.level", "info");
    let shape = shape.set("auxiliary.backup_interval", "24h");
    let cluster = shape.processes(BINARY).await.expect("a cluster starts");
    let mut keys = Keys::new("k", 0..KEYS, &"some hundred bytes ".repeat(5));
    keys.store(cluster.client(0)).await;
    (cluster, keys)
}

async fn back_up(cluster: &Cluster, auxiliary: usize) -> Answer {
    cluster.auxiliaries()[auxiliary].client().request("POST", "/backup").send().await
}

/// Snapshots of an auxiliary so far, by what came of them.
async fn snapshots(cluster: &Cluster, auxiliary: usize, outcome: &str) -> u64 {
    let page = cluster.auxiliaries()[auxiliary].client().get("/metrics").await;
    let series = format!("annulus_snapshots_total{{outcome=\"{outcome}\"}}");
    MetricsPage::parse(page.text()).value(&series) as u64
}

/// The files of an auxiliary's folder with this ending, oldest first.
fn files(cluster: &Cluster, auxiliary: usize, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(cluster.disk(auxiliary)).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.display().to_string().ends_with(ending));
    files.sort();
    files
}

#[tokio::test]
async fn a_full_disk_leaves_the_last_good_snapshot_and_says_what_is_wrong() {
    let (mut cluster, keys) = start().await;
    let good = back_up(&cluster, 0).await;
    assert_eq!(good.status, 200, "{}", good.text());
    let whole = fs::read(&files(&cluster, 0, ".annulus")[0]).expect("a snapshot");
    for room in [0, whole.len() as u64 / 2] {
        let failed = snapshots(&cluster, 0, "failed").await;
        cluster.fill_disk(0, room);
        let problem = back_up(&cluster, 0).await.problem(ErrorCode::DiskFull);
        assert!(problem.detail.contains("full") && problem.detail.contains("aux-1"), "{}", problem.detail);
        assert_eq!(snapshots(&cluster, 0, "failed").await, failed + 1);
        assert_eq!(files(&cluster, 0, ".partial"), Vec::<PathBuf>::new());
        assert_eq!(fs::read(&files(&cluster, 0, ".annulus")[0]).expect("a snapshot"), whole);
        // The others do what they are asked for.
        let all = cluster.client(0).request("POST", "/backup").send().await;
        let statuses = all.json()["nodes"].as_array().expect("nodes").clone();
        let statuses: Vec<_> = statuses.iter().map(|node| node["status"].as_u64()).collect();
        assert_eq!((all.status, statuses), (207, vec![Some(507), Some(200), Some(200)]), "{}", all.text());
        cluster.free_disk(0);
        keys.are_right(&cluster).await;
    }

    // A node that starts while its disk is full loads what is there.
    cluster.fill_disk(0, 0);
    cluster.restart(0).await.expect("it comes back");
    cluster.settled().await;
    keys.are_right(&cluster).await;
    back_up(&cluster, 0).await.problem(ErrorCode::DiskFull);
    cluster.free_disk(0);
    assert_eq!(back_up(&cluster, 0).await.status, 200);
    assert_eq!(snapshots(&cluster, 0, "ok").await, 1);

    // One that is told to stop cannot write its last snapshot, and ends in good order all the same.
    cluster.fill_disk(0, 0);
    cluster.drain(0).await;
    assert!(cluster.auxiliaries()[0].log().contains("no last snapshot was taken"));
    keys.are_right(&cluster).await;
}

#[tokio::test]
async fn a_read_only_folder_leaves_the_last_good_snapshot_and_says_what_is_wrong() {
    let (mut cluster, keys) = start().await;
    assert_eq!(back_up(&cluster, 1).await.status, 200);
    let before = files(&cluster, 1, ".annulus");
    cluster.set_disk_read_only(1, true);
    let problem = back_up(&cluster, 1).await.problem(ErrorCode::Internal);
    assert!(problem.detail.contains("cannot be written to"), "{}", problem.detail);
    assert_eq!(snapshots(&cluster, 1, "failed").await, 1);
    assert_eq!(files(&cluster, 1, ".annulus"), before);
    keys.are_right(&cluster).await;

    // Better not to start than to run without snapshots that somebody counts on.
    cluster.kill_auxiliary(1);
    let refused = cluster.restart(1).await.expect_err("it does not start").to_string();
    assert!(refused.contains("auxiliary.backup_dir") && refused.contains("cannot be used"), "{refused}");
    keys.are_right(&cluster).await;
    cluster.set_disk_read_only(1, false);
    cluster.restart(1).await.expect("it comes back");
    cluster.settled().await;
    assert_eq!(back_up(&cluster, 1).await.status, 200);
    keys.are_right(&cluster).await;
}

/// Ways in which a file may be damaged.
const DAMAGES: [fn(&Path); 4] = [
    |path| change(path, |bytes| bytes.truncate(bytes.len() / 2)),
    |path| {
        change(path, |bytes| {
            let at = bytes.len() / 3;
            bytes[at] ^= 0x10;
        });
    },
    |path| change(path, Vec::clear),
    |path| change(path, |bytes| bytes.fill(0)),
];

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    change(&mut bytes);
    fs::write(path, bytes).expect("the file can be written");
}

#[tokio::test]
async fn a_damaged_snapshot_is_set_aside_and_nothing_wrong_comes_from_it() {
    let (mut cluster, mut keys) = start().await;
    for damage in DAMAGES {
        for _ in 0..2 {
            assert_eq!(back_up(&cluster, 2).await.status, 200);
        }
        let [older, newer] = &files(&cluster, 2, ".annulus")[..] else { panic!("two are kept") };
        cluster.kill_auxiliary(2);
        damage(newer);
        cluster.restart(2).await.expect("it comes back");
        cluster.settled().await;
        assert_eq!(snapshots(&cluster, 2, "corrupt").await, 1);
        assert!(newer.with_extension("annulus.corrupt").exists() && !newer.exists(), "{}", newer.display());
        let log = cluster.auxiliaries()[2].log();
        let name = older.file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(log.contains("a snapshot is damaged and was set aside") && older.exists(), "{log}");
        assert!(log.contains(name), "the one before is taken: {log}");
        keys.are_right(&cluster).await;
        keys.store(cluster.client(0)).await;
    }

    // With all of them damaged a node starts empty, and gets what it should hold from the others.
    cluster.kill_auxiliary(2);
    for path in files(&cluster, 2, ".annulus") {
        DAMAGES[1](&path);
    }
    cluster.restart(2).await.expect("it comes back");
    cluster.settled().await;
    assert_eq!(files(&cluster, 2, ".annulus"), Vec::<PathBuf>::new());
    keys.are_right(&cluster).await;
}
