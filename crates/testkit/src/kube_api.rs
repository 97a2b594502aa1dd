//! A Kubernetes API server, as far as watching one StatefulSet and its pods goes: lists, and watches as lines of JSON.
//!
//! It keeps every change since the last compaction; a watch from before it is told 410 Gone. It can be told to hang, to cut
//! connections and to go away.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::eventually;

/// The namespace of everything.
const NAMESPACE: &str = "annulus";

/// What pods are labelled with, and what is watched for: `app=cache`.
const LABEL: (&str, &str) = ("app", "cache");

/// A server. Dropped, it goes away.
#[derive(Debug)]
pub struct KubeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Of its own, so that all connections end with it.
    runtime: Option<Runtime>,
    /// What `KUBECONFIG` names.
    folder: tempfile::TempDir,
}

#[derive(Debug, Default)]
struct Shared {
    world: Mutex<World>,
    changed: watch::Sender<()>,
    /// Counts cuts: a watch that began before the last one ends.
    cuts: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct World {
    version: u64,
    /// Changes up to this one are forgotten.
    compacted: u64,
    objects: BTreeMap<(&'static str, String), Value>,
    changes: Vec<Change>,
    hangs: bool,
    requests: BTreeMap<&'static str, u64>,
    refused: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Change {
    version: u64,
    kind: &'static str,
    what: &'static str,
    object: Value,
}

impl World {
    fn set(&mut self, kind: &'static str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let before = self.objects.insert((kind, name), object.clone());
        let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.changes.push(Change { version: self.version, kind, what, object });
    }

    fn remove(&mut self, kind: &'static str, name: &str) {
        if let Some(mut object) = self.objects.remove(&(kind, name.to_owned())) {
            self.version += 1;
            object["metadata"]["resourceVersion"] = self.version.to_string().into();
            self.changes.push(Change { version: self.version, kind, what: "DELETED", object });
        }
    }
}

impl KubeApi {
    /// A server on a free port, with nothing in it.
    ///
    /// # Errors
    /// Where no port or folder can be had.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let folder = tempfile::TempDir::new()?;
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "test", "user": {} }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": NAMESPACE } }],
        });
        std::fs::write(folder.path().join("config"), config.to_string())?;
        let mut api = Self { address, shared: Arc::default(), runtime: None, folder };
        api.serve(listener)?;
        Ok(api)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `KUBECONFIG` is to be for those who are to find it.
    pub fn kubeconfig(&self) -> String {
        self.folder.path().join("config").display().to_string()
    }

