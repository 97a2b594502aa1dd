//! From one thing told to the next: what is known, and from when on it is the whole.

use std::collections::BTreeMap;

use super::{Event, Pod, Snapshot, StatefulSet};

/// What has been told so far.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Whether who is a member comes from a StatefulSet.
    by_set: bool,
    set: Option<StatefulSet>,
    pods: Option<BTreeMap<String, Pod>>,
    trouble: Option<String>,
}

impl Watched {
    /// Nothing yet. `statefulset`: whose replicas are the members; without it the pods that run are.
    pub fn new(statefulset: Option<&str>) -> Self {
        let trouble = statefulset.map(|name| format!("there is no StatefulSet {name} yet"));
        Self { by_set: statefulset.is_some(), set: None, pods: None, trouble }
    }

    /// Takes what Kubernetes tells.
    pub fn take(&mut self, event: Event) {
        match event {
            Event::Set(set) => self.set = Some(set),
            // Without it nobody says who should be a member: those who are stay. It may be made anew above its pods.
            Event::NoSet => {}
            Event::Listed(pods) => {
                self.pods = Some(pods.into_iter().map(|pod| (pod.name.clone(), pod)).collect());
            }
            Event::Applied(pod) => {
                self.pods.get_or_insert_default().insert(pod.name.clone(), pod);
            }
            Event::Deleted(name) => {
                self.pods.get_or_insert_default().remove(&name);
            }
            Event::Failed(why) => self.trouble = Some(why),
        }
    }

    /// What is known, once it is all that there is to know: it stays while Kubernetes is away.
    ///
    /// # Errors
    /// Why not yet.
    pub fn snapshot(&self) -> Result<Snapshot, String> {
        let missing = || {
            let why = self.trouble.as_deref().unwrap_or("it has not answered yet");
            format!("Kubernetes has not told yet who the members are ({why})")
        };
        let pods = self.pods.as_ref().ok_or_else(missing)?;
        if self.by_set && self.set.is_none() {
            return Err(missing());
        }
        Ok(Snapshot { set: self.set.clone(), pods: pods.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ip: Option<&str>) -> Pod {
        Pod {
            name: name.to_owned(),
            address: ip.map(|ip| format!("{ip}:3001")),
            zone: None,
            runs: ip.is_some(),
            created: String::new(),
        }
    }

    fn set(start: u32, replicas: u32, generation: u64) -> Event {
        Event::Set(StatefulSet { name: "cache".to_owned(), start, replicas, generation })
    }

    fn after(events: impl IntoIterator<Item = Event>) -> Watched {
        let mut watched = Watched::new(Some("cache"));
        events.into_iter().for_each(|event| watched.take(event));
        watched
    }

    fn wanted(snapshot: &Snapshot) -> Vec<String> {
        (0..20).map(|n| format!("cache-{n}")).filter(|name| snapshot.wants(name)).collect()
    }

    #[test]
    fn nothing_is_known_before_both_the_set_and_its_pods_are() {
        let failed = || Event::Failed("connection refused".to_owned());
        assert!(after([]).snapshot().unwrap_err().contains("no StatefulSet cache"));
        assert!(after([failed()]).snapshot().unwrap_err().contains("connection refused"));
        assert!(after([set(0, 2, 1)]).snapshot().is_err());
        assert!(after([Event::Listed(vec![])]).snapshot().is_err());
        let snapshot = after([failed(), set(0, 2, 1), Event::Listed(vec![])]).snapshot().unwrap();
        assert_eq!((wanted(&snapshot).len(), snapshot.generation(), snapshot.peers()), (2, 1, 0));
    }

    #[test]
    fn the_replicas_of_the_set_are_the_members_whether_their_pods_run_or_not() {
        let listed = Event::Listed(vec![pod("cache-0", Some("10.0.0.1")), pod("cache-1", None)]);
        let mut watched = after([set(0, 3, 1), listed]);
        let snapshot = watched.snapshot().unwrap();
        assert_eq!(wanted(&snapshot), ["cache-0", "cache-1", "cache-2"]);
        assert_eq!(snapshot.peers(), 1);
        watched.take(Event::Deleted("cache-0".to_owned()));
        assert_eq!(wanted(&watched.snapshot().unwrap()), ["cache-0", "cache-1", "cache-2"]);
        watched.take(set(0, 2, 2));
        let snapshot = watched.snapshot().unwrap();
        assert_eq!((wanted(&snapshot).len(), snapshot.generation()), (2, 2));
    }

    #[test]
    fn the_numbers_begin_where_the_set_says() {
        let snapshot = after([set(5, 2, 1), Event::Listed(vec![])]).snapshot().unwrap();
        assert_eq!(wanted(&snapshot), ["cache-5", "cache-6"]);
        assert_eq!(snapshot.home(), Some("cache-5".to_owned()));
    }

    #[test]
    fn names_that_only_look_like_a_replicas_are_not_wanted() {
        let snapshot = after([set(0, 3, 1), Event::Listed(vec![])]).snapshot().unwrap();
        for name in ["cache", "cache-", "cache-01", "cache-+1", "cache-3", "other-1", "cache-x", "cache-1-1"]
        {
            assert!(!snapshot.wants(name), "{name}");
        }
    }

    #[test]
    fn a_list_replaces_what_was_known_and_an_error_changes_nothing() {
        let mut watched = after([set(0, 2, 1), Event::Listed(vec![pod("cache-0", Some("10.0.0.1"))])]);
        let before = watched.snapshot().unwrap();
        watched.take(Event::Failed("away".to_owned()));
        watched.take(Event::NoSet);
        assert_eq!(watched.snapshot().unwrap(), before);
        watched.take(Event::Listed(vec![pod("cache-1", Some("10.0.0.2"))]));
        let after = watched.snapshot().unwrap();
        assert!(after.pod("cache-0").is_none() && after.pod("cache-1").is_some());
    }

    #[test]
    fn a_pod_that_comes_back_has_another_address_under_the_same_name() {
        let mut watched = after([set(0, 1, 1), Event::Listed(vec![pod("cache-0", Some("10.0.0.1"))])]);
        watched.take(Event::Deleted("cache-0".to_owned()));
        watched.take(Event::Applied(pod("cache-0", None)));
        watched.take(Event::Applied(pod("cache-0", Some("10.0.0.9"))));
        let snapshot = watched.snapshot().unwrap();
        assert_eq!(snapshot.pod("cache-0").unwrap().address.as_deref(), Some("10.0.0.9:3001"));
        assert_eq!(snapshot.home(), Some("cache-0".to_owned()));
    }

    #[test]
    fn without_a_set_the_pods_that_run_are_the_members_and_the_oldest_keeps_the_roster() {
        let mut watched = Watched::new(None);
        let made =
            |name: &str, created: &str| Pod { created: created.to_owned(), ..pod(name, Some("10.0.0.1")) };
        let ending = Pod { runs: false, ..made("z", "2020") };
        let starting = Pod { created: "2020".to_owned(), ..pod("y", None) };
        watched.take(Event::Listed(vec![made("b", "2025"), made("c", "2024"), ending, starting]));
        let snapshot = watched.snapshot().unwrap();
        let wants = |name| snapshot.wants(name);
        assert_eq!(["b", "c", "z", "y", "other"].map(wants), [true, true, false, false, false]);
        assert_eq!((snapshot.home(), snapshot.peers()), (Some("c".to_owned()), 2));
        assert_eq!(snapshot.generation(), 0);
    }
}
