//! The process that keeps the roster for all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use super::client::ask;
use super::{Answer, LONGEST_WAIT, Letter, Question, Wire, WireError};
use crate::Roster;
use crate::discovery::{Pod, Snapshot, Snapshots};
use crate::registry::{MemoryRegistry, Registry, RegistryError, SteadyClock};

/// Before the others are asked again.
const PAUSE: Duration = Duration::from_millis(300);

/// What one process keeps for all while it is the home. Each process that may be it has one.
pub struct Home {
    name: String,
    life: u64,
    registry: MemoryRegistry,
    /// Held while a question is answered, so that nothing is taken after another home was told what there is.
    state: Mutex<State>,
    closed: Notify,
}

enum State {
    /// Keeps the roster.
    Open,
    /// Does not; why, for whoever asks.
    Closed(String),
}

impl Home {
    /// Of the node called `name`. `life` is random and not 0, one for each process; leases end by `clock`.
    pub fn new(name: impl Into<String>, life: u64, clock: SteadyClock) -> Self {
        let closed = State::Closed("it has just started".to_owned());
        Self {
            name: name.into(),
            life: life.max(1),
            registry: MemoryRegistry::new(clock),
            state: Mutex::new(closed),
            closed: Notify::new(),
        }
    }

    /// Answers a question; `known` is the newest roster by which this process goes.
    pub async fn answer(&self, letter: Letter, known: Option<Arc<Roster>>) -> Answer {
        if letter.life != self.life {
            return Answer::OtherLife(self.life);
        }
        if let Question::Wait { revision } = letter.question {
            return self.wait(revision).await;
        }
        let mut state = self.state.lock().await;
        if letter.question == Question::Known {
            *state = State::Closed("a pod is about to keep the roster, and asks the others".to_owned());
            self.closed.notify_waiters();
            let kept = self.registry.load().await.ok().flatten();
            let newest = kept.into_iter().chain(known.as_deref().cloned()).max_by_key(Roster::revision);
            return Answer::Roster(newest.map(Box::new));
        }
        if let State::Closed(why) = &*state {
            return Answer::NotHome(why.clone());
        }
        let done = self.do_it(letter.question).await;
        done.unwrap_or_else(|error| Answer::NotHome(error.to_string()))
    }

    /// Is the home whenever the snapshots say so, until dropped.
    pub async fn keep(&self, wire: &dyn Wire, mut snapshots: Snapshots) {
        loop {
            let told = snapshots.borrow_and_update().clone();
            let asked_for = self.closed.notified();
            let is_open = matches!(*self.state.lock().await, State::Open);
            match told {
                Err(why) => self.close(why).await,
                Ok(snapshot) if snapshot.home().as_deref() != Some(self.name.as_str()) => {
                    self.close("Kubernetes says that another pod keeps the roster".to_owned()).await;
                }
                Ok(_) if is_open => {}
                Ok(snapshot) => {
                    match self.gather(wire, &snapshot).await {
                        Ok(latest) => self.open(latest).await,
                        Err(why) => {
                            self.close(why).await;
                            sleep(PAUSE).await;
                        }
                    }
                    continue;
                }
            }
            tokio::select! {
                // Where nobody tells any more, it stays as it is.
                Ok(()) = snapshots.changed() => {}
                () = asked_for => {}
            }
        }
    }

    /// The latest roster that anybody knows.
    async fn gather(&self, wire: &dyn Wire, snapshot: &Snapshot) -> Result<Option<Roster>, String> {
        let asked = snapshot.pods().filter_map(|pod| Some((pod, pod.address.as_deref()?)));
        let asking = asked.map(async |(Pod { name, .. }, address)| {
            match ask(wire, name, address, &AtomicU64::new(0), &Question::Known).await {
                Ok(Answer::Roster(known)) => Ok(known),
                Err(WireError::NobodyThere) => Ok(None),
                Ok(other) => Err(format!("{name} at {address} answers {other:?}")),
                Err(error) => Err(format!("{name} at {address}: {error}")),
            }
        });
        // Where Kubernetes has lost sight of this very pod, nobody else asks it.
        let mut latest = self.registry.load().await.ok().flatten();
        for known in join_all(asking).await {
            let known = known.map_err(|why| {
                format!("it asks the other pods which roster they know, and waits for an answer of {why}")
            })?;
            if let Some(known) = known
                && latest.as_ref().is_none_or(|latest| known.revision() > latest.revision())
            {
                latest = Some(*known);
            }
        }
        Ok(latest)
    }

    async fn open(&self, latest: Option<Roster>) {
        let mut state = self.state.lock().await;
        self.registry.put(latest.map(Roster::renumbered));
        *state = State::Open;
    }

    async fn close(&self, why: String) {
        *self.state.lock().await = State::Closed(why);
    }

    async fn do_it(&self, question: Question) -> Result<Answer, RegistryError> {
        let registry = &self.registry;
        Ok(match question {
            Question::Load => Answer::Roster(registry.load().await?.map(Box::new)),
            Question::Replace { expected_revision, next } => {
                Answer::Done(registry.replace(expected_revision, &next).await?)
            }
            Question::Renew { name, incarnation, ttl_ms } => {
                Answer::Done(registry.renew(&name, incarnation, Duration::from_millis(ttl_ms)).await?)
            }
            Question::Holders { names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Answer::Holders(registry.holders(&names).await?)
            }
            Question::Release { name, incarnation } => {
                registry.release(&name, incarnation).await?;
                Answer::Released
            }
            Question::Known | Question::Wait { .. } => Answer::NotHome("it is asked apart".to_owned()),
        })
    }

    async fn wait(&self, known: Option<u64>) -> Answer {
        let changed = self.registry.changed();
        let now = async || match &*self.state.lock().await {
            State::Open => Ok(self.registry.load().await.ok().flatten().map(|roster| roster.revision())),
            State::Closed(why) => Err(why.clone()),
        };
        match now().await {
            Ok(revision) if revision == known => {
                // Either way the answer is what is there then.
                let _ = timeout(LONGEST_WAIT, changed).await;
                now().await.map_or_else(Answer::NotHome, Answer::Revision)
            }
            Ok(revision) => Answer::Revision(revision),
            Err(why) => Answer::NotHome(why),
        }
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Home").field("name", &self.name).finish_non_exhaustive()
    }
}
