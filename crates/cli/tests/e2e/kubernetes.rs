//! A cluster that learns from an API server of Kubernetes who its members are, with nothing else to keep them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::time::Duration;

use annulus_testkit::{Client, KubeApi, MetricsPage, Process, Stored, eventually};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::BINARY;

const SET: &str = "cache";
const KEYS: usize = 500;
const LIMIT: Duration = Duration::from_secs(60);

/// Pods: each an address of the loopback network, all on one port.
struct Pods {
    api: KubeApi,
    port: u16,
    /// Whether they are replicas of a StatefulSet.
    has_set: bool,
    auxiliaries: BTreeMap<u8, Process>,
    masters: Vec<Process>,
}

impl Pods {
    fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let api = KubeApi::start().expect("an API server starts");
        Self { api, port, has_set: true, auxiliaries: BTreeMap::new(), masters: Vec::new() }
    }

    /// With two masters.
    async fn start(replicas: u8) -> Self {
        let pods = Self::new();
        pods.api.scale(SET, replicas.into());
        pods.started(replicas).await
    }

    async fn started(self, replicas: u8) -> Self {
        let mut pods = self;
        for n in 0..replicas {
            pods.run(n, 1).await;
        }
        for n in 1..=2 {
            let master = pods.process("master", &format!("master-{n}"), Ipv4Addr::LOCALHOST, 0).await;
            pods.masters.push(master);
        }
        for process in pods.auxiliaries.values().chain(&pods.masters) {
            process.ready().await;
        }
        pods.have_members(0..replicas).await;
        pods
    }

    /// Pod `n` runs, at its address in network `network`.
    async fn run(&mut self, n: u8, network: u8) {
        let ip = Ipv4Addr::new(127, 0, network, n + 1);
        let name = format!("{SET}-{n}");
        self.api.run_pod(&name, &ip.to_string(), Some(&format!("zone-{n}")));
        let process = self.process("auxiliary", &name, ip, self.port).await;
        self.auxiliaries.insert(n, process);
    }

    async fn process(&self, role: &str, name: &str, host: Ipv4Addr, port: u16) -> Process {
        let mut settings = vec![
            ("server.host", host.to_string()),
            ("cluster.lease_ttl", "1s".to_owned()),
            ("cluster.replicas", "2".to_owned()),
            ("auxiliary.memory", "64Mi".to_owned()),
            ("auxiliary.memcached_port", String::new()),
            ("master.memcached_port", String::new()),
            ("log.level", "info".to_owned()),
        ];
        let of_kubernetes = KubeApi::settings(SET, self.port).into_iter();
        settings.extend(of_kubernetes.filter(|(path, _)| self.has_set || !path.ends_with("statefulset")));
        let mut args = [role, "--name", name].map(str::to_owned).to_vec();
        args.extend(
            settings.into_iter().flat_map(|(path, value)| ["--set".to_owned(), format!("{path}={value}")]),
        );
        let env = [
            ("ANNULUS_CLUSTER__SECRET".to_owned(), "a-secret-of-the-tests".to_owned()),
            ("KUBECONFIG".to_owned(), self.api.kubeconfig()),
        ];
        Process::start_at(BINARY, &args, &env, port).await.expect("a process starts")
    }

    fn client(&self, master: usize) -> Client {
        self.masters[master].client()
    }

    async fn nodes(&self, master: usize) -> Value {
        self.client(master).get("/nodes").await.json()
    }

    /// Waits until all masters go by one view of these members, settled, at the addresses of their processes.
    async fn have_members(&self, replicas: Range<u8>) {
        eventually(&format!("the members {replicas:?}, settled"), LIMIT, async || {
            let (one, other) = (self.nodes(0).await, self.nodes(1).await);
            let is_so = |nodes: &Value| {
                let listed = nodes["nodes"].as_array().expect("GET /nodes lists them");
                nodes["settled"] == true
                    && listed.len() == replicas.len()
                    && listed.iter().zip(replicas.clone()).all(|(node, n)| {
                        let process = self.auxiliaries.get(&n).filter(|process| process.is_running());
                        node["id"] == format!("{SET}-{n}")
                            && node["member"] == "member"
                            && node["zone"] == format!("zone-{n}")
                            && process.is_none_or(|process| node["address"] == process.address().to_string())
                    })
            };
            one["epoch"] == other["epoch"] && is_so(&one) && is_so(&other)
        })
        .await;
    }

    async fn epoch(&self) -> u64 {
        self.nodes(0).await["epoch"].as_u64().expect("a number")
    }

    async fn store(&self, value: &str) {
        let entry = |key| Stored { key, value: value.to_owned(), ttl: None };
        self.client(0).store_many(&keys().map(entry).collect::<Vec<_>>()).await;
    }

    async fn hold(&self, value: &str) {
        for master in 0..2 {
            let found = self.client(master).read_many(&keys().collect::<Vec<_>>()).await;
            let wrong = keys().find(|key| found.get(key).is_none_or(|found| found.value != value));
            assert_eq!(wrong, None, "through master {master}");
        }
    }

    async fn discovery(&self, what: &str) -> f64 {
        MetricsPage::parse(self.client(0).get("/metrics").await.text()).value(what)
    }
}

fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|n| format!("key-{n}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_scales_with_its_statefulset_and_loses_no_key() {
    let mut pods = Pods::start(2).await;
    pods.store("one").await;
    pods.api.scale(SET, 3);
    pods.run(2, 1).await;
    pods.have_members(0..3).await;
    pods.hold("one").await;
    assert!(pods.discovery("annulus_discovery_peers").await > 2.5);
    assert!(pods.discovery("annulus_discovery_events_total{kind=\"applied\"}").await > 1.5);

    pods.store("two").await;
    pods.api.scale(SET, 2);
    pods.api.end_pod("cache-2");
    let mut last = pods.auxiliaries.remove(&2).expect("it runs");
    assert!(last.terminate(LIMIT).await.success(), "{}", last.log());
    pods.api.delete_pod("cache-2");
    pods.have_members(0..2).await;
    pods.hold("two").await;
    let answer = pods.client(0).request("DELETE", "/nodes/cache-1").send().await;
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("kubectl scale statefulset cache"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_dies_keeps_its_place_and_comes_back_elsewhere_though_kubernetes_was_away() {
    let mut pods = Pods::start(3).await;
    pods.store("one").await;
    let before = pods.epoch().await;
    pods.api.go_away();
    pods.auxiliaries.get_mut(&1).expect("it runs").kill();
    let failed = "annulus_discovery_events_total{kind=\"failed\"}";
    eventually("Kubernetes is missed", LIMIT, async || pods.discovery(failed).await > 2.5).await;
    pods.hold("one").await;
    pods.store("two").await;
    assert_eq!(pods.epoch().await, before, "a pod that is wanted leaves no ring");

    pods.run(1, 2).await;
    pods.hold("two").await;
    pods.api.come_back().await.expect("it comes back");
    pods.have_members(0..3).await;
    pods.hold("two").await;
    assert!(pods.epoch().await > before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_that_keeps_the_members_dies_and_learns_them_from_the_others() {
    let mut pods = Pods::start(3).await;
    pods.store("one").await;
    let before = pods.epoch().await;
    pods.auxiliaries.get_mut(&0).expect("it runs").kill();
    pods.api.delete_pod("cache-0");
    pods.store("two").await;
    pods.run(0, 3).await;
    pods.have_members(0..3).await;
    pods.hold("two").await;
    assert!(pods.epoch().await > before + 512, "another home numbers anew");

    // What was taken over is worked with.
    pods.api.scale(SET, 4);
    pods.run(3, 1).await;
    pods.have_members(0..4).await;
    pods.hold("two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_all_told_to_stop_end_soon_though_the_one_that_keeps_the_members_may_be_first() {
    let mut pods = Pods::start(3).await;
    pods.store("one").await;
    let told = Instant::now();
    let mut all = pods.auxiliaries.values_mut();
    let [keeper, one, other] = std::array::from_fn(|_| all.next().expect("there are three"));
    let ended = tokio::join!(keeper.terminate(LIMIT), one.terminate(LIMIT), other.terminate(LIMIT));
    assert!(ended.0.success() && ended.1.success() && ended.2.success(), "{ended:?}");
    let took = told.elapsed();
    println!("all three have ended after {took:.1?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    for process in pods.auxiliaries.values() {
        assert!(process.log().contains("no other node stays to take over"), "{}", process.log());
    }
}

#[tokio::test]
async fn a_cluster_that_may_not_look_says_so_and_forms_once_it_may() {
    let mut pods = Pods::new();
    pods.api.forbid("statefulsets", true);
    pods.api.scale(SET, 1);
    pods.run(0, 1).await;
    let auxiliary = &pods.auxiliaries[&0];
    eventually("it says what is wrong", LIMIT, async || auxiliary.log().contains("Forbidden")).await;
    assert_eq!(auxiliary.client().get("/ready").await.status, 503);
    pods.api.forbid("statefulsets", false);
    auxiliary.ready().await;

    // Nobody else may ask for the members, or change them.
    let answer = auxiliary.client().post("/registry", &json!({ "question": "{}" })).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let tag = "00".repeat(32);
    let call = json!({ "question": "{}", "nonce": &tag[..32], "tag": tag });
    let answer = auxiliary.client().post("/registry", &call).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_statefulset_the_pods_that_run_are_the_members_and_the_oldest_may_go() {
    let mut pods = Pods { has_set: false, ..Pods::new() }.started(3).await;
    pods.store("one").await;
    pods.api.end_pod("cache-0");
    let mut oldest = pods.auxiliaries.remove(&0).expect("it runs");
    assert!(oldest.terminate(LIMIT).await.success(), "{}", oldest.log());
    pods.api.delete_pod("cache-0");
    pods.have_members(1..3).await;
    pods.hold("one").await;
    pods.run(3, 1).await;
    pods.have_members(1..4).await;
    pods.hold("one").await;
}
