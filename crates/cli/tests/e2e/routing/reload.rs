//! Reading the configuration again, by SIGHUP and by `POST /config/reload`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use annulus_protocol::ErrorCode;
use annulus_testkit::{Answer, MemcachedClient, Process, eventually};
use serde_json::{Value, json};

use super::support::{auxiliaries, auxiliary, calls, master_by_file, metrics};

const SOON: Duration = Duration::from_secs(10);

/// A file that is replaced whole, as an editor or a ConfigMap does it.
struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = Self { folder: tempfile::tempdir().expect("a folder") };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("annulus.toml")
    }

    fn write(&self, text: &str) {
        let beside = self.folder.path().join("new");
        std::fs::write(&beside, text).expect("written");
        std::fs::rename(beside, self.path()).expect("replaced");
    }
}

async fn start(nodes: &[Process], text: &str) -> (File, Process) {
    let file = File::new(text);
    let master = master_by_file(nodes, file.path().to_str().expect("a path")).await;
    (file, master)
}

async fn reload(process: &Process) -> Answer {
    process.client().request("POST", "/config/reload").send().await
}

fn paths(changes: &Value) -> Vec<&str> {
    changes.as_array().expect("a list").iter().map(|change| change["path"].as_str().unwrap()).collect()
}

async fn reloads(process: &Process, outcome: &str) -> u64 {
    metrics(process).await.value(&format!("annulus_config_reloads_total{{outcome=\"{outcome}\"}}")) as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_change_does_and_what_cannot_is_named() {
    let nodes = auxiliaries(1).await;
    let (file, master) = start(&nodes, "[limits]\nmax_bulk_items = 2\n").await;
    let three = json!(["a", "b", "c"]);
    let client = master.client();
    client.post("/data/bulk/get", &three).await.problem(ErrorCode::TooLarge);
    file.write("[limits]\nmax_bulk_items = 3\n[cluster]\nlease_ttl = '20s'\n[log]\nlevel = 'debug'\n");
    let answer = reload(&master).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    let first = json!({ "path": "limits.max_bulk_items", "from": "2", "to": "3" });
    assert_eq!(told["changed"], json!([first]), "the level is a flag's");
    assert_eq!(paths(&told["needs_restart"]), ["cluster.lease_ttl"]);
    assert_eq!(client.post("/data/bulk/get", &three).await.status, 200);
    let again = reload(&master).await.json();
    assert_eq!((&again["changed"], paths(&again["needs_restart"])), (&json!([]), vec!["cluster.lease_ttl"]));
    assert_eq!([reloads(&master, "applied").await, reloads(&master, "unchanged").await], [1, 1]);
    let alone = nodes[0].client().request("POST", "/config/reload").send().await;
    assert_eq!(alone.json(), json!({ "changed": [], "needs_restart": [] }), "auxiliaries do it too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_keeps_the_old_and_says_why() {
    let nodes = auxiliaries(1).await;
    let (file, master) = start(&nodes, "[limits]\nmax_bulk_items = 2\n").await;
    let bad_gutter = "[limits]\nmax_bulk_items = 9\n[cluster]\ngutter = ['nowhere']\n";
    for (text, why) in [
        ("[limits]\nmax_bulk_items = 9\ndeadline = 'soon'\n", "limits.deadline = \"soon\""),
        ("[limits]\nmax_bulk_itms = 9\n", "did you mean limits.max_bulk_items?"),
        ("[limits]\nmax_bulk_items = 9\n[cluster\nsecret = 'not to be shown'\n", "line 3"),
        (bad_gutter, "cluster.gutter: \"nowhere\" is no node"),
    ] {
        file.write(text);
        let problem = reload(&master).await.problem(ErrorCode::BadConfiguration);
        assert!(problem.detail.contains(why), "{}", problem.detail);
        assert!(!problem.detail.contains("not to be shown"), "{}", problem.detail);
    }
    let page = metrics(&master).await;
    assert_eq!(page.value("annulus_config_last_reload_successful") as u64, 0);
    master.hangup();
    eventually("SIGHUP is refused too", SOON, async || reloads(&master, "refused").await == 5).await;
    eventually("the log says why", SOON, async || master.log().matches("is no node").count() == 2).await;
    let three = json!(["a", "b", "c"]);
    master.client().post("/data/bulk/get", &three).await.problem(ErrorCode::TooLarge);
    file.write("[limits]\nmax_bulk_items = 3\n");
    assert_eq!(reload(&master).await.status, 200);
    assert_eq!(metrics(&master).await.value("annulus_config_last_reload_successful") as u64, 1);
    assert_eq!(master.client().post("/data/bulk/get", &three).await.status, 200);
}

/// Clients that count what is not as it should be.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    wrong: Arc<AtomicUsize>,
    memcached: std::thread::JoinHandle<()>,
    rest: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(master: &Process) -> Self {
        let (stop, answered, wrong) = (Arc::<AtomicBool>::default(), Arc::default(), Arc::default());
        let count = |answered: &AtomicUsize, wrong: &AtomicUsize, is_right: bool| {
            answered.fetch_add(1, Ordering::Relaxed);
            wrong.fetch_add(usize::from(!is_right), Ordering::Relaxed);
        };
        let (address, client) = (master.address(), master.client());
        let memcached = std::thread::spawn({
            let (stop, answered, wrong) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&wrong));
            move || {
                let mut client = MemcachedClient::connect(address).expect("the master accepts");
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.exchange(b"set m 0 0 1\r\nv\r\nget m\r\n");
                    let expected = b"STORED\r\nVALUE m 0 1\r\nv\r\nEND\r\n";
                    count(&answered, &wrong, answer.is_ok_and(|answer| answer == expected));
                }
            }
        });
        let rest = tokio::spawn({
            let (stop, answered, wrong) = (Arc::clone(&stop), Arc::clone(&answered), Arc::clone(&wrong));
            async move {
                while !stop.load(Ordering::Relaxed) {
                    let written = client.put("/data/r", "v").await;
                    let read = client.get("/data/r?raw").await;
                    count(&answered, &wrong, written.status == 200 && read.text() == "v");
                }
            }
        });
        Self { stop, answered, wrong, memcached, rest }
    }

    async fn goes_on(&self) {
        let goal = self.answered.load(Ordering::Relaxed) + 50;
        eventually("more is answered", SOON, async || self.answered.load(Ordering::Relaxed) >= goal).await;
    }

    async fn ends_well(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.memcached.join().expect("no panic");
        self.rest.await.expect("no panic");
        assert_eq!(self.wrong.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_request_is_dropped_whatever_is_changed_and_however() {
    let (nodes, gutter) = (auxiliaries(3).await, auxiliary("g").await);
    let (file, master) = start(&nodes, "").await;
    let load = Load::start(&master);
    let gutter = format!("[cluster]\ngutter = ['g={}']\n", gutter.address());
    let texts = [
        "[cluster]\nroute = 'near-then-cluster'\nhedge_after = '10ms'\n",
        "[cluster]\nconsistency = 'one'\nbreaker_failures = 5\n[master]\nzone = 'zone-c'\n",
        &gutter,
        "[server]\nidle_timeout = '60s'\nwrite_timeout = '5s'\n[limits]\ndeadline = '900ms'\n",
        "",
    ];
    for (n, text) in (1..).zip(texts) {
        load.goes_on().await;
        file.write(text);
        if n % 2 == 0 {
            let answer = reload(&master).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        } else {
            master.hangup();
        }
        eventually("it is applied", SOON, async || reloads(&master, "applied").await == n).await;
    }
    load.goes_on().await;
    load.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_request_goes_the_new_way() {
    let nodes = auxiliaries(3).await;
    let cluster = "[cluster]\nreplicas = 3\nconsistency = 'one'\nhedge_after = '1s'\n";
    let (file, master) = start(&nodes, cluster).await;
    let client = master.client();
    client.store("k", "v").await;
    for node in ["a", "b", "c"] {
        file.write(&format!("{cluster}[master]\nzone = 'zone-{node}'\n"));
        assert_eq!(reload(&master).await.status, 200);
        let before = calls(&master, node).await;
        assert_eq!(client.get("/data/k").await.status, 200);
        assert_eq!(calls(&master, node).await, before + 1, "read in its zone");
    }
    file.write("[cluster]\nroute = 'replicated'\n");
    let answer = reload(&master).await.json();
    assert!(paths(&answer["needs_restart"]).contains(&"cluster.route"), "{answer}");
}
