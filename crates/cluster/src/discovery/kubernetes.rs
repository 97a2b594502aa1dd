//! Watches Kubernetes.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use kube::runtime::watcher;
use kube::{Api, Client, Config, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Event, EventCounts, Pod, Snapshots, StatefulSet, Watched};

/// The label with a node's zone. Kubernetes copies it from nodes to their pods from 1.35 on.
const ZONE: &str = "topology.kubernetes.io/zone";

/// The pause after a first error, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whom to watch.
#[derive(Clone, Debug)]
pub struct KubernetesSettings {
    /// The namespace; `None`: that of this pod.
    pub namespace: Option<String>,
    /// Which pods, as in `app=cache,tier!=web`.
    pub label_selector: String,
    /// The StatefulSet whose replicas are the members; `None`: the pods that run are.
    pub statefulset: Option<String>,
    /// The port of every node.
    pub port: u16,
    /// After how long a watch is begun anew, from where it was. A connection on which nothing is heard for a quarter more is
    /// given up.
    pub watch_for: Duration,
}

impl KubernetesSettings {
    /// The usual times.
    pub fn new(label_selector: impl Into<String>, port: u16) -> Self {
        let watch_for = Duration::from_secs(40);
        Self { namespace: None, label_selector: label_selector.into(), statefulset: None, port, watch_for }
    }
}

/// Why Kubernetes cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum KubernetesError {
    /// Where it is cannot be told.
    #[error(
        "cannot tell where Kubernetes is ({0}): run in a pod with a service account's token \
         (automountServiceAccountToken), or name a file in KUBECONFIG"
    )]
    Config(#[source] Box<kube::config::InferConfigError>),
    /// What is known of it makes no client.
    #[error("cannot talk to Kubernetes: {0}")]
    Client(#[source] Box<kube::Error>),
}

/// What is learned of it by watching, for as long as somebody has the [`Snapshots`].
#[derive(Debug)]
pub struct Kubernetes {
    snapshots: Snapshots,
    counts: Arc<EventCounts>,
}

impl Kubernetes {
    /// Begins to watch, as the pod's service account or the file in `KUBECONFIG` allows. It does not wait for an answer, so a
    /// node starts while Kubernetes is away. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// Where nothing says where Kubernetes is.
    pub async fn watch(settings: &KubernetesSettings) -> Result<Self, KubernetesError> {
        let config = Config::infer().await.map_err(|error| KubernetesError::Config(Box::new(error)))?;
        Self::watch_at(config, settings)
    }

    /// The same of the Kubernetes that `config` names.
    ///
    /// # Errors
    /// Where it makes no client.
    pub fn watch_at(mut config: Config, settings: &KubernetesSettings) -> Result<Self, KubernetesError> {
        config.connect_timeout = Some(settings.watch_for / 8);
        config.read_timeout = Some(settings.watch_for + settings.watch_for / 4);
        let namespace = settings.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| KubernetesError::Client(Box::new(error)))?;
        let watched = Watched::new(settings.statefulset.as_deref());
        let (sender, snapshots) = watch::channel(watched.snapshot().map(Arc::new));
        let counts = Arc::new(EventCounts::default());
        let told = Arc::new(Told { watched: Mutex::new(watched), sender, counts: Arc::clone(&counts) });
        let seconds = u32::try_from(settings.watch_for.as_secs()).unwrap_or(u32::MAX).max(1);
        let config = watcher::Config::default().timeout(seconds);
        let pods = Api::<PodObject>::namespaced(client.clone(), &namespace);
        let of_pods = config.clone().labels(&settings.label_selector);
        let port = settings.port;
        follow(pods, of_pods, PodEvents { port }, Arc::clone(&told));
        if let Some(name) = &settings.statefulset {
            let sets = Api::<SetObject>::namespaced(client, &namespace);
            follow(sets, config.fields(&format!("metadata.name={name}")), SetEvents, told);
        }
        Ok(Self { snapshots, counts })
    }

    /// What Kubernetes has last told.
    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.clone()
    }

    /// What was told so far, in numbers.
    pub fn counts(&self) -> Arc<EventCounts> {
        Arc::clone(&self.counts)
    }
}

/// Where all watches come together.
struct Told {
    watched: Mutex<Watched>,
    sender: watch::Sender<Result<Arc<super::Snapshot>, String>>,
    counts: Arc<EventCounts>,
}

