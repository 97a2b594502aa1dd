//! `annulus nodes --watch` and `--remove`, `backup`, `restore` and `rebalance`.

use std::io::BufRead as _;
use std::process::Stdio;

use crate::support::{Running, annulus, program};

#[test]
fn snapshots_are_written_and_loaded_on_every_node() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Running::dev(&["--backup-dir", folder.path().to_str().unwrap()]);
    let url = dev.url("master-1");
    let ask = |args: &[&str]| annulus(&[args, &["--url", &url]].concat());
    ask(&["set", "a", "1"]).ok();
    let written = ask(&["backup"]).ok();
    assert!(written.lines().count() == 4 && written.contains("aux-3     200  snapshot-"), "{written}");
    let job: serde_json::Value = serde_json::from_str(&ask(&["restore", "--json"]).ok()).unwrap();
    assert_eq!((&job["state"], &job["operation"]), (&"done".into(), &"restore".into()));
    assert!(ask(&["rebalance"]).ok().contains("looks over what it holds"));
}

#[test]
fn a_backup_fails_where_a_node_has_no_folder_and_says_what_to_do() {
    let dev = Running::dev(&["--auxiliaries", "1"]);
    let ran = annulus(&["backup", "--url", &dev.url("master-1")]);
    assert!(ran.code == Some(1) && ran.stdout.contains("auxiliary.backup_dir"), "{ran:?}");
}

#[test]
fn a_node_can_be_watched_while_it_is_removed() {
    let dev = Running::dev(&[]);
    let url = dev.url("master-2");
    let mut watch = program(&["nodes", "--watch", "--url", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(first.ends_with("settled: aux-1 member up, aux-2 member up, aux-3 member up"), "{first}");
    let table = annulus(&["nodes", "aux-2", "--remove", "--url", &url]).ok();
    assert!(table.contains("leaving"), "{table}");
    let last = lines.find(|line| line.ends_with("settled: aux-1 member up, aux-3 member up"));
    assert!(last.is_some());
    watch.kill().unwrap();
    watch.wait().unwrap();
    let ran = annulus(&["nodes", "aux-9", "--remove", "--url", &url]);
    assert!(ran.fails(3).contains("no such node: aux-9"));
    assert!(annulus(&["nodes", "--remove"]).fails(2).contains("NAME"));
}
