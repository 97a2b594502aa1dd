//! The home of the roster: what it learns from the others when it starts, and who is it.

use std::sync::Arc;

use annulus_cluster::discovery::{Event, EventCounts, Pod};
use annulus_cluster::registry::HomeRegistry;
use annulus_cluster::{Authority, AuthorityError, Discovered, Keeper, KeeperSettings, Registry, Roster};

use crate::pods::{Processes, Told, pod};
use crate::world::{LAYOUT, LONG, beat, eventually, form, names, settle};

const NODES: [&str; 3] = ["cache-0", "cache-1", "cache-2"];
const SETTINGS: KeeperSettings = KeeperSettings { lease_ttl: LONG, layout: LAYOUT };

fn authority(processes: &Processes, told: &Told) -> Discovered<HomeRegistry> {
    let keeper = Keeper::new(processes.registry(told.snapshots()), SETTINGS);
    Discovered::new(keeper, told.snapshots(), Arc::new(EventCounts::default()))
}

fn start(processes: &Processes, told: &Told, name: &str, known: Option<&Arc<Roster>>) {
    processes.start(name, &format!("{name}:1"), told.snapshots(), known.map(Arc::clone));
}

async fn answers(authority: &impl Authority) {
    eventually("the home answers", async || authority.roster(None).await.is_ok()).await;
}

/// Three pods that have formed a cluster, and the roster they know.
async fn formed(told: &Told) -> (Processes, Discovered<HomeRegistry>, Arc<Roster>) {
    let processes = Processes::default();
    for name in NODES {
        start(&processes, told, name, None);
    }
    let authority = authority(&processes, told);
    answers(&authority).await;
    let roster = form(&authority, &NODES).await;
    for name in &NODES[1..] {
        start(&processes, told, name, Some(&roster));
    }
    (processes, authority, roster)
}

fn why(error: AuthorityError) -> String {
    let AuthorityError::Unreachable(why) = error else { panic!("{error:?}") };
    why
}

#[tokio::test]
async fn a_home_that_starts_again_goes_on_from_the_latest_roster_that_anybody_knows() {
    let told = Told::replicas(3);
    let (processes, authority, old) = formed(&told).await;
    let latest = authority.beat(beat("cache-1", 2, 0), Some(old.clone())).await.unwrap();
    assert!(latest.revision() > old.revision());
    start(&processes, &told, "cache-2", Some(&latest));
    start(&processes, &told, "cache-0", None);
    answers(&authority).await;
    let after = authority.roster(None).await.unwrap();
    assert_eq!((after.members(), after.base()), (latest.members(), latest.base()));
    assert!(after.epoch() > latest.epoch() && after.revision() > latest.revision());
    // Whoever knows what was lost goes by the new one, not the other way round.
    assert_eq!(authority.roster(Some(latest)).await, Ok(after));
}

#[tokio::test]
async fn a_home_waits_for_a_pod_that_does_not_answer_until_it_is_gone() {
    let mut told = Told::replicas(3);
    let (processes, authority, old) = formed(&told).await;
    processes.hang("cache-2:1");
    start(&processes, &told, "cache-0", None);
    eventually("it says for whom it waits", async || {
        let error = authority.beat(beat("cache-1", 1, 0), Some(old.clone())).await.map_err(why);
        error.is_err_and(|why| why.contains("cache-2 at cache-2:1") && why.contains("pod cache-0"))
    })
    .await;
    told.tell(Event::Deleted("cache-2".to_owned()));
    answers(&authority).await;
    assert_eq!(authority.roster(None).await.unwrap().members(), old.members(), "its place on the ring stays");
}

#[tokio::test]
async fn where_nobody_listens_there_is_nothing_to_wait_for() {
    let told = Told::replicas(3);
    let processes = Processes::default();
    let authority = authority(&processes, &told);
    let error = why(authority.roster(None).await.unwrap_err());
    assert!(error.contains("pod cache-0") && error.contains("nobody listens"), "{error}");
    start(&processes, &told, "cache-0", None);
    answers(&authority).await;
    assert_eq!(*authority.roster(None).await.unwrap(), Roster::new(LAYOUT));
}

