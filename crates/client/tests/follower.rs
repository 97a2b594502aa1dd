//! The follower, as a program has it.
#![cfg(feature = "follower")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use annulus_client::follower::{Dataset, FollowError, Follower, FollowerError, Observer};
use annulus_cluster::fenced::{Claim, FencedState, FencedStore, MemoryStore, Publication, Published, Writer};
use annulus_protocol::dataset::{Items, Snapshot};
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(60);
const TTL: Duration = Duration::from_secs(3600);
const NEVER: Duration = Duration::from_secs(3600);

struct Leader {
    store: MemoryStore,
    token: u64,
}

impl Leader {
    async fn start() -> Self {
        let start = Instant::now();
        let clock = move || 1_700_000_000_000 + start.elapsed().as_millis() as u64;
        let store = MemoryStore::new(Arc::new(clock));
        let Claim::Granted { token } = store.acquire("a", 0, TTL).await.unwrap() else {
            panic!("it is free")
        };
        Self { store, token }
    }

    async fn publish(&self, snapshot: &Snapshot) -> u64 {
        self.publish_pieces(snapshot.pieces().cloned().collect()).await
    }

    async fn publish_pieces(&self, data: Vec<bytes::Bytes>) -> u64 {
        let publication = Publication { dataset: "rates", data, note: "", ttl: TTL, above: 0 };
        let writer = Writer { id: "a", token: self.token };
        match self.store.publish(writer, publication).await.unwrap() {
            Published::As { revision, .. } => revision,
            Published::Refused => panic!("refused"),
        }
    }

    fn follower(&self, poll: Duration, observer: impl Observer) -> Follower {
        Follower::start(Arc::new(self.store.clone()), &["rates".to_owned()], poll, Arc::new(observer))
    }
}

struct Silent;

impl Observer for Silent {}

/// Items whose values are all this number.
fn numbers(items: usize, value: usize) -> Snapshot {
    let mut body = Vec::new();
    let mut places = Items::of_body(0);
    for item in 0..items {
        let value = format!("{{\"value\":{value},\"padding\":\"{}\"}}", "x".repeat(100));
        places.push(&format!("item-{item:06}"), body.len() as u32, value.len() as u32).unwrap();
        body.extend_from_slice(value.as_bytes());
        body.push(b'\n');
    }
    Snapshot::split(body.into(), "application/json", &places.sorted().unwrap(), &[])
}

async fn until(follower: &Follower, revision: u64) {
    let mut changes = follower.changes("rates").unwrap();
    timeout(LIMIT, changes.wait_for(|now| *now >= revision)).await.expect("in time").unwrap();
}

#[tokio::test]
async fn a_publication_is_in_memory_at_once_without_a_poll() {
    let leader = Leader::start().await;
    let follower = leader.follower(NEVER, Silent);
    assert!(follower.get("rates").is_none() && follower.get("other").is_none());
    for value in 0..5 {
        let revision = leader.publish(&numbers(3, value)).await;
        until(&follower, revision).await;
        let dataset = follower.get("rates").unwrap();
        assert_eq!((dataset.revision(), dataset.len()), (revision, 3));
        let item = dataset.item("item-000001").unwrap();
        assert!(item.starts_with(format!("{{\"value\":{value},").as_bytes()), "{item:?}");
        assert!(follower.age("rates").unwrap() < LIMIT);
    }
}

#[tokio::test]
async fn what_a_reader_holds_stays_as_it_was() {
    let leader = Leader::start().await;
    let follower = leader.follower(NEVER, Silent);
    until(&follower, leader.publish(&numbers(2, 1)).await).await;
    let held = follower.get("rates").unwrap();
    until(&follower, leader.publish(&numbers(1, 2)).await).await;
    assert_eq!((held.len(), follower.get("rates").unwrap().len()), (2, 1));
}

#[tokio::test]
async fn a_home_that_lost_everything_takes_nothing_from_readers_and_is_told_what_there_was() {
    let leader = Leader::start().await;
    let follower = leader.follower(Duration::from_millis(10), Silent);
    let revision = leader.publish(&numbers(2, 1)).await;
    until(&follower, revision).await;
    leader.store.wipe();
    let told = async {
        loop {
            let head = follower.look("rates").await.unwrap();
            if head.floor == revision {
                return head;
            }
            tokio::task::yield_now().await;
        }
    };
    let head = timeout(LIMIT, told).await.expect("it is told");
    assert_eq!((head.known.revision, head.has_lost_something()), (0, true));
    assert_eq!(follower.get("rates").unwrap().revision(), revision);
}

#[tokio::test]
async fn a_home_that_goes_back_does_not_take_readers_back() {
    let leader = Leader::start().await;
    let follower = leader.follower(Duration::from_millis(10), Silent);
    until(&follower, leader.publish(&numbers(2, 1)).await).await;
    let behind: FencedState = leader.store.snapshot();
    let newest = leader.publish(&numbers(2, 2)).await;
    until(&follower, newest).await;
    leader.store.swap(behind);
    assert!(follower.look("rates").await.unwrap().known.revision < newest);
    assert_eq!(follower.get("rates").unwrap().revision(), newest);
    let next = leader.publish(&numbers(2, 3)).await;
    assert!(next > newest);
    until(&follower, next).await;
}

