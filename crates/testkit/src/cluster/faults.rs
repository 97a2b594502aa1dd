//! Faults of networks, clocks and disks.

use super::Cluster;
use crate::FaultProxy;

impl Cluster {
    /// What stands between an auxiliary and everybody else.
    ///
    /// # Panics
    /// Where nothing does.
    pub fn proxy(&self, auxiliary: usize) -> &FaultProxy {
        self.proxies.get(auxiliary).expect("a cluster with proxies")
    }

    /// What stands between Redis and everybody else.
    ///
    /// # Panics
    /// Where a fixed list keeps the members.
    pub fn redis_proxy(&self) -> &FaultProxy {
        self.redis_proxy.as_ref().expect("a cluster with a Redis")
    }

    /// Puts the wall clock of a node so many seconds ahead of the real time, or behind it.
    ///
    /// # Panics
    /// Where the cluster has no clocks of its own.
    pub fn set_clock(&self, node: &str, seconds: i64) {
        let clocks = self.clocks.as_ref().expect("a cluster with clocks");
        clocks.set(node, seconds).unwrap_or_else(|error| panic!("the clock of {node}: {error:#}"));
    }

    /// Leaves room for `bytes` more on an auxiliary's disk.
    ///
    /// # Panics
    /// Where the cluster has no small disks.
    pub fn fill_disk(&self, auxiliary: usize, bytes: u64) {
        let filled = self.disks[auxiliary].fill(self.auxiliaries[auxiliary].pid(), bytes);
        filled.unwrap_or_else(|error| panic!("filling a disk: {error:#}"));
    }

    /// Gives an auxiliary the room on its disk back.
    ///
    /// # Panics
    /// Where [`Self::fill_disk`] was not called.
    pub fn free_disk(&self, auxiliary: usize) {
        let freed = self.disks[auxiliary].free(self.auxiliaries[auxiliary].pid());
        freed.unwrap_or_else(|error| panic!("freeing a disk: {error:#}"));
    }

    /// An auxiliary's disk takes no changes from now on, or takes them again.
    ///
    /// # Panics
    /// Where the cluster has no small disks.
    pub fn set_disk_read_only(&self, auxiliary: usize, read_only: bool) {
        let set = self.disks[auxiliary].set_read_only(read_only);
        set.unwrap_or_else(|error| panic!("a read-only disk: {error:#}"));
    }

    /// Passes on to where the auxiliaries listen.
    pub(super) fn point_proxies(&self) {
        for (proxy, node) in self.proxies.iter().zip(&self.auxiliaries) {
            proxy.retarget(node.address());
        }
    }
}