impl Told {
    fn take(&self, event: Event) {
        self.counts.count(&event);
        let mut watched = self.watched.lock();
        watched.take(event);
        let snapshot = watched.snapshot().map(Arc::new);
        self.sender.send_if_modified(|last| {
            let differs = *last != snapshot;
            if differs {
                *last = snapshot;
            }
            differs
        });
    }
}

/// What the objects of one kind mean.
trait Events<K>: Send + 'static {
    fn applied(&self, object: K) -> Option<Event>;
    fn deleted(&self, object: K) -> Option<Event>;
    fn listed(&self, objects: Vec<K>) -> Event;
}

fn follow<K>(api: Api<K>, config: watcher::Config, events: impl Events<K>, told: Arc<Told>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
{
    let listening = Arc::clone(&told);
    let following = async move {
        let mut stream = pin!(watcher(api, config));
        let mut list = Vec::new();
        let mut pause = FIRST_PAUSE;
        while let Some(next) = stream.next().await {
            let event = match next {
                Ok(watcher::Event::Init) => {
                    list.clear();
                    continue;
                }
                Ok(watcher::Event::InitApply(object)) => {
                    list.push(object);
                    continue;
                }
                Ok(watcher::Event::InitDone) => Some(events.listed(std::mem::take(&mut list))),
                Ok(watcher::Event::Apply(object)) => events.applied(object),
                Ok(watcher::Event::Delete(object)) => events.deleted(object),
                Err(error) => {
                    told.take(Event::Failed(why(&error)));
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            pause = FIRST_PAUSE;
            if let Some(event) = event {
                told.take(event);
            }
        }
    };
    tokio::spawn(async move {
        tokio::select! {
            () = listening.sender.closed() => {}
            () = following => {}
        }
    });
}

/// The error with what is behind it, which alone says what to do.
fn why(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// A pod, but for most of what Kubernetes says of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PodObject {
    metadata: ObjectMeta,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    started: Option<bool>,
}

/// A StatefulSet, but for most of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SetObject {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SetSpec,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SetSpec {
    replicas: Option<u32>,
    ordinals: Ordinals,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Ordinals {
    start: u32,
}

macro_rules! resource {
    ($type:ident, $kind:literal, $group:literal, $plural:literal) => {
        impl Resource for $type {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(PodObject, "Pod", "", "pods");
resource!(SetObject, "StatefulSet", "apps", "statefulsets");

struct PodEvents {
    port: u16,
}

impl PodEvents {
    fn pod(&self, object: PodObject) -> Option<Pod> {
        let PodObject { metadata, status } = object;
        let has_ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let ip = status.pod_ip.filter(|ip| !ip.is_empty() && !has_ended);
        let has_started = !status.container_statuses.is_empty()
            && status.container_statuses.iter().all(|container| container.started == Some(true));
        Some(Pod {
            name: metadata.name?,
            runs: has_started && ip.is_some() && metadata.deletion_timestamp.is_none(),
            address: ip.map(|ip| {
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip };
                format!("{host}:{}", self.port)
            }),
            zone: metadata.labels.and_then(|mut labels| labels.remove(ZONE)).filter(|zone| !zone.is_empty()),
            created: metadata.creation_timestamp.map_or_else(String::new, |time| time.0.to_string()),
        })
    }
}

impl Events<PodObject> for PodEvents {
    fn applied(&self, object: PodObject) -> Option<Event> {
        self.pod(object).map(Event::Applied)
    }

    fn deleted(&self, object: PodObject) -> Option<Event> {
        object.metadata.name.map(Event::Deleted)
    }

    fn listed(&self, objects: Vec<PodObject>) -> Event {
        Event::Listed(objects.into_iter().filter_map(|object| self.pod(object)).collect())
    }
}

struct SetEvents;

impl Events<SetObject> for SetEvents {
    fn applied(&self, object: SetObject) -> Option<Event> {
        Some(Event::Set(StatefulSet {
            start: object.spec.ordinals.start,
            // What Kubernetes takes where nobody says.
            replicas: object.spec.replicas.unwrap_or(1),
            generation: object.metadata.generation.unwrap_or_default().max(0).unsigned_abs(),
            name: object.metadata.name?,
        }))
    }

    fn deleted(&self, _: SetObject) -> Option<Event> {
        Some(Event::NoSet)
    }

    fn listed(&self, objects: Vec<SetObject>) -> Event {
        objects.into_iter().next().and_then(|object| self.applied(object)).unwrap_or(Event::NoSet)
    }
}
