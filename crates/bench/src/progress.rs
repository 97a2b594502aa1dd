//! The bar on a terminal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::Mutex;

use crate::clock::{self, Instant};
use crate::table::{count, percent};
use crate::tally::Tally;

const REFRESH: Duration = Duration::from_millis(250);

/// What ends the run, for the bar's length.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    Time(Duration),
    Requests(u64),
    /// A trace's lines: what misses add does not count.
    Reads(u64),
}

/// A bar on standard error; hidden when that is no terminal, or by request.
pub(crate) fn bar(quiet: bool) -> ProgressBar {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    let style = ProgressStyle::with_template("{elapsed_precise} [{bar:32}] {percent:>3} %  {msg}");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Shows the keys stored so far, for ever: the caller drops it.
pub(crate) async fn watch_preload(bar: &ProgressBar, keys: u32, stored: &Arc<AtomicU32>) {
    bar.set_length(u64::from(keys));
    loop {
        let stored = stored.load(Ordering::Relaxed);
        bar.set_position(u64::from(stored));
        bar.set_message(format!("storing keys: {}", count(u64::from(stored))));
        tokio::time::sleep(REFRESH).await;
    }
}

/// Shows rate, hit ratio and errors, for ever: the caller drops it.
pub(crate) async fn watch(bar: &ProgressBar, tallies: &[Arc<Mutex<Tally>>], goal: Goal, from: Instant) {
    bar.reset();
    bar.set_length(match goal {
        Goal::Time(time) => time.as_millis() as u64,
        Goal::Requests(requests) | Goal::Reads(requests) => requests,
    });
    let mut before = (clock::now(), 0);
    loop {
        tokio::time::sleep(REFRESH).await;
        let now = clock::now();
        let (mut requests, mut reads, mut hits, mut misses, mut errors) = (0, 0, 0, 0, 0);
        for tally in tallies {
            let tally = tally.lock();
            requests += tally.requests();
            reads += tally.operations[0].requests;
            hits += tally.hits;
            misses += tally.misses;
            errors += tally.errors();
        }
        if now < from {
            bar.set_message("warming up");
            continue;
        }
        bar.set_position(match goal {
            Goal::Time(_) => (now - from).as_millis() as u64,
            Goal::Requests(_) => requests,
            Goal::Reads(_) => reads,
        });
        let rate = (requests - before.1) as f64 / (now - before.0).as_secs_f64().max(1e-3);
        before = (now, requests);
        let hit_ratio =
            if hits + misses > 0 { percent(hits as f64 / (hits + misses) as f64) } else { "–".to_owned() };
        bar.set_message(format!("{}/s, {hit_ratio} hits, {} errors", count(rate as u64), count(errors)));
    }
}