    /// The settings `cluster.kubernetes.*` of those who watch the StatefulSet called `set`, each path and value.
    pub fn settings(set: &str, port: u16) -> [(&'static str, String); 3] {
        [
            ("cluster.kubernetes.label_selector", format!("{}={}", LABEL.0, LABEL.1)),
            ("cluster.kubernetes.statefulset", set.to_owned()),
            ("cluster.kubernetes.port", port.to_string()),
        ]
    }

    /// The StatefulSet has so many replicas from now on; its generation rises.
    pub fn scale(&self, set: &str, replicas: u32) {
        self.change(|world| {
            let known = world.objects.get(&("statefulsets", set.to_owned()));
            let generation = known.and_then(|set| set["metadata"]["generation"].as_u64()).unwrap_or(0) + 1;
            let object = json!({
                "metadata": { "name": set, "namespace": NAMESPACE, "generation": generation },
                "spec": { "replicas": replicas },
            });
            world.set("statefulsets", object);
        });
    }

    /// The StatefulSet is deleted; its pods are left.
    pub fn delete_set(&self, set: &str) {
        self.change(|world| world.remove("statefulsets", set));
    }

    /// A pod runs at this address. Its label says that it is in `zone`.
    pub fn run_pod(&self, name: &str, ip: &str, zone: Option<&str>) {
        let mut labels = json!({ LABEL.0: LABEL.1 });
        if let Some(zone) = zone {
            labels["topology.kubernetes.io/zone"] = zone.into();
        }
        let object = json!({
            "metadata": {
                "name": name, "namespace": NAMESPACE, "labels": labels,
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "status": { "phase": "Running", "podIP": ip, "containerStatuses": [{ "started": true }] },
        });
        self.change(|world| world.set("pods", object));
    }

    /// A pod is told to end.
    pub fn end_pod(&self, name: &str) {
        self.change(|world| {
            let Some(mut object) = world.objects.get(&("pods", name.to_owned())).cloned() else { return };
            object["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:06Z".into();
            world.set("pods", object);
        });
    }

    /// A pod is gone.
    pub fn delete_pod(&self, name: &str) {
        self.change(|world| world.remove("pods", name));
    }

    /// Forgets all changes, and ends all watches: whoever goes on from before is told 410 Gone.
    pub fn compact(&self) {
        let mut world = self.shared.world.lock();
        // So that whoever saw the last change is behind as well.
        world.version += 1;
        world.compacted = world.version;
        world.changes.clear();
        drop(world);
        // Nobody is told of it before.
        self.cut();
    }

    /// Ends all watches, in the middle of a line.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on it takes requests and says nothing more, also on watches; or does again.
    pub fn hang(&self, hangs: bool) {
        self.change(|world| world.hangs = hangs);
    }

    /// Whether requests for pods and StatefulSets are refused with 403, as where the Role does not allow them.
    pub fn forbid(&self, kind: &str, forbidden: bool) {
        self.change(|world| {
            if forbidden {
                world.refused.insert(kind.to_owned());
            } else {
                world.refused.remove(kind);
            }
        });
    }

    /// Nobody listens any more.
    pub fn go_away(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// It listens again, where it did.
    ///
    /// # Errors
    /// Where it cannot be served.
    pub async fn come_back(&mut self) -> Result<()> {
        let mut bound = None;
        // Until the last of its connections is gone.
        eventually("the port is free", Duration::from_secs(10), async || {
            bound = TcpListener::bind(self.address).ok();
            bound.is_some()
        })
        .await;
        bound.map_or(Ok(()), |listener| self.serve(listener))
    }

    /// How many lists (`list`), watches (`watch`) and watches that came too late (`gone`) were asked for.
    pub fn requests(&self, what: &str) -> u64 {
        self.shared.world.lock().requests.get(what).copied().unwrap_or(0)
    }

    fn serve(&mut self, listener: TcpListener) -> Result<()> {
        let router = Router::new()
            .route("/api/v1/namespaces/{namespace}/pods", get(pods))
            .route("/apis/apps/v1/namespaces/{namespace}/statefulsets", get(statefulsets))
            .with_state(Arc::clone(&self.shared));
        listener.set_nonblocking(true)?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, router).await
        });
        self.runtime = Some(runtime);
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.shared.world.lock());
        self.shared.changed.send_replace(());
    }
}

impl Drop for KubeApi {
    fn drop(&mut self) {
        self.go_away();
    }
}

type Asked = (State<Arc<Shared>>, Path<String>, Query<BTreeMap<String, String>>);

async fn pods((State(shared), Path(namespace), Query(query)): Asked) -> Response {
    answer(shared, "pods", "Pod", &namespace, &query).await
}

async fn statefulsets((State(shared), Path(namespace), Query(query)): Asked) -> Response {
    answer(shared, "statefulsets", "StatefulSet", &namespace, &query).await
}

fn status(code: StatusCode, reason: &str) -> Value {
    let code = code.as_u16();
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code })
}

fn matches(object: &Value, query: &BTreeMap<String, String>) -> bool {
    let has_name = query.get("fieldSelector").is_none_or(|selector| {
        selector.strip_prefix("metadata.name=") == object["metadata"]["name"].as_str()
    });
    let has_label = query.get("labelSelector").is_none_or(|selector| {
        selector.split_once('=').is_some_and(|(key, value)| object["metadata"]["labels"][key] == value)
    });
    has_name && has_label
}

