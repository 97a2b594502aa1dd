//! What concerns all keys, and figures.

use std::sync::Arc;
use std::time::Duration;

use annulus_protocol::hop::Look;
use annulus_protocol::memcached::stats::{Counts, Figures, put_stat};
use annulus_protocol::memcached::{END, Exptime, Outcome, Topic, Ttl, Wants, stats};
use annulus_protocol::rest::StoreInfo;
use annulus_service::stream::Output;
use annulus_service::telemetry::TraceContext;
use futures_util::future::join_all;

use super::item::Said;
use super::writes::now;
use crate::coordinator::Context;
use crate::routes::At;

/// How long a node may take to tell its figures.
const FIGURES_TIMEOUT: Duration = Duration::from_millis(500);

/// Forgets everything on every node, now or later. A later flush replaces one that has not come yet.
pub(super) async fn flush_all(at: &At, when: Exptime, wants: &Wants, output: &mut Output) {
    let said = match when.ttl(now(at)) {
        Ttl::Never | Ttl::Over => match flush(at).await {
            Ok(()) => Said::plain(Outcome::Done),
            Err(problem) => Said::failed(&problem),
        },
        Ttl::Ms(ms) => {
            let later = at.clone();
            let task = tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                if let Err(problem) = flush(&later).await {
                    tracing::error!("a flush_all that was due could not be carried out: {}", problem.detail);
                }
            });
            let before = at.flush_due.lock().replace(task.abort_handle());
            if let Some(before) = before {
                before.abort();
            }
            Said::plain(Outcome::Done)
        }
    };
    let mut counts = Counts::default();
    said.tally(wants, &mut counts);
    at.tallies.add(at.worker, counts);
    said.render(wants, b"", output);
}

async fn flush(at: &At) -> Result<(), annulus_protocol::Problem> {
    let context = Context {
        deadline_us: at.clock.now_us() + at.policy.load().limits.deadline.as_micros() as u64,
        worker: at.worker,
        trace: TraceContext::start(&at.trace_ids),
        consistency: at.policy.load().consistency,
        insists: false,
        look: Look::Plain,
    };
    at.in_time(&context, at.flush(&context)).await
}

/// Figures of the cluster as this master sees them.
pub(super) async fn stats(at: &At, topic: Topic, output: &mut Output) {
    match topic {
        Topic::General => general(at, output.tail()).await,
        Topic::Detail(detail) => at.tallies.prefixes.answer(detail, output.tail()),
        Topic::Reset => {
            at.tallies.reset();
            output.tail().extend_from_slice(stats::RESET);
        }
        Topic::Sizes => output.tail().extend_from_slice(stats::SIZES),
        _ => output.tail().extend_from_slice(END),
    }
}

async fn general(at: &At, out: &mut Vec<u8>) {
    let route = at.coordinator.fleet.route();
    let alive = route.placement().nodes().iter().enumerate().filter(|(_, placed)| placed.is_alive);
    let asked = alive.map(|(node, _)| {
        let route = Arc::clone(&route);
        async move { route.hop().health(node, FIGURES_TIMEOUT).await.ok()?.store }
    });
    let stores: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
    let sum = |figure: fn(&StoreInfo) -> u64| stores.iter().map(figure).sum();
    let (curr_connections, total_connections) = at.tallies.connections();
    let (rusage_user_us, rusage_system_us) = annulus_service::process::processor_time_us();
    let counts = at.tallies.counts();
    let figures = Figures {
        pid: std::process::id(),
        uptime_s: (at.clock.now_ms() - at.started_ms) / 1000,
        time_unix_s: at.clock.now_ms() / 1000,
        version: stats::VERSION,
        rusage_user_us,
        rusage_system_us,
        curr_connections,
        total_connections,
        limit_maxbytes: sum(|store| store.max_bytes),
        bytes: sum(|store| store.bytes),
        curr_items: sum(|store| store.items),
        total_items: counts.cmd_set,
        ..Figures::default()
    };
    put_stat("annulus_nodes", stores.len(), out);
    put_stat("annulus_copies", route.placement().quorum().copies, out);
    figures.render(&counts, out);
}
