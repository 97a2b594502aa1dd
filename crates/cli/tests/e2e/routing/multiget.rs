//! One `get` of many keys while a node is dead.

use super::support::{auxiliaries, found, master, names, said, store_all};

const KEYS: usize = 90;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keys_of_a_dead_node_are_left_out_of_a_multiget_and_all_others_are_hits() {
    let mut nodes = auxiliaries(3).await;
    let master = master(&nodes, &["--replicas", "1"]).await;
    let names = names(KEYS);
    store_all(master.address(), &names);
    assert_eq!(found(master.address(), &names).len(), KEYS);
    nodes[0].kill();
    for _ in 0..3 {
        let there = found(master.address(), &names);
        assert!(!there.is_empty() && there.len() < KEYS, "{}", there.len());
        for name in &names {
            let alone = said(master.address(), &format!("get {name}\r\n"));
            let is_there = alone.starts_with("VALUE ");
            assert_eq!(is_there, there.contains(name), "{alone}");
            assert!(is_there || alone.starts_with("SERVER_ERROR "), "a miss would be a lie: {alone}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_copies_a_multiget_misses_nothing_and_writes_go_on() {
    let mut nodes = auxiliaries(3).await;
    let master = master(&nodes, &["--replicas", "2"]).await;
    let names = names(KEYS);
    store_all(master.address(), &names);
    nodes[2].kill();
    assert_eq!(found(master.address(), &names).len(), KEYS);
    store_all(master.address(), &names);
    nodes[2].restart().await.expect("it starts again");
    assert_eq!(found(master.address(), &names).len(), KEYS, "an empty node is believed by nobody");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_one_copy_read_a_node_that_hangs_holds_no_multiget_up() {
    let nodes = auxiliaries(3).await;
    let settings = ["--replicas", "2", "--consistency", "one", "--set", "limits.deadline=2s"];
    let master = master(&nodes, &settings).await;
    let names = names(KEYS);
    store_all(master.address(), &names);
    nodes[1].stop();
    for _ in 0..5 {
        let started = tokio::time::Instant::now();
        assert_eq!(found(master.address(), &names).len(), KEYS);
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    }
    nodes[1].resume();
}