async fn answer(
    shared: Arc<Shared>,
    kind: &'static str,
    object_kind: &str,
    namespace: &str,
    query: &BTreeMap<String, String>,
) -> Response {
    let is_watch = query.get("watch").is_some_and(|watch| watch == "true");
    let mut changed = shared.changed.subscribe();
    while {
        changed.borrow_and_update();
        shared.world.lock().hangs
    } {
        let _ = changed.changed().await;
    }
    let mut world = shared.world.lock();
    *world.requests.entry(if is_watch { "watch" } else { "list" }).or_default() += 1;
    if namespace != NAMESPACE || world.refused.contains(kind) {
        return (StatusCode::FORBIDDEN, status(StatusCode::FORBIDDEN, "Forbidden").to_string())
            .into_response();
    }
    if !is_watch {
        let of_kind =
            world.objects.iter().filter(|((known, _), object)| *known == kind && matches(object, query));
        let items: Vec<&Value> = of_kind.map(|(_, object)| object).collect();
        let metadata = json!({ "resourceVersion": world.version.to_string() });
        let list = json!({ "kind": format!("{object_kind}List"), "apiVersion": "v1", "metadata": metadata, "items": items });
        return list.to_string().into_response();
    }
    let from: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    if from < world.compacted {
        *world.requests.entry("gone").or_default() += 1;
        let gone = json!({ "type": "ERROR", "object": status(StatusCode::GONE, "Expired") });
        return format!("{gone}\n").into_response();
    }
    drop(world);
    let seconds = query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(300);
    let watching = Watching { cuts: shared.cuts.subscribe(), shared, kind, from, query: query.clone() };
    Body::from_stream(watching.lines(Duration::from_secs(seconds))).into_response()
}

/// One watch.
struct Watching {
    shared: Arc<Shared>,
    cuts: watch::Receiver<u64>,
    kind: &'static str,
    from: u64,
    query: BTreeMap<String, String>,
}

impl Watching {
    /// What has changed since, a bookmark where that is nothing of this kind; `None` where it hangs.
    fn next(&mut self) -> Option<String> {
        let world = self.shared.world.lock();
        if world.hangs || self.from >= world.version {
            return None;
        }
        let mut lines = String::new();
        for change in world.changes.iter().filter(|change| change.version > self.from) {
            if change.kind == self.kind && matches(&change.object, &self.query) {
                let line = json!({ "type": change.what, "object": change.object });
                let _ = writeln!(lines, "{line}");
            }
        }
        self.from = world.version;
        if lines.is_empty() {
            let metadata = json!({ "resourceVersion": world.version.to_string() });
            let kind = if self.kind == "pods" { "Pod" } else { "StatefulSet" };
            let object = json!({ "kind": kind, "apiVersion": "v1", "metadata": metadata });
            let _ = writeln!(lines, "{}", json!({ "type": "BOOKMARK", "object": object }));
        }
        Some(lines)
    }

    fn lines(self, limit: Duration) -> impl futures_util::Stream<Item = Result<Bytes, Infallible>> {
        let mut changed = self.shared.changed.subscribe();
        changed.mark_changed();
        let end = tokio::time::Instant::now() + limit;
        futures_util::stream::unfold(
            (self, changed, false),
            move |(mut watching, mut changed, is_over)| async move {
                if is_over {
                    return None;
                }
                loop {
                    tokio::select! {
                        biased;
                        _ = watching.cuts.changed() => {
                            return Some((Ok(Bytes::from_static(b"{\"type\":\"ADD")), (watching, changed, true)));
                        }
                        () = tokio::time::sleep_until(end), if !watching.shared.world.lock().hangs => return None,
                        _ = changed.changed() => {
                            if let Some(lines) = watching.next() {
                                return Some((Ok(lines.into()), (watching, changed, false)));
                            }
                        }
                    }
                }
            },
        )
    }
}