#[tokio::test]
async fn of_two_that_take_themselves_for_the_home_the_last_one_is_it_with_all_that_was_taken() {
    let pods = |names: &[(&str, &str)]| {
        let made = names.iter().map(|(name, created)| Pod { created: (*created).to_owned(), ..pod(name) });
        let mut told = Told::nothing(None);
        told.tell(Event::Listed(made.collect()));
        told
    };
    // One process has not heard yet that the other pod is the older one.
    let (early, late) = (pods(&[("a", "1"), ("b", "2")]), pods(&[("a", "3"), ("b", "2")]));
    let processes = Processes::default();
    processes.start("a", "a:1", early.snapshots(), None);
    let (of_a, of_b) = (authority(&processes, &early), authority(&processes, &late));
    answers(&of_a).await;
    let before = form(&of_a, &["a"]).await;
    processes.start("b", "b:1", late.snapshots(), None);
    eventually("the other has taken over", async || {
        of_b.roster(None).await.is_ok_and(|roster| roster.members() == before.members())
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_of_an_earlier_life_is_not_done() {
    let told = Told::replicas(1);
    let processes = Processes::default();
    start(&processes, &told, "cache-0", None);
    let registry = processes.registry(told.snapshots());
    eventually("the home answers", async || registry.load().await.is_ok()).await;
    registry.renew("x", 1, LONG).await.unwrap();
    start(&processes, &told, "cache-0", None);
    eventually("the next one does", async || registry.load().await.is_ok()).await;
    assert_eq!(registry.holders(&["x"]).await, Ok(vec![None]), "another life has other leases");
}

#[tokio::test]
async fn who_is_not_wanted_does_not_become_a_member_and_who_is_has_its_pods_zone() {
    let mut told = Told::replicas(2);
    let processes = Processes::default();
    start(&processes, &told, "cache-0", None);
    let authority = authority(&processes, &told);
    answers(&authority).await;
    let roster = form(&authority, &["cache-0", "cache-1"]).await;
    let stranger = authority.beat(beat("cache-2", 1, 0), Some(roster.clone())).await;
    assert_eq!(stranger, Err(AuthorityError::NoPod("cache-2".to_owned())));
    told.tell(Event::Applied(Pod { zone: Some("east".to_owned()), ..pod("cache-2") }));
    let waiting = authority.beat(beat("cache-2", 1, 0), Some(roster.clone())).await;
    assert_eq!(waiting, Ok(roster.clone()));
    told.scale(3, 77);
    let joined = authority.beat(beat("cache-2", 1, 0), Some(roster)).await.unwrap();
    assert_eq!(joined.find("cache-2").unwrap().seat.node.zone.as_deref(), Some("east"));
    assert!(joined.epoch() >= 77, "{}", joined.epoch());
}

#[tokio::test]
async fn a_member_that_is_wanted_stays_however_long_it_is_away_and_one_that_is_not_goes_with_its_pod() {
    let mut told = Told::replicas(3);
    let (_processes, authority, roster) = formed(&told).await;
    for name in &NODES[1..] {
        authority.release(name, 1).await.unwrap();
    }
    let ttl_ms = LONG.as_millis() as u64;
    let sweep = async |from_ms: u64| {
        let mut expired = Vec::new();
        for now_ms in (from_ms..=from_ms + ttl_ms + 2_000).step_by(1_000) {
            expired.extend(authority.sweep(now_ms).await.unwrap());
        }
        expired
    };
    told.tell(Event::Deleted("cache-1".to_owned()));
    assert_eq!(sweep(0).await, [""; 0]);
    told.scale(2, 2);
    assert_eq!(sweep(10 * ttl_ms).await, [""; 0], "its pod is there yet");
    told.tell(Event::Deleted("cache-2".to_owned()));
    assert_eq!(sweep(20 * ttl_ms).await, ["cache-2"]);
    let left = settle(&authority, authority.roster(Some(roster)).await.unwrap()).await;
    assert_eq!(names(&left), ["cache-0", "cache-1"]);
}

#[tokio::test]
async fn nobody_is_retired_whom_kubernetes_would_bring_back() {
    let mut told = Told::replicas(3);
    let (_processes, authority, _) = formed(&told).await;
    let error = authority.retire("cache-2").await.unwrap_err().to_string();
    assert!(error.contains("kubectl scale statefulset cache"), "{error}");
    told.scale(2, 2);
    let leaving = authority.retire("cache-2").await.unwrap();
    assert_eq!(names(&leaving), ["cache-0", "cache-1"]);
    assert_eq!(authority.retire("other").await, Err(AuthorityError::NotFound));
}

#[tokio::test]
async fn before_kubernetes_has_told_of_the_members_everything_says_so() {
    let mut told = Told::nothing(Some("cache"));
    told.tell(Event::Failed("connection refused".to_owned()));
    let processes = Processes::default();
    start(&processes, &told, "cache-0", None);
    let authority = authority(&processes, &told);
    for error in [
        authority.roster(None).await.map(drop).unwrap_err(),
        authority.beat(beat("cache-0", 1, 0), None).await.map(drop).unwrap_err(),
        authority.sweep(0).await.map(drop).unwrap_err(),
    ] {
        let why = why(error);
        assert!(why.contains("has not told yet") && why.contains("connection refused"), "{why}");
    }
}
