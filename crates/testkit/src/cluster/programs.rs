//! What the processes of a cluster are started with.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;

use super::Cluster;
use crate::FaultProxy;
use crate::disk::Disk;
use crate::process::Program;

/// The secret of every cluster with a Redis.
const SECRET: &str = "a-secret-of-the-tests";
/// Starts a program that is told that a file would grow too large, and not ended for it.
const IGNORING_FILE_LIMITS: &str = "trap '' XFSZ; exec \"$0\" \"$@\"";

impl Cluster {
    /// Makes what the auxiliary needs beside its program.
    pub(super) async fn auxiliary_program(&mut self, auxiliary: usize) -> Result<Program> {
        let name = format!("aux-{}", auxiliary + 1);
        let mut program = self.program("auxiliary", &name)?;
        if let Some(parent) = &self.disks_in {
            let disk = Disk::new(parent, &name, self.shape.disk_bytes)?;
            program.args.extend(["--backup-dir".to_owned(), disk.folder().display().to_string()]);
            self.disks.push(disk);
        }
        if self.shape.has_proxies {
            // Where the auxiliary listens is known once it runs.
            let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
            let proxy = FaultProxy::start(nowhere).await?;
            program.args.extend(["--advertise".to_owned(), proxy.address().to_string()]);
            self.proxies.push(proxy);
        }
        if self.shape.disk_bytes.is_some() {
            let wrapped =
                ["-c", IGNORING_FILE_LIMITS, &program.binary.display().to_string()].map(str::to_owned);
            program.args = [wrapped.to_vec(), program.args].concat();
            program.binary = "/bin/sh".into();
        }
        Ok(program)
    }

    /// With a fixed list, the auxiliaries have their ports already.
    pub(super) fn master_program(&self, number: usize) -> Result<Program> {
        let mut program = self.program("master", &format!("master-{number}"))?;
        if self.redis.is_none() {
            let listed = (1..).zip(&self.auxiliaries).map(|(n, node)| format!("aux-{n}={}", node.address()));
            program.args.extend(["--auxiliaries".to_owned(), listed.collect::<Vec<_>>().join(",")]);
        }
        Ok(program)
    }

    fn program(&self, role: &str, name: &str) -> Result<Program> {
        let mut args = [role, "--name", name].map(str::to_owned).to_vec();
        let mut env = Vec::new();
        args.extend(self.shape.flags());
        if let Some(redis) = &self.redis_proxy {
            args.extend(["--redis".to_owned(), format!("redis://{}", redis.address())]);
            env.push(("ANNULUS_CLUSTER__SECRET".to_owned(), SECRET.to_owned()));
        }
        if let Some(clocks) = &self.clocks {
            env.extend(clocks.env(name)?);
        }
        Ok(Program { binary: self.binary.clone(), args, env })
    }
}
