//! Runs against a `HashMap` behind the REST routes, healthy and faulty.

use std::collections::HashSet;
use std::future::{pending, ready};
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use annulus_bench::lru_reference::{Capacity, simulate};
use annulus_bench::{Args, BenchError, Report, run, trace};
use clap::Parser;
use support::{Faults, serve, serve_and_close};

#[path = "load/memcached.rs"]
mod memcached;
mod support;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// Space separated flags; `URL` stands for the address.
fn args(address: SocketAddr, flags: &str) -> Args {
    let flags = format!("bench --quiet --url http://{address} {flags}");
    Command::parse_from(flags.split_whitespace()).args
}

async fn bench(address: SocketAddr, flags: &str) -> Report {
    run(&args(address, flags), pending()).await.unwrap()
}

fn count(report: &Report, kind: &str) -> u64 {
    report.errors.iter().filter(|error| error.kind == kind).map(|error| error.count).sum()
}

#[tokio::test]
async fn a_preloaded_cache_hits_always_and_every_request_counts() {
    let (address, cache) = serve(Faults::default()).await;
    let flags =
        "--preload --keys 500 --value-size 80-200 --requests 3000 --warm-up 50ms --connections 4 --verify";
    let report = bench(address, flags).await;
    assert_eq!(report.errors(), 0, "{}", report.render_table());
    assert_eq!((report.totals.requests, report.totals.misses, cache.len()), (3000, 0, 500));
    assert_eq!(
        report.latency.iter().map(|of| of.requests).collect::<Vec<_>>()[1..].iter().sum::<u64>(),
        3000
    );
    assert_eq!(report.series.iter().map(|second| second.requests).sum::<u64>(), 3000);
    assert_eq!(report.verification.as_ref().map(|found| found.misses_of_written_keys), Some(0));
    assert!(report.latency[0].percentiles.p50_us > 0 && report.totals.read_bytes > 80 * 2000);
    assert!((80..=200).contains(&cache.value("key-000000000007").unwrap().len()));
}

#[tokio::test]
async fn deletes_under_verification_leave_no_false_alarm() {
    let (address, _) = serve(Faults::default()).await;
    let flags =
        "--keys 20 --read-ratio 0.5 --delete-ratio 0.2 --requests 8000 --warm-up 0s --connections 8 --verify";
    let report = bench(address, flags).await;
    assert_eq!(report.errors(), 0, "{}", report.render_table());
    assert!(report.totals.misses > 0 && report.totals.hits > 0);
    assert_eq!(report.verification.unwrap().misses_of_written_keys, 0);
}

#[tokio::test]
async fn stale_corrupt_and_swapped_values_are_found() {
    let faults = Faults { stale_every: 10, ..Faults::default() };
    let flags = "--keys 5 --read-ratio 0.5 --requests 4000 --warm-up 0s --connections 4 --verify";
    let (address, _) = serve(faults).await;
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
        assert_eq!(report.verification.as_ref().unwrap().corrupt, count(&report, "corrupt"));
    }
}

#[tokio::test]
async fn forgotten_values_are_misses_and_no_errors() {
    let (address, _) = serve(Faults { forget_every: 10, ..Faults::default() }).await;
    let report =
        bench(address, "--preload --keys 50 --requests 2000 --warm-up 0s --connections 2 --verify").await;
    assert_eq!(report.errors(), 0);
    assert_eq!(report.verification.unwrap().misses_of_written_keys, report.totals.misses);
    assert!(report.totals.misses > 100);
}

#[tokio::test]
async fn refusals_count_by_status_with_their_detail() {
    let (address, _) = serve(Faults { refuse_every: 4, ..Faults::default() }).await;
    let report =
        bench(address, "--keys 10 --requests 400 --warm-up 0s --connections 1 --read-ratio 0.5 --verify")
            .await;
    assert_eq!((report.errors(), count(&report, "status 503")), (100, 100));
    assert_eq!(report.error_messages, ["status 503: no owner answers"]);
    let (json, table, html) = (report.to_json(), report.render_table(), report.to_html());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["errors"][0]["kind"], "status 503");
    assert!(table.contains("100 (100 status 503)") && table.contains("no owner answers"), "{table}");
    assert!(html.contains("no owner answers") && !html.contains("http://www.") && !html.contains("src="));
}

