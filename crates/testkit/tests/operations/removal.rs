//! `DELETE /nodes/{id}`.

use annulus_protocol::ErrorCode;
use annulus_testkit::{Shape, path_of};

use crate::support::{cluster, settled};

#[tokio::test]
async fn a_node_that_is_removed_hands_over_what_it_holds_and_ends() {
    let (master, mut nodes) = cluster(3, &[]).await;
    let keys: Vec<String> = (0..50).map(|n| format!("key {n}")).collect();
    for key in &keys {
        master.client().store(key, "v").await;
    }
    let answer = master.client().request("DELETE", "/nodes/aux-2").send().await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let node = answer.json();
    assert_eq!((&node["id"], &node["member"]), (&"aux-2".into(), &"leaving".into()));
    nodes[1].ended().await;
    let left = settled(&master, 2).await;
    assert!(left["nodes"].as_array().unwrap().iter().all(|node| node["id"] != "aux-2"), "{left}");
    for key in &keys {
        assert_eq!(master.client().get(path_of(key)).await.status, 200, "{key}");
    }
}

#[tokio::test]
async fn the_last_node_and_one_that_is_none_cannot_be_removed() {
    let (master, nodes) = cluster(1, &[]).await;
    let delete = |path: &'static str| master.client().request("DELETE", path).send();
    let problem = delete("/nodes/aux-1").await.problem(ErrorCode::Conflict);
    assert!(problem.detail.contains("the last node"), "{problem:?}");
    for path in ["/nodes/aux-9", "/nodes/%FF"] {
        assert!(delete(path).await.problem(ErrorCode::NotFound).detail.contains("GET /nodes"));
    }
    delete("/nodes/a%2").await.problem(ErrorCode::BadRequest);
    drop(nodes);
}

#[tokio::test]
async fn a_fixed_list_is_changed_where_it_is_written() {
    let cluster = Shape::default().in_process().await.unwrap();
    let delete = |path: &'static str| cluster.client(1).request("DELETE", path).send();
    let problem = delete("/nodes/aux-1").await.problem(ErrorCode::Conflict);
    assert!(problem.detail.contains("cluster.auxiliaries"), "{problem:?}");
    delete("/nodes/aux-9").await.problem(ErrorCode::NotFound);
}
