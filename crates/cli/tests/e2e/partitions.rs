//! One master that cannot reach one auxiliary, while everybody else can.

use std::time::Duration;

use annulus_testkit::{Cluster, Direction, Shape, eventually};

use crate::support::{BINARY, Load, assert_slowest};

/// Requests a second.
const RATE: usize = 300;
const LOAD: Load = Load { keys: 1000, rate: RATE };
/// How long the copies may take to be the same again, and data to move for it.
const CONVERGES_WITHIN: Duration = Duration::from_secs(20);

/// How many auxiliaries a master takes for down.
async fn down(cluster: &Cluster, master: usize) -> u64 {
    let health = cluster.client(master).get("/health").await.json();
    health["nodes"]["down"].as_u64().expect("a number of nodes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_master_cut_off_from_one_auxiliary_is_noticed_by_nobody() {
    let shape = Shape::default().redis().disks().proxies().set("auxiliary.backup_interval", "24h");
    let cluster = shape.processes(BINARY).await.expect("a cluster starts");
    let before = cluster.nodes(0).await;
    let load = LOAD.start(&cluster).await;
    for direction in [Direction::ToServer, Direction::ToClient, Direction::Both] {
        cluster.proxy(1).only_of(cluster.masters()[0].pid());
        cluster.proxy(1).cut(direction);
        let is_down = async || down(&cluster, 0).await == 1;
        eventually("the master misses the auxiliary", Duration::from_secs(20), is_down).await;
        assert_eq!(down(&cluster, 1).await, 0, "{direction:?}: the other master reaches it");
        LOAD.answered_more(&cluster, 2 * RATE).await;
        cluster.proxy(1).heal();
        cluster.all_up(0, Duration::from_secs(5)).await;
        LOAD.answered_more(&cluster, RATE).await;
    }
    assert_slowest(&load.ends_well(&cluster).await, Duration::from_millis(400));
    assert_eq!(cluster.nodes(0).await["epoch"], before["epoch"], "nobody left the ring for it");
    cluster.converges(CONVERGES_WITHIN).await;
    LOAD.is_all_there(&cluster).await;
}
