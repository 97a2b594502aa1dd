//! Where a request goes: to the near store, to the owners of its key, to the gutter. docs/routing.md says what each promises.

pub(crate) mod gutter;
pub(crate) mod near;

use std::sync::Arc;

use annulus_protocol::condition::Precondition;
use annulus_protocol::hop::CopyState;
use annulus_protocol::value::StoredValue;
use annulus_protocol::{ErrorCode, Key, Problem};

use crate::Node;
use crate::coordinator::{Change, Context, Decision, Outcome, Written};
use gutter::Gutter;
use near::Near;

impl Node {
    /// Reads a key.
    ///
    /// # Errors
    /// As [`Coordinator::read`], where no gutter helps out.
    pub(crate) async fn read(&self, key: &Key, context: &Context) -> Result<CopyState, Problem> {
        let Some(near) = self.near() else { return self.read_beyond(key, context).await };
        let hash = annulus_ring::key_hash(key.as_bytes());
        let asked_us = self.clock.now_us();
        if !context.insists
            && let Some(stored) = self.read_near(&near, key.as_bytes(), hash, asked_us)
        {
            return Ok(CopyState::Value(stored));
        }
        let read = self.coordinator.read(key, context).await;
        if let Ok(CopyState::Value(stored)) = &read {
            near.fill(key.as_bytes(), hash, stored, asked_us);
        }
        self.or_gutter(key, context, read).await
    }

    /// What the near store holds of a key.
    pub(crate) fn read_near(&self, near: &Near, key: &[u8], hash: u64, now_us: u64) -> Option<StoredValue> {
        let found = near.get(key, hash, now_us);
        let counter = if found.is_some() { &self.metrics.near.hits } else { &self.metrics.near.misses };
        counter.inc();
        found
    }

    /// Reads a key from its owners, or from the gutter.
    async fn read_beyond(&self, key: &Key, context: &Context) -> Result<CopyState, Problem> {
        let read = self.coordinator.read(key, context).await;
        self.or_gutter(key, context, read).await
    }

    /// What the owners said, or what the gutter does where none of them is in reach.
    pub(crate) async fn or_gutter(
        &self,
        key: &Key,
        context: &Context,
        read: Result<CopyState, Problem>,
    ) -> Result<CopyState, Problem> {
        let Some((gutter, problem)) = self.gutter_for(key, &read) else { return read };
        let helped = gutter.coordinator.read(key, context).await;
        self.metrics.gutter_get.count(&helped);
        helped.map_err(|_| problem)
    }

    /// Writes a key over whatever is there.
    ///
    /// # Errors
    /// As [`Coordinator::write`].
    pub(crate) async fn write(
        &self,
        key: &Key,
        change: &Change,
        context: &Context,
    ) -> Result<Written, Problem> {
        let own = self.own_write(key);
        let written = self.coordinator.write(key, change, context).await;
        if let Some((gutter, problem)) = self.gutter_for(key, &written) {
            let capped = gutter.capped(change.clone());
            let helped = gutter.coordinator.write(key, &capped, context).await;
            self.metrics.gutter_put.count(&helped);
            return helped.map_err(|_| problem);
        }
        if let (Some(own), Ok(written)) = (own, &written) {
            own.ended(change, *written);
        }
        written
    }

    /// Writes a key if `precondition` holds of it.
    ///
    /// # Errors
    /// As [`Coordinator::write_if`].
    pub(crate) async fn write_if(
        &self,
        key: &Key,
        change: &Change,
        precondition: &Precondition,
        context: &Context,
    ) -> Result<Outcome, Problem> {
        let _own = self.own_write(key);
        let written = self.coordinator.write_if(key, change, precondition, context).await;
        let Some((gutter, problem)) = self.gutter_for(key, &written) else { return written };
        let capped = gutter.capped(change.clone());
        let helped = gutter.coordinator.write_if(key, &capped, precondition, context).await;
        self.metrics.gutter_put.count(&helped);
        helped.map_err(|_| problem)
    }

    /// Has `decide` say what is to become of a key, and does it in one step.
    ///
    /// # Errors
    /// As [`Coordinator::update`].
    pub(crate) async fn update<R>(
        &self,
        key: &Key,
        context: &Context,
        mut decide: impl FnMut(Option<&StoredValue>) -> (Decision, R),
    ) -> Result<(R, Option<Written>), Problem> {
        let _own = self.own_write(key);
        let updated = self.coordinator.update(key, context, &mut decide).await;
        let Some((gutter, problem)) = self.gutter_for(key, &updated) else { return updated };
        let helped = gutter.coordinator.update(key, context, gutter.capping(decide)).await;
        self.metrics.gutter_put.count(&helped);
        helped.map_err(|_| problem)
    }

    /// Forgets everything, everywhere.
    ///
    /// # Errors
    /// As [`Coordinator::flush`].
    pub(crate) async fn flush(&self, context: &Context) -> Result<(), Problem> {
        let flushed = self.coordinator.flush(context).await;
        let gutter = self.policy.load().gutter.clone();
        let in_gutter = match gutter {
            Some(gutter) => gutter.coordinator.flush(context).await,
            None => Ok(()),
        };
        if let Some(near) = self.near() {
            near.clear(self.clock.now_us());
        }
        flushed.and(in_gutter)
    }

    pub(crate) fn near(&self) -> Option<Arc<Near>> {
        self.policy.load().near.clone()
    }

    /// The gutter, where it is its turn: the owners could not be asked, and none of them answers.
    fn gutter_for<T>(&self, key: &Key, result: &Result<T, Problem>) -> Option<(Arc<Gutter>, Problem)> {
        let problem = result.as_ref().err().filter(|problem| problem.code == ErrorCode::Unavailable)?;
        let gutter = self.policy.load().gutter.clone()?;
        self.coordinator.is_out_of_reach(key).then(|| (gutter, problem.clone()))
    }

    /// To be held while a write of the key is under way, so that the near store shows nothing that it replaces.
    fn own_write<'a>(&'a self, key: &'a Key) -> Option<OwnWrite<'a>> {
        let near = self.near()?;
        let hash = annulus_ring::key_hash(key.as_bytes());
        let began_us = self.clock.now_us();
        near.forget(key.as_bytes(), hash, began_us);
        Some(OwnWrite { near, node: self, key, hash, began_us, is_open: true })
    }
}

/// A write through this master, as the near store sees it. Dropped before [`OwnWrite::ended`], what it made is not known.
struct OwnWrite<'a> {
    near: Arc<Near>,
    node: &'a Node,
    key: &'a Key,
    hash: u64,
    began_us: u64,
    is_open: bool,
}

impl OwnWrite<'_> {
    fn ended(mut self, change: &Change, written: Written) {
        let Some(stored) = near::written(change, written.version) else { return };
        self.is_open = false;
        let now_us = self.node.clock.now_us();
        self.near.wrote(self.key.as_bytes(), self.hash, &stored, self.began_us, now_us);
    }
}

impl Drop for OwnWrite<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.near.forget(self.key.as_bytes(), self.hash, self.node.clock.now_us());
        }
    }
}