/// An answer whose connection ends with it.
fn last_answer(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_replaced_at_once() {
    let problem = r#"{"status":413,"code":"too_large","detail":"over the limit"}"#;
    let answer = last_answer("413 Content Too Large", "application/problem+json", problem);
    let address = serve_and_close(answer).await;
    let report =
        bench(address, "--read-ratio 0 --requests 20 --warm-up 0s --connections 1 --timeout 10s").await;
    assert_eq!((count(&report, "status 413"), report.errors()), (20, 20), "{}", report.render_table());
    assert!(report.totals.reconnects >= 19 && report.measured_s < 5.0, "{}", report.render_table());
}

#[tokio::test]
async fn only_a_master_that_says_so_makes_a_miss() {
    let problem = "application/problem+json";
    for (content_type, body) in [
        ("text/html", "<h1>nothing here</h1>"),
        ("application/json", r#"{"code":"not_found"}"#),
        (problem, r#"{"status":404,"code":"no_route","detail":"a slash is written %2F"}"#),
    ] {
        let address = serve_and_close(last_answer("404 Not Found", content_type, body)).await;
        let flags = "--requests 10 --warm-up 0s --connections 1 --read-ratio 0.5 --delete-ratio 0.5";
        let trace = recorded();
        let replay = format!("--limit 10 --trace {}", trace.path().display());
        for flags in [flags, &replay] {
            let report = bench(address, flags).await;
            assert_eq!((report.totals.misses, count(&report, "status 404")), (0, 10), "{body} {flags}");
            assert!(report.error_messages[0].contains("master"), "{:?}", report.error_messages);
        }
    }
    let address = serve_and_close(last_answer("404 Not Found", problem, r#"{"code":"not_found"}"#)).await;
    let report = bench(address, "--requests 10 --warm-up 0s --connections 1 --read-ratio 1").await;
    assert_eq!((report.totals.misses, report.errors()), (10, 0), "{}", report.render_table());
}

#[tokio::test]
async fn a_stall_shows_in_the_open_loop() {
    let stall = Some((500, Duration::from_millis(400)));
    let flags = "--keys 100 --connections 4 --duration 2s --warm-up 0s";
    let (address, _) = serve(Faults { stall, ..Faults::default() }).await;
    let open = bench(address, &format!("{flags} --rate 1000")).await;
    assert_eq!((open.totals.requests, open.errors()), (2000, 0), "{}", open.render_table());
    let latency = open.latency[0].percentiles;
    // 400 of 2000 requests were due during the stall: it reaches down to the 90th percentile.
    assert!(latency.p99_9_us > 350_000 && latency.p90_us > 100_000, "{}", open.render_table());
    assert!(latency.max_us < 1_000_000 && open.generator_lateness.unwrap().p50_us < 20_000);
}

#[tokio::test]
async fn a_hung_server_times_out_and_what_could_not_be_sent_is_counted() {
    let stall = Some((10, Duration::from_secs(60)));
    let (address, _) = serve(Faults { stall, ..Faults::default() }).await;
    let report =
        bench(address, "--connections 2 --rate 100 --duration 500ms --timeout 200ms --warm-up 0s").await;
    assert!(count(&report, "timeout") > 0 && count(&report, "not sent") > 0, "{}", report.render_table());
    assert_eq!(report.totals.requests + count(&report, "not sent"), 50);
    assert!(report.latency[0].percentiles.max_us >= 200_000);
}

#[tokio::test]
async fn a_dead_master_is_left_for_the_next_and_no_master_is_an_error_that_helps() {
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = unused.local_addr().unwrap();
    drop(unused);
    let (address, _) = serve(Faults::default()).await;
    let report =
        bench(address, &format!("--url http://{dead} --requests 200 --warm-up 0s --connections 4")).await;
    assert_eq!((report.totals.requests, report.errors()), (200, 0));
    let error = run(&args(dead, ""), pending()).await.unwrap_err();
    assert!(matches!(error, BenchError::Unreachable { .. }), "{error:?}");
    assert!(
        error.to_string().contains("annulus dev") && error.to_string().contains(&dead.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_reports_what_it_did() {
    let (address, _) = serve(Faults::default()).await;
    let flags = args(address, "--duration 1h --warm-up 0s --connections 2");
    let report = run(&flags, tokio::time::sleep(Duration::from_millis(300))).await.unwrap();
    assert!(report.interrupted && report.totals.requests > 0 && report.measured_s < 5.0);
    assert!(report.render_table().starts_with("interrupted"));
    let flags = args(address, "--rate 0.1 --connections 2");
    let report = run(&flags, ready(())).await.unwrap();
    assert!(report.interrupted && report.totals.requests == 0 && !report.to_html().contains("NaN"));
}

/// 3,000 requests for 400 keys, some with a space-less but awkward name.
fn recorded() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut state = 1_u64;
    for _ in 0..3000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let key = (state >> 33) % 400;
        let key = if key.is_multiple_of(7) { format!("ü/%2F?{key}\"\\") } else { format!("k{key}") };
        writeln!(file, "{key} {}", key.len() * 20).unwrap();
    }
    file
}

#[tokio::test]
async fn a_trace_is_replayed_in_order_with_exact_counts() {
    let file = recorded();
    let requests: Vec<_> = trace::open(file.path()).unwrap().map(|request| request.unwrap()).collect();
    let distinct = requests.iter().map(|request| &request.key).collect::<HashSet<_>>().len() as u64;
    let unbounded =
        simulate(requests.iter().map(|request| (&request.key, request.size)), Capacity::Items(1000));
    let (address, cache) = serve(Faults::default()).await;
    let report = bench(address, &format!("--verify --trace {}", file.path().display())).await;
    let counts = report.trace.as_ref().unwrap();
    assert_eq!(
        (counts.requests, counts.misses, counts.stores),
        (3000, distinct, distinct),
        "{}",
        report.render_table()
    );
    assert_eq!((counts.hits, report.errors(), cache.len() as u64), (unbounded.hits, 0, distinct));
    assert!((counts.unbounded_hit_ratio - unbounded.hit_ratio()).abs() < 1e-9);
    for request in &requests {
        assert_eq!(cache.value(&request.key).map(|value| value.len()), Some(request.size), "{}", request.key);
    }
    let flags = format!("--limit 100 --connections 3 --rate 5000 --trace {}", file.path().display());
    let limited = bench(address, &flags);
    let limited = limited.await;
    assert_eq!(limited.totals.hits, 100);
    let warm = "the cache was not empty at the start";
    assert!(limited.render_table().contains(warm) && !report.render_table().contains(warm));
    assert!(
        report.render_table().contains("3,000 requests") && limited.to_html().contains(", 3 connections to")
    );
    assert!(report.to_html().contains(", 1 connection to"));
    assert!(
        report.latency[0].distribution.iter().any(|point| point.percentile.to_bits() == 30_f64.to_bits())
    );
}
