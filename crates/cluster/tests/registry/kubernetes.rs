//! Watching an API server that changes, forgets, breaks off, hangs and goes away.

use std::sync::Arc;
use std::time::Duration;

use annulus_cluster::discovery::{DiscoveryCounts, Kubernetes as Watched, KubernetesSettings, Snapshot};
use annulus_cluster::registry::{HomeRegistry, Registry as _};
use annulus_cluster::{Authority as _, Discovered, Keeper, KeeperSettings};
use annulus_testkit::KubeApi;

use crate::pods::Processes;
use crate::world::{LAYOUT, LONG, World, eventually};

const PORT: u16 = 3001;

/// What the contract suite runs on: the home is in the only pod of a StatefulSet.
pub(crate) struct Kubernetes {
    _api: KubeApi,
    watched: Watched,
    processes: Processes,
}

impl Kubernetes {
    pub(crate) async fn start() -> Self {
        let api = KubeApi::start().unwrap();
        api.scale("cache", 1);
        api.run_pod("cache-0", "10.0.0.1", None);
        let watched = watch(&api);
        let world = Self { _api: api, watched, processes: Processes::default() };
        world.wipe().await;
        world
    }
}

impl World for Kubernetes {
    type Registry = HomeRegistry;

    fn registry(&self) -> HomeRegistry {
        self.processes.registry(self.watched.snapshots())
    }

    /// The pod's process starts again, and nobody else knows anything.
    async fn wipe(&self) {
        self.processes.start("cache-0", "10.0.0.1:3001", self.watched.snapshots(), None);
        eventually("the home answers", async || self.registry().load().await.is_ok()).await;
    }
}

fn settings() -> KubernetesSettings {
    let watch_for = Duration::from_secs(2);
    let statefulset = Some("cache".to_owned());
    KubernetesSettings { statefulset, watch_for, ..KubernetesSettings::new("app=cache", PORT) }
}

fn config(api: &KubeApi) -> kube::Config {
    let mut config = kube::Config::new(format!("http://{}", api.address()).parse().unwrap());
    "annulus".clone_into(&mut config.default_namespace);
    config
}

fn watch(api: &KubeApi) -> Watched {
    Watched::watch_at(config(api), &settings()).unwrap()
}

/// Three pods of three replicas, and what is learned of them.
async fn three() -> (KubeApi, Watched) {
    let api = KubeApi::start().unwrap();
    api.scale("cache", 3);
    for n in 0..3 {
        api.run_pod(&format!("cache-{n}"), &format!("10.0.0.{n}"), Some("east"));
    }
    let watched = watch(&api);
    sees(&watched, "three peers", |snapshot| snapshot.peers() == 3).await;
    (api, watched)
}

async fn sees(watched: &Watched, what: &str, condition: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let mut seen = None;
    eventually(what, async || {
        seen = watched.snapshots().borrow().clone().ok();
        seen.as_deref().is_some_and(&condition)
    })
    .await;
    seen.unwrap()
}

fn address<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a str> {
    snapshot.pod(name)?.address.as_deref()
}

fn counts(watched: &Watched) -> DiscoveryCounts {
    let registry = Processes::default().registry(watched.snapshots());
    let keeper = Keeper::new(registry, KeeperSettings { lease_ttl: LONG, layout: LAYOUT });
    Discovered::new(keeper, watched.snapshots(), watched.counts()).discovery().unwrap()
}

