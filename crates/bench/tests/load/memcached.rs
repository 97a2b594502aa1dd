//! Runs over memcached's text protocol, against a `HashMap` behind it, healthy and faulty.

use std::future::pending;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use annulus_bench::{Args, BenchError, Report, run};
use clap::Parser;

use crate::support::memcached::serve;
use crate::support::{Faults, serve_and_close};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

async fn try_bench(address: SocketAddr, flags: &str) -> Result<Report, BenchError> {
    let flags = format!("bench --quiet --url memcached://{address} {flags}");
    run(&Command::parse_from(flags.split_whitespace()).args, pending()).await
}

async fn bench(address: SocketAddr, flags: &str) -> Report {
    try_bench(address, flags).await.unwrap()
}

fn count(report: &Report, kind: &str) -> u64 {
    report.errors.iter().filter(|error| error.kind == kind).map(|error| error.count).sum()
}

const LOAD: &str =
    "--preload --keys 500 --value-size 80-200 --warm-up 50ms --connections 4 --verify --flags 7";

#[tokio::test]
async fn every_request_of_a_pipeline_is_answered_and_counted() {
    for awkward in [false, true] {
        let (address, cache) = serve(Faults { awkward, ..Faults::default() }).await;
        for pipeline in [1, 2, 16, 100] {
            let report = bench(address, &format!("{LOAD} --requests 3001 --pipeline {pipeline}")).await;
            assert_eq!(report.errors(), 0, "{}", report.render_table());
            assert_eq!((report.totals.requests, report.totals.misses, cache.len()), (3001, 0, 500));
            let gets = report.latency.iter().find(|of| of.operation == "get").unwrap().requests;
            assert_eq!(report.totals.hits, gets);
            assert_eq!(report.verification.as_ref().map(|found| found.misses_of_written_keys), Some(0));
            assert_eq!(report.totals.reconnects, 0);
        }
        assert_eq!(cache.value("key-000000000007").unwrap()[..4], 7_u32.to_be_bytes());
    }
}

#[tokio::test]
async fn a_multiget_is_one_request_and_each_of_its_keys_a_hit_or_miss() {
    for awkward in [false, true] {
        let faults = Faults { awkward, forget_every: 10, ..Faults::default() };
        let (address, _) = serve(faults).await;
        let flags = format!("{LOAD} --requests 300 --multiget 100 --pipeline 3 --read-ratio 1");
        let report = bench(address, &flags).await;
        assert_eq!((report.totals.requests, report.errors()), (300, 0), "{}", report.render_table());
        assert_eq!(report.totals.hits + report.totals.misses, 30_000);
        // The warm-up may have ended within ten reads of a forgotten one.
        assert!(report.totals.misses.abs_diff(3000) <= 1, "{}", report.render_table());
        assert_eq!(report.verification.as_ref().unwrap().misses_of_written_keys, report.totals.misses);
        let line =
            "memcached, closed loop, 4 connections, 3 requests a write, 100 keys a get to memcached://";
        assert!(report.load().starts_with(line), "{}", report.load());
        assert!(report.render_table().contains(line) && report.to_html().contains(line));
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        let of = &json["configuration"];
        assert_eq!(
            (&of["protocol"], &of["pipeline"], &of["multiget"]),
            (&"memcached".into(), &3.into(), &100.into())
        );
        assert_eq!((&of["flags"], &of["interface"]), (&7.into(), &serde_json::Value::Null));
    }
}

#[tokio::test]
async fn deletes_in_a_pipeline_leave_no_false_alarm() {
    let (address, _) = serve(Faults::default()).await;
    let flags = "--keys 20 --read-ratio 0.5 --delete-ratio 0.2 --requests 8000 --warm-up 0s --connections 8 \
                 --pipeline 10 --verify";
    let report = bench(address, flags).await;
    assert_eq!(report.errors(), 0, "{}", report.render_table());
    assert!(report.totals.misses > 0 && report.totals.hits > 0);
    assert_eq!(report.verification.unwrap().misses_of_written_keys, 0);
}

#[tokio::test]
async fn stale_corrupt_and_swapped_values_are_found_in_a_pipeline() {
    let flags =
        "--keys 50 --read-ratio 0.5 --requests 8000 --warm-up 0s --connections 4 --pipeline 4 --verify";
    let (address, _) = serve(Faults { stale_every: 10, ..Faults::default() }).await;
    let report = bench(address, flags).await;
    assert!(count(&report, "stale") > 50, "{}", report.render_table());
    assert_eq!(count(&report, "corrupt"), 0);
    for faults in
        [Faults { corrupt_every: 10, ..Faults::default() }, Faults { swap_every: 10, ..Faults::default() }]
    {
        let (address, _) = serve(faults).await;
        let report = bench(address, flags).await;
        assert!(count(&report, "corrupt") > 50, "{faults:?} {}", report.render_table());
        assert_eq!(count(&report, "stale"), 0);
    }
}

#[tokio::test]
async fn flags_that_did_not_come_back_are_corrupt() {
    let (address, cache) = serve(Faults::default()).await;
    let flags =
        "--keys 1 --read-ratio 1 --requests 10 --warm-up 0s --connections 1 --verify --preload --flags 3";
    assert_eq!(bench(address, flags).await.errors(), 0);
    // One connection writes, then reads what somebody has turned the flags of.
    let turn = async {
        loop {
            if let Some(value) = cache.value("key-000000000000") {
                cache.store("key-000000000000".to_owned(), [&[0, 0, 0, 9], &value[4..]].concat().into());
            }
            tokio::task::yield_now().await;
        }
    };
    let flags = "--keys 1 --read-ratio 0.5 --requests 2000 --warm-up 0s --connections 1 --verify --flags 3";
    let report = tokio::select! {
        report = bench(address, flags) => report,
        () = turn => unreachable!("it turns for ever"),
    };
    assert!(count(&report, "corrupt") > 0, "{}", report.render_table());
    assert!(report.error_messages.iter().any(|message| message.contains("flags 9 instead of 3")));
}

