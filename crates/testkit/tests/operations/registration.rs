//! `POST /nodes`.

use std::time::Duration;

use annulus_cluster::{Authority as _, AuthorityError, Beat, BeatError, Roster};
use annulus_protocol::handshake::{Challenge, Identity, JoinRequest, Nonce, Registration};
use annulus_protocol::{ErrorCode, Secret};
use annulus_testkit::{Shape, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use crate::support::{
    Joiner, OTHER_SECRET, SECRET, auxiliary, beat, cluster, keeper, master, master_with, nodes, registry,
    settings, settled,
};

const LIMIT: Duration = Duration::from_secs(10);

fn join(registration: &Registration<Beat, Roster>, secret: &str, nonce: u8) -> String {
    let join = JoinRequest::new(&Secret::new(secret).unwrap(), registration, Nonce([nonce; 16]));
    serde_json::to_string(&join.unwrap()).unwrap()
}

fn first(beat: Beat) -> Registration<Beat, Roster> {
    Registration::Beat { beat, known: None, previous: None }
}

fn reason(error: AuthorityError) -> String {
    match error {
        AuthorityError::Unreachable(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nodes_that_know_the_secret_form_a_cluster_through_a_master() {
    let (master, nodes) = cluster(3, &[]).await;
    master.client().store("k", "v").await;
    assert_eq!(master.client().get("/data/k").await.json()["value"], "v");
    let list = settled(&master, 3).await;
    assert!(list["nodes"].as_array().unwrap().iter().all(|node| node["member"] == "member"), "{list}");
    for node in &nodes {
        let ready = async || node.client().get("/ready").await.status == 200;
        eventually("the node is ready", LIMIT, ready).await;
    }
}

#[tokio::test]
async fn a_node_is_called_back_once_and_then_its_beats_are_enough() {
    let master = master(&registry()).await;
    let joiner = Joiner::new("a", 7, &[master.address]).await;
    for _ in 0..5 {
        let roster = joiner.authority.beat(beat("a", joiner.address, 7), None).await.unwrap();
        assert!(roster.has("a", 7));
    }
    assert_eq!(joiner.called(), 1);
    assert!(joiner.authority.roster(None).await.unwrap().has("a", 7));
}

#[tokio::test]
async fn a_beat_that_is_sent_again_counts_for_nothing() {
    let master = master(&registry()).await;
    let joiner = Joiner::new("a", 7, &[master.address]).await;
    joiner.authority.beat(beat("a", joiner.address, 7), None).await.unwrap();
    let recorded = join(&first(beat("a", joiner.address, 7)), SECRET, 9);
    let again = master.client().request("POST", "/nodes").json(recorded).send().await;
    let problem = again.problem(ErrorCode::AddressNotConfirmed);
    assert!(problem.detail.contains("auxiliary.advertise"), "{problem:?}");
    assert_eq!(joiner.called(), 2, "it was asked, and did not wait for that");
}

#[tokio::test]
async fn another_secret_is_refused_in_both_directions() {
    let master = master(&registry()).await;
    let stranger = crate::support::authority(&[master.address], OTHER_SECRET);
    let why = reason(stranger.beat(beat("a", master.address, 1), None).await.unwrap_err());
    assert!(why.contains("Not from this cluster (403") && why.contains("same secret"), "{why}");
    assert_eq!(nodes(&master).await["nodes"], json!([]));

    let node = auxiliary("a", &[master.address], None).await;
    let own = Identity { name: "a".into(), address: node.address.to_string(), incarnation: 1 };
    let secret = Secret::new(OTHER_SECRET).unwrap();
    let challenge = Challenge::new(&secret, Nonce([1; 16]), Nonce([2; 16]), own);
    let challenge = serde_json::to_string(&challenge).unwrap();
    let refused = node.client().request("POST", "/challenge").json(challenge).send().await;
    refused.problem(ErrorCode::NotSealed);
    node.client().request("POST", "/challenge").json("{}").send().await.problem(ErrorCode::BadJson);
}

#[tokio::test]
async fn who_answers_as_a_master_without_the_secret_is_not_believed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let roster = Roster::new(annulus_cluster::Layout { replicas: 1, virtual_nodes: 1 });
    let body = serde_json::to_string(&roster).unwrap();
    let answers = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 64 * 1024];
        let _ = stream.read(&mut request).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    let authority = crate::support::authority(&[address], SECRET);
    let why = reason(authority.beat(beat("a", address, 1), None).await.unwrap_err());
    assert!(why.contains("auxiliary.master_address") && why.contains("cluster.secret"), "{why}");
    answers.await.unwrap();
}

#[tokio::test]
async fn an_address_outside_the_networks_is_refused_without_being_called() {
    let mut settings = settings(SECRET);
    settings.cluster.allowed_networks = vec!["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()];
    let master = master_with(&registry(), &settings, "127.0.0.1:0").await;
    let joiner = Joiner::new("a", 7, &[master.address]).await;
    let why = reason(joiner.authority.beat(beat("a", joiner.address, 7), None).await.unwrap_err());
    assert!(
        why.contains("127.0.0.1 is in none of the networks") && why.contains("10.0.0.0/8,fd00::/8"),
        "{why}"
    );
    assert_eq!(joiner.called(), 0);
    let by_name = beat("a", joiner.address, 7);
    let mut by_name = first(by_name);
    if let Registration::Beat { beat, .. } = &mut by_name {
        beat.seat.node.address = format!("localhost:{}", joiner.address.port());
    }
    let join = join(&by_name, SECRET, 1);
    let refused = master.client().request("POST", "/nodes").json(join).send().await;
    refused.problem(ErrorCode::AddressNotAllowed);
    assert_eq!((joiner.called(), &nodes(&master).await["nodes"]), (0, &json!([])));
}

#[tokio::test]
async fn a_joiner_at_whose_address_somebody_else_answers_is_refused() {
    let (master, nodes) = cluster(1, &[]).await;
    let liar = crate::support::authority(&[master.address], SECRET);
    let why = reason(liar.beat(beat("liar", nodes[0].address, 1), None).await.unwrap_err());
    assert!(why.contains("each node an address at which only it is reached"), "{why}");
    let silent = TcpSocket::new_v4().unwrap();
    silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let why = reason(liar.beat(beat("liar", silent.local_addr().unwrap(), 1), None).await.unwrap_err());
    assert!(why.contains("got no proof: cannot connect"), "{why}");
    settled(&master, 1).await;
}

#[tokio::test]
async fn what_the_authority_has_against_a_beat_reaches_the_node_as_it_is() {
    let master = master(&registry()).await;
    let later = Joiner::new("a", 8, &[master.address]).await;
    later.authority.beat(beat("a", later.address, 8), None).await.unwrap();
    let earlier = Joiner::new("a", 7, &[master.address]).await;
    let refused = earlier.authority.beat(beat("a", earlier.address, 7), None).await.unwrap_err();
    let address = later.address.to_string();
    let superseded = BeatError::Superseded { name: "a".into(), address, incarnation: 8 };
    assert_eq!(refused, AuthorityError::Beat(superseded));
    let mut bad = beat("a", later.address, 9);
    bad.seat.node.weight = 0;
    assert!(matches!(later.authority.beat(bad, None).await, Err(AuthorityError::Node(_))));
}

#[tokio::test]
async fn a_farewell_frees_the_lease() {
    let registry = registry();
    let master = master(&registry).await;
    let joiner = Joiner::new("a", 7, &[master.address]).await;
    joiner.authority.beat(beat("a", joiner.address, 7), None).await.unwrap();
    let holder = async || annulus_cluster::Registry::holders(&registry, &["a"]).await.unwrap()[0];
    assert_eq!(holder().await, Some(7));
    joiner.authority.release("a", 7).await.unwrap();
    assert_eq!(holder().await, None);
}

#[tokio::test]
async fn a_master_that_has_forgotten_everything_is_given_the_roster_back() {
    let (mut master, nodes) = cluster(3, &[]).await;
    master.client().store("k", "v").await;
    let before = settled(&master, 3).await;
    let address = master.address.to_string();
    master.shutdown.cancel();
    master.ended().await;
    let master = master_with(&registry(), &settings(SECRET), &address).await;
    let after = settled(&master, 3).await;
    assert_eq!(
        (&after["epoch"], &after["ring_fingerprint"]),
        (&before["epoch"], &before["ring_fingerprint"])
    );
    assert_eq!(master.client().get("/data/k").await.json()["value"], "v");
    drop(nodes);
}

#[tokio::test]
async fn where_one_master_goes_the_nodes_turn_to_another() {
    let registry = registry();
    let (one, two) = (master(&registry).await, master(&registry).await);
    let joiner = Joiner::new("a", 7, &[one.address, two.address]).await;
    joiner.authority.beat(beat("a", joiner.address, 7), None).await.unwrap();
    drop(one);
    for _ in 0..3 {
        let roster = joiner.authority.beat(beat("a", joiner.address, 7), None).await.unwrap();
        assert!(roster.has("a", 7));
    }
    assert_eq!(joiner.called(), 2, "once by each master");
    assert!(keeper(&registry).roster(None).await.unwrap().has("a", 7));
    assert_eq!(nodes(&two).await["nodes"][0]["id"], "a");
}

#[tokio::test]
async fn nobody_registers_a_node_by_hand() {
    let master = master(&registry()).await;
    let post = |body: &str| master.client().request("POST", "/nodes").json(body).send();
    let problem = post(r#"{"name":"a","address":"10.0.0.1:3001"}"#).await.problem(ErrorCode::BadJson);
    assert!(problem.detail.contains("nodes register themselves"), "{problem:?}");
    let no_json = master.client().request("POST", "/nodes").body("x").send().await;
    no_json.problem(ErrorCode::UnsupportedMediaType);
    let wrong = join(&first(beat("a", master.address, 1)), OTHER_SECRET, 1);
    let problem = post(&wrong).await.problem(ErrorCode::NotSealed);
    assert!(problem.detail.contains("give the node the same secret"), "{problem:?}");
    let mut no_port = beat("a", master.address, 1);
    no_port.seat.node.address = "127.0.0.1".to_owned();
    post(&join(&first(no_port), SECRET, 1)).await.problem(ErrorCode::BadRequest);
}

#[tokio::test]
async fn a_fixed_list_takes_nobody_in() {
    let cluster = Shape::default().set("cluster.secret", SECRET).in_process().await.unwrap();
    let request = join(&first(beat("a", cluster.address(0), 1)), SECRET, 1);
    let refused = cluster.client(0).request("POST", "/nodes").json(request).send().await;
    let problem = refused.problem(ErrorCode::Conflict);
    assert!(problem.detail.contains("cluster.auxiliaries"), "{problem:?}");
    let cluster = Shape::default().in_process().await.unwrap();
    let refused = cluster.client(0).request("POST", "/nodes").json("{}").send().await;
    assert!(refused.problem(ErrorCode::NotSealed).detail.contains("cluster.secret"));
}