#[tokio::test]
async fn data_that_no_refresher_wrote_is_named_and_what_was_there_stays() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<FollowError>>);
    struct Shared(Arc<Heard>);
    impl Observer for Shared {
        fn failed(&self, _: &str, error: &FollowError) {
            self.0.0.lock().unwrap().push(error.clone());
        }
    }
    let leader = Leader::start().await;
    let heard = Arc::<Heard>::default();
    let follower = leader.follower(NEVER, Shared(Arc::clone(&heard)));
    let good = leader.publish(&numbers(2, 1)).await;
    until(&follower, good).await;
    leader.publish_pieces(vec![bytes::Bytes::from_static(b"garbage")]).await;
    let failed = async {
        while heard.0.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, failed).await.expect("it is noticed");
    assert!(matches!(heard.0.lock().unwrap()[0], FollowError::Garbled(_)));
    assert_eq!(follower.get("rates").unwrap().revision(), good);
    until(&follower, leader.publish(&numbers(2, 2)).await).await;
}

#[tokio::test]
async fn the_lag_counts_from_the_publication_and_not_what_was_there_before() {
    #[derive(Clone, Default)]
    struct Lags(Arc<Mutex<Vec<Option<Duration>>>>);
    impl Observer for Lags {
        fn loaded(&self, _: &Dataset, lag: Option<Duration>) {
            self.0.lock().unwrap().push(lag);
        }
    }
    let leader = Leader::start().await;
    leader.publish(&numbers(2, 1)).await;
    let lags = Lags::default();
    let follower = leader.follower(NEVER, lags.clone());
    until(&follower, 1).await;
    until(&follower, leader.publish(&numbers(2, 2)).await).await;
    let lags = lags.0.lock().unwrap().clone();
    assert_eq!(lags[0], None);
    assert!(lags[1].is_some_and(|lag| lag < LIMIT), "{lags:?}");
}

#[test]
fn settings_that_make_no_follower_say_so() {
    assert!(matches!(Follower::builder().start(), Err(FollowerError::NoDataset)));
    let error = Follower::builder().redis("http://h").dataset("rates").start().unwrap_err();
    assert!(error.to_string().contains("redis://host:port"), "{error}");
}

/// What reading met with. The time is for people: on a machine that is shared it says more about its neighbours.
struct Reading {
    reads: u64,
    /// How often the thread gave the processor away by itself, as for a lock that somebody holds.
    waits: u64,
    slowest: Duration,
}

/// Reads items of whatever is there until told to end.
fn read_on(follower: &Follower, ends: &AtomicBool) -> Reading {
    let mut reading = Reading { reads: 0, waits: 0, slowest: Duration::ZERO };
    let waits_before = waits_of_this_thread();
    while !ends.load(Ordering::Relaxed) {
        let started = Instant::now();
        let dataset = follower.get("rates").expect("there is always one");
        let first = dataset.item("item-000000").expect("every revision has it");
        let last = dataset.item("item-099999").expect("every revision has it");
        assert_eq!(first, last, "one revision, whole");
        drop(dataset);
        reading.reads += 1;
        reading.slowest = reading.slowest.max(started.elapsed());
    }
    reading.waits = waits_of_this_thread() - waits_before;
    reading
}

fn waits_of_this_thread() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn a_swap_of_a_hundred_thousand_items_makes_no_reader_wait() {
    const ITEMS: usize = 100_000;
    const SWAPS: usize = 20;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (leader, follower) = runtime.block_on(async {
        let leader = Leader::start().await;
        let follower = leader.follower(NEVER, Silent);
        until(&follower, leader.publish(&numbers(ITEMS, 0)).await).await;
        (leader, follower)
    });
    let (ends, swapped) = (AtomicBool::new(false), AtomicU64::new(0));
    let reading = std::thread::scope(|threads| {
        let reader = threads.spawn(|| read_on(&follower, &ends));
        runtime.block_on(async {
            for value in 1..=SWAPS {
                until(&follower, leader.publish(&numbers(ITEMS, value)).await).await;
                swapped.fetch_add(1, Ordering::Relaxed);
            }
        });
        ends.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    let Reading { reads, waits, slowest } = reading;
    println!(
        "{SWAPS} swaps of {ITEMS} items: {reads} reads, of which {waits} waited; the slowest took {slowest:?}"
    );
    assert_eq!(swapped.into_inner(), SWAPS as u64);
    assert!(reads > 1_000, "{reads}");
    // Who reads all the time meets a lock in every swap. The system may take a page away now and then, and has it waited for.
    assert!(waits < SWAPS as u64 / 2, "{waits}");
}