#[tokio::test]
async fn errors_count_by_kind_with_their_text_and_the_pipeline_goes_on() {
    let (address, _) = serve(Faults { refuse_every: 4, ..Faults::default() }).await;
    let flags =
        "--keys 10 --requests 400 --warm-up 0s --connections 1 --read-ratio 0.5 --pipeline 8 --verify";
    let report = bench(address, flags).await;
    assert_eq!((report.errors(), count(&report, "SERVER_ERROR")), (100, 100), "{}", report.render_table());
    assert_eq!(report.error_messages, ["SERVER_ERROR: no owner answers"]);
    assert_eq!((report.totals.reconnects, report.latency[0].requests), (0, 400));
}

#[tokio::test]
async fn each_answer_of_memcached_has_its_kind_and_others_are_malformed() {
    for (answer, kind, text) in [
        ("ERROR\r\n", "ERROR", ""),
        ("CLIENT_ERROR bad command line format\r\n", "CLIENT_ERROR", "bad command line format"),
        ("SERVER_ERROR out of memory\r\n", "SERVER_ERROR", "out of memory"),
        ("STORED\r\n", "malformed", "Get was answered by Stored"),
        ("VALUE other 0 1\r\nx\r\nEND\r\n", "malformed", "\"other\", which was not asked for"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "malformed", "see whether --url names a memcached port"),
        ("END\r\nEND\r\n", "malformed", "more answers than requests"),
        ("VALUE key-000000000000 0 9\r\nxy", "body", "closed the connection"),
        ("", "closed", "closed the connection"),
    ] {
        let address = serve_and_close(answer.to_owned()).await;
        let flags = "--keys 1 --requests 3 --warm-up 0s --connections 1 --read-ratio 1";
        let report = bench(address, flags).await;
        assert_eq!((count(&report, kind), report.errors()), (3, 3), "{answer:?}: {}", report.render_table());
        let texts = report.error_messages.join("\n");
        assert!(texts.contains(text), "{answer:?}: {texts}");
    }
}

#[tokio::test]
async fn a_hung_server_times_out_each_request_of_the_pipeline() {
    let stall = Some((10, Duration::from_secs(60)));
    let (address, _) = serve(Faults { stall, ..Faults::default() }).await;
    let flags = "--connections 1 --requests 16 --pipeline 16 --timeout 200ms --warm-up 0s --read-ratio 1";
    let report = bench(address, flags).await;
    assert_eq!((count(&report, "timeout"), report.totals.misses), (7, 9), "{}", report.render_table());
    assert!(report.latency[0].percentiles.max_us >= 200_000);
}

#[tokio::test]
async fn an_open_loop_sends_what_is_due_in_one_write_and_loses_nothing() {
    let stall = Some((500, Duration::from_millis(300)));
    let (address, _) = serve(Faults { stall, ..Faults::default() }).await;
    let flags = "--keys 100 --connections 4 --duration 1s --warm-up 0s --rate 2000 --pipeline 32";
    let report = bench(address, flags).await;
    assert_eq!((report.totals.requests, report.errors()), (2000, 0), "{}", report.render_table());
    assert!(report.latency[0].percentiles.max_us > 250_000, "{}", report.render_table());
}

#[tokio::test]
async fn long_values_and_their_answers_do_not_block_each_other() {
    let (address, _) = serve(Faults::default()).await;
    for verify in ["", "--verify"] {
        let flags = format!(
            "--preload --keys 20 --value-size 300Ki --connections 2 --pipeline 64 --requests 256 --warm-up 0s \
             --read-ratio 0.5 {verify}"
        );
        let report = bench(address, &flags).await;
        assert_eq!((report.totals.requests, report.errors()), (256, 0), "{}", report.render_table());
        assert_eq!(report.totals.read_bytes, report.totals.hits * (300 << 10));
    }
}

#[tokio::test]
async fn a_trace_is_replayed_with_sets_after_misses() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for line in 0..2000 {
        writeln!(file, "ü/{} {}", line * 7 % 300, 50 + line * 7 % 300).unwrap();
    }
    let path = file.path().display().to_string();
    let (address, cache) = serve(Faults::default()).await;
    let report = bench(address, &format!("--verify --trace {path}")).await;
    let counts = report.trace.as_ref().unwrap();
    assert_eq!(
        (counts.requests, counts.misses, counts.stores),
        (2000, 300, 300),
        "{}",
        report.render_table()
    );
    assert_eq!((report.errors(), cache.len()), (0, 300));
    let (address, cache) = serve(Faults::default()).await;
    let report = bench(address, &format!("--verify --pipeline 10 --connections 2 --trace {path}")).await;
    assert_eq!((report.trace.unwrap().requests, report.totals.errors, cache.len()), (2000, 0, 300));
    writeln!(file, "a\u{1}b").unwrap();
    let error = try_bench(address, &format!("--trace {path}")).await.unwrap_err();
    assert!(matches!(&error, BenchError::Arguments(text) if text.contains("control characters")), "{error}");
}
