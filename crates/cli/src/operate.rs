//! `backup`, `restore`, `rebalance`: what all auxiliaries do at once.

use std::process::ExitCode;
use std::time::Duration;

use annulus_protocol::rest::{Job, JobState, NodeResult, Operation};
use anyhow::{Result, bail};

use crate::failure::FAILED;
use crate::output::{self, Align};
use crate::remote::{Remote, explain};

/// Between two questions whether a job is done.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct OperateArgs {
    #[command(flatten)]
    remote: Remote,
}

/// Starts the job, waits for its end, and fails where a node has failed. `--timeout` bounds each question, and the server
/// the whole.
pub(crate) async fn operate(operation: Operation, args: &OperateArgs) -> Result<ExitCode> {
    let client = args.remote.client()?;
    let id = client.start(operation).await.map_err(explain)?.job;
    let job = loop {
        let Some(job) = client.job(&id).await.map_err(explain)? else {
            bail!(
                "the master that started the job does not answer any more: see what came of it with `annulus nodes`"
            );
        };
        if job.state == JobState::Done {
            break job;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    };
    if args.remote.json {
        output::print_json(&job)?;
    } else {
        output::print_bytes(table(&job).as_bytes())?;
    }
    Ok(if job.status() == 200 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn table(job: &Job) -> String {
    let mut rows = vec![["NAME", "STATUS", "RESULT"].map(str::to_owned).to_vec()];
    for node in &job.nodes {
        rows.push(vec![
            output::harmless(&node.id),
            node.status.to_string(),
            output::harmless(&describe(node)),
        ]);
    }
    output::table(&[Align::Left, Align::Right, Align::Left], &rows)
}

fn describe(node: &NodeResult) -> String {
    if let Some(error) = &node.error {
        return format!("{}: {}", error.title, error.detail);
    }
    if let Some(snapshot) = &node.snapshot {
        let (entries, bytes) = (output::count(snapshot.entries), output::bytes(snapshot.bytes));
        return format!("{}: {entries} entries, {bytes}", snapshot.name);
    }
    if let Some(restored) = &node.restored {
        let Some(snapshot) = &restored.snapshot else { return "there is no snapshot".to_owned() };
        let (valid, outdated) = (output::count(restored.valid), output::count(restored.outdated));
        let damaged = match restored.set_aside.len() {
            0 => String::new(),
            count => format!("; {count} newer and damaged set aside"),
        };
        return format!("{}: {valid} entries valid, {outdated} outdated{damaged}", snapshot.name);
    }
    let left = node.settling.map_or(0, |settling| settling.left);
    format!("looks over what it holds; {} entries left of the last change", output::count(left))
}

#[cfg(test)]
mod tests {
    use annulus_protocol::rest::SnapshotInfo;
    use annulus_protocol::{ErrorCode, Problem};

    use super::*;

    #[test]
    fn each_node_says_what_it_did_or_what_to_do() {
        let failed = NodeResult::failed("b", Problem::new(ErrorCode::DiskFull, "free some space"));
        let snapshot = SnapshotInfo { name: "s-1".to_owned(), created_ms: 1, entries: 1200, bytes: 2048 };
        let done = NodeResult {
            id: "a".to_owned(),
            status: 200,
            error: None,
            snapshot: Some(snapshot),
            ..failed.clone()
        };
        let job = Job {
            job: "1".to_owned(),
            operation: Operation::Backup,
            state: JobState::Done,
            started_ms: 1,
            ended_ms: Some(2),
            nodes: vec![done, failed],
        };
        let expected = "NAME  STATUS  RESULT\n\
                        a        200  s-1: 1,200 entries, 2.0 KiB\n\
                        b        507  The disk is full: free some space\n";
        assert_eq!(table(&job), expected);
    }
}