#[tokio::test]
async fn pods_that_come_and_go_and_replicas_that_change_are_seen_as_they_do() {
    let (api, watched) = three().await;
    let first = watched.snapshots().borrow().clone().unwrap();
    assert_eq!((address(&first, "cache-1"), first.generation()), (Some("10.0.0.1:3001"), 1));
    assert_eq!(first.pod("cache-1").unwrap().zone.as_deref(), Some("east"));
    assert_eq!(first.home().as_deref(), Some("cache-0"));

    api.delete_pod("cache-1");
    let without = sees(&watched, "it is gone", |snapshot| snapshot.pod("cache-1").is_none()).await;
    assert!(without.wants("cache-1") && without.peers() == 2);
    api.run_pod("cache-1", "fd00::1", None);
    sees(&watched, "it is back", |now| address(now, "cache-1") == Some("[fd00::1]:3001")).await;

    api.scale("cache", 5);
    sees(&watched, "five", |now| now.wants("cache-4") && now.generation() == 2).await;
    api.scale("cache", 1);
    let one = sees(&watched, "one", |now| !now.wants("cache-1") && now.generation() == 3).await;
    assert_eq!((one.peers(), one.pods().count()), (1, 3));

    api.end_pod("cache-1");
    sees(&watched, "it is told to end", |now| now.pod("cache-1").is_some_and(|pod| !pod.runs)).await;
    api.delete_set("cache");
    eventually("the end of the set is told", async || counts(&watched).events[1] >= 2).await;
    sees(&watched, "who is a member stays", |now| now.wants("cache-0")).await;
}

#[tokio::test]
async fn after_410_everything_is_listed_again() {
    let (api, watched) = three().await;
    let lists = api.requests("list");
    api.delete_pod("cache-2");
    api.compact();
    api.scale("cache", 4);
    sees(&watched, "what happened", |now| now.pod("cache-2").is_none() && now.wants("cache-3")).await;
    eventually("all are listed again", async || api.requests("list") >= lists + 2).await;
    assert!(api.requests("gone") >= 2);
    assert!(counts(&watched).events[2] >= 2, "lists of pods are counted");
}

#[tokio::test]
async fn a_watch_that_breaks_off_goes_on_where_it_was() {
    let (api, watched) = three().await;
    let lists = api.requests("list");
    for n in 4..7 {
        api.cut();
        api.run_pod("cache-1", &format!("10.0.1.{n}"), None);
        let address_now = format!("10.0.1.{n}:3001");
        sees(&watched, "another address", |now| address(now, "cache-1") == Some(&address_now)).await;
    }
    assert_eq!(api.requests("list"), lists, "nothing was lost");
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_and_the_last_view_stays() {
    let (api, watched) = three().await;
    let before = watched.snapshots().borrow().clone().unwrap();
    let failed = counts(&watched).events[3];
    api.hang(true);
    api.scale("cache", 4);
    eventually("it is given up", async || counts(&watched).events[3] > failed).await;
    assert_eq!(watched.snapshots().borrow().clone(), Ok(before));
    api.hang(false);
    sees(&watched, "what happened meanwhile", |now| now.wants("cache-3")).await;
}

#[tokio::test]
async fn while_the_server_is_away_the_last_view_stays_and_it_is_found_again() {
    let (mut api, watched) = three().await;
    let before = watched.snapshots().borrow().clone().unwrap();
    let failed = counts(&watched).events[3];
    api.go_away();
    api.delete_pod("cache-0");
    eventually("it fails", async || counts(&watched).events[3] > failed + 2).await;
    assert_eq!(watched.snapshots().borrow().clone(), Ok(before));
    api.come_back().await.unwrap();
    sees(&watched, "what happened meanwhile", |now| now.pod("cache-0").is_none()).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_or_forbids_is_named_and_found_once_it_is_not_so() {
    let mut api = KubeApi::start().unwrap();
    api.go_away();
    let watched = watch(&api);
    let says = async |what: &str| {
        eventually(what, async || {
            watched.snapshots().borrow().clone().is_err_and(|why| why.to_lowercase().contains(what))
        })
        .await;
    };
    says("refused").await;
    api.forbid("pods", true);
    api.come_back().await.unwrap();
    api.scale("cache", 1);
    says("forbidden").await;
    api.forbid("pods", false);
    sees(&watched, "it is allowed", |now| now.wants("cache-0")).await;
}

#[tokio::test]
async fn a_watch_ends_with_the_last_who_wants_to_know() {
    let (_api, watched) = three().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(tasks() >= 2);
    drop(watched);
    eventually("nobody asks any more", async || tasks() == 0).await;
}
