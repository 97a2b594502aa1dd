//! Memcached's protocol on real sockets, from who speaks it: an auxiliary straight on its store, a master for the cluster.

mod random;

use std::net::SocketAddr;

use annulus_testkit::{InProcess, MemcachedClient, MemcachedServer, Shape, differing_exchanges};

use random::{Dice, Uniques, command};

/// Sequences of random commands, and how long each is.
const SEQUENCES: u64 = 60;
const COMMANDS: usize = 40;

async fn one_node() -> InProcess {
    Shape::default().masters(1).auxiliaries(1).replicas(1).in_process().await.expect("a cluster starts")
}

/// Runs what blocks beside the servers, which are tasks of this runtime.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic beside the servers")
}

async fn answers_every_exchange(address: SocketAddr) {
    let differing =
        beside(move || differing_exchanges(address, |_| false)).await.expect("the server answers");
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auxiliary_answers_every_exchange_as_memcached_does() {
    let cluster = one_node().await;
    answers_every_exchange(cluster.auxiliary_memcached(0)).await;
}

/// Three nodes, each of which has only a part of the keys, behind one master.
async fn three_nodes(replicas: usize) -> InProcess {
    Shape::default().masters(1).replicas(replicas).in_process().await.expect("a cluster starts")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_answers_every_exchange_as_memcached_does() {
    for replicas in [1, 2] {
        let cluster = three_nodes(replicas).await;
        answers_every_exchange(cluster.memcached(0)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memcached_itself_answers_the_exchanges_as_they_were_written_down() {
    let memcached = beside(MemcachedServer::start).await.expect("memcached starts");
    let address = memcached.address();
    let differing =
        beside(move || differing_exchanges(address, |case| case.difference("1.6.18").is_some())).await;
    assert_eq!(differing.expect("memcached answers"), Vec::<String>::new());
}

/// Sends the same to both and compares the answers, command by command.
fn answers_alike(seed: u64, one: SocketAddr, other: SocketAddr) {
    let connect = |address| MemcachedClient::connect(address).expect("the server accepts");
    let mut clients = [connect(one), connect(other)];
    let mut uniques = [Uniques::default(), Uniques::default()];
    for client in &mut clients {
        client.exchange(b"flush_all\r\n").expect("an answer");
    }
    let mut dice = Dice(seed);
    let mut sent = Vec::new();
    for _ in 0..COMMANDS {
        let command = command(&mut dice, uniques[0].len());
        sent.push(command.clone());
        let mut answers = Vec::new();
        for (client, uniques) in clients.iter_mut().zip(&mut uniques) {
            let answer = client.exchange(uniques.fill(&command).as_bytes()).expect("an answer");
            answers.push(uniques.plain(&answer));
        }
        assert_eq!(answers[0], answers[1], "seed {seed}, the last of:\n{}", sent.concat());
    }
}

async fn answers_random_commands(address: SocketAddr, sequences: u64) {
    beside(move || {
        let memcached = MemcachedServer::start().expect("memcached starts");
        for seed in 0..sequences {
            answers_alike(seed, address, memcached.address());
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_auxiliary_answers_random_commands_as_memcached_does() {
    let cluster = one_node().await;
    answers_random_commands(cluster.auxiliary_memcached(0), SEQUENCES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_answers_random_commands_as_memcached_does() {
    for replicas in [1, 2] {
        let cluster = three_nodes(replicas).await;
        answers_random_commands(cluster.memcached(0), SEQUENCES / 2).await;
    }
}

/// The crate `memcache`, as a program would use it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_crate_and_rest_find_what_the_other_stored() {
    let cluster = Shape::default().in_process().await.expect("a cluster starts");
    let (first, second) = (cluster.memcached(0), cluster.memcached(1));
    let rest = cluster.client(1);
    rest.store("from-rest", "over http").await;
    let client = |address: SocketAddr| {
        memcache::connect(format!("memcache://{address}?timeout=5&protocol=ascii")).expect("it connects")
    };
    beside(move || {
        let (one, other) = (client(first), client(second));
        one.set("from-memcached", "over a socket", 60).expect("it is stored");
        assert_eq!(other.get("from-memcached").expect("an answer"), Some("over a socket".to_owned()));
        assert_eq!(one.get::<String>("from-rest").expect("an answer"), Some("over http".to_owned()));
        let many = other.gets::<String>(&["from-rest", "from-memcached", "missing"]).expect("an answer");
        assert_eq!(many.len(), 2);
        one.set("count", 1, 0).expect("it is stored");
        assert_eq!(other.increment("count", 41).expect("an answer"), 42);
        let (_, _, unique) =
            one.get::<(Vec<u8>, u32, Option<u64>)>("count").expect("an answer").expect("a hit");
        assert!(one.cas("count", 7, 0, unique.expect("a unique")).expect("an answer"));
        assert!(!other.cas("count", 8, 0, unique.expect("a unique")).expect("an answer"));
        assert!(one.delete("count").expect("an answer"));
        assert_eq!(other.get::<u64>("count").expect("an answer"), None);
    })
    .await;
    assert_eq!(rest.get("/data/from-memcached?raw").await.body, b"over a socket");
}
