//! `annulus dev`, used through the other commands.

use nix::sys::signal::Signal;

use crate::support::{Running, annulus, annulus_fed};

#[test]
fn a_value_can_be_set_read_and_deleted_through_any_master() {
    let dev = Running::dev(&[]);
    let (one, two) = (dev.url("master-1"), dev.url("master-2"));
    let stored = annulus(&["set", "user:7", "Ada", "--ttl", "1h", "--url", &one]).ok();
    let version = stored.trim().strip_prefix("stored, version ").unwrap();
    assert_eq!(annulus(&["get", "user:7", "--url", &two]).ok(), "Ada", "bytes as they are, no line end");
    let json = annulus(&["get", "user:7", "--json", "--url", &two]).ok();
    let entry: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&entry["value"], &entry["version"]), (&"Ada".into(), &version.into()));
    assert!((3590..=3600).contains(&entry["ttl"].as_u64().unwrap()), "{entry}");

    assert_eq!(annulus(&["del", "user:7", "--url", &one]).ok(), "deleted\n");
    for gone in ["get", "del"] {
        assert_eq!(annulus(&[gone, "user:7", "--url", &two]).fails(3), "no such key: user:7\n");
    }
}

#[test]
fn a_value_of_any_bytes_comes_back_the_same() {
    let dev = Running::dev(&["--masters", "1", "--auxiliaries", "1"]);
    let url = dev.url("master-1");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    annulus(&["set", "from a/file", &format!("@{}", file.path().display()), "--url", &url]).ok();
    assert!(annulus_fed(&bytes, &["set", "from stdin", "-", "--url", &url]).status.success());
    for key in ["from a/file", "from stdin"] {
        assert!(annulus_fed(b"", &["get", key, "--url", &url]).stdout == bytes, "{key}");
    }
    annulus(&["set", "negative", "-5", "--url", &url]).ok();
    assert_eq!(annulus(&["get", "negative", "--raw", "--url", &url]).ok(), "-5");
}

#[test]
fn a_write_happens_only_where_its_condition_holds() {
    let dev = Running::dev(&[]);
    let url = dev.url("master-1");
    let set = |value: &str, flags: &[&str]| {
        annulus(&[&["set", "k", value, "--json", "--url", &url], flags].concat())
    };
    let stored: serde_json::Value = serde_json::from_str(&set("1", &["--if-none-match", "*"]).ok()).unwrap();
    let version = stored["version"].as_str().unwrap();
    assert!(set("2", &["--if-none-match", "*"]).fails(4).contains(version));
    set("2", &["--if-match", version]).ok();
    assert!(set("3", &["--if-match", version]).fails(4).contains("condition does not hold"));
    assert_eq!(annulus(&["get", "k", "--url", &url]).ok(), "2");
}

#[test]
fn nodes_stats_and_health_tell_what_the_cluster_does() {
    let dev = Running::dev(&["--memory", "8Mi", "--no-refresher"]);
    let url = dev.url("master-1");
    let ask = |args: &[&str]| annulus(&[args, &["--url", &url]].concat());
    ask(&["set", "a", "1"]).ok();
    ask(&["get", "a"]).ok();
    ask(&["get", "b"]).fails(3);

    let nodes: serde_json::Value = serde_json::from_str(&ask(&["nodes", "--json"]).ok()).unwrap();
    assert_eq!(nodes["nodes"].as_array().unwrap().len(), 3);
    assert_eq!(nodes["nodes"][0]["store"]["max_bytes"], 8 << 20);
    let table = ask(&["nodes"]).ok();
    assert!(table.contains("aux-3") && table.contains("8.0 MiB") && table.contains("2 copies"), "{table}");
    assert_eq!(ask(&["nodes", "aux-2"]).ok().lines().count(), 2);
    assert!(ask(&["nodes", "aux-9"]).fails(3).contains("no such node: aux-9"));

    let stats: serde_json::Value = serde_json::from_str(&ask(&["stats", "--json"]).ok()).unwrap();
    assert_eq!((&stats["hits"], &stats["misses"], &stats["items"]), (&1.into(), &1.into(), &2.into()));
    assert_eq!(stats["requests"]["put"]["ok"], 1);
    assert!(ask(&["stats"]).ok().contains("hit ratio  50.00 %"));

    assert!(ask(&["health"]).ok().starts_with("ok: master master-1"));
    let auxiliary = annulus(&["health", "--ready", "--url", &dev.url("aux-1")]).ok();
    assert!(auxiliary.starts_with("ok: auxiliary aux-1"), "{auxiliary}");
}

#[test]
fn bench_reports_and_succeeds_where_no_request_failed() {
    let dev = Running::dev(&[]);
    let url = dev.url("master-1");
    let report = annulus(&["bench", "-n", "200", "--warm-up", "0s", "-c", "2", "--json", "--url", &url]).ok();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["totals"]["requests"], &report["totals"]["errors"]), (&200.into(), &0.into()));
}

#[test]
fn bench_finds_what_it_stored_whatever_a_master_is_spoken_to_in() {
    let dev = Running::dev(&[]);
    let (rest, memcached) = (dev.url("master-1"), dev.url("master-2").replace("http:", "memcached:"));
    let load = ["bench", "-n", "300", "-c", "2", "--keys", "100", "--preload", "--verify", "--warm-up", "0s"];
    for how in [
        &["--url", &rest, "--interface", "json"][..],
        &["--url", &rest, "--read-ratio", "0.5", "--delete-ratio", "0.2"],
        &["--url", &memcached, "--pipeline", "16", "--flags", "7", "--ttl", "1h"],
        &["--url", &memcached, "--pipeline", "3", "--multiget", "20", "--protocol", "memcached"],
        &["--url", &memcached, "--pipeline", "10", "--read-ratio", "0.5", "--delete-ratio", "0.2"],
    ] {
        let report = annulus(&[&load, how, &["--json"]].concat()).ok();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let (totals, verified) = (&report["totals"], &report["verification"]);
        assert_eq!((&totals["requests"], &totals["errors"]), (&300.into(), &0.into()), "{how:?}: {report}");
        assert_eq!(verified["misses_of_written_keys"], 0, "{how:?}: {report}");
    }
}

#[test]
fn the_commands_it_suggests_name_its_own_ports_and_itself() {
    let dev = Running::dev(&["--masters", "1"]);
    let url = dev.url("master-1");
    let program = env!("CARGO_BIN_EXE_annulus");
    let own = ["get greeting", "bench"].map(|command| format!("\n  {program} {command} --url "));
    for start in ["curl -X POST ", "curl ", &own[0], &own[1]] {
        assert!(dev.greeting.contains(&format!("{start}{url}")), "{start}: {}", dev.greeting);
    }
}

#[test]
fn an_auxiliary_that_is_taken_for_a_master_is_called_one() {
    let dev = Running::dev(&["--masters", "1", "--auxiliaries", "1"]);
    let url = dev.url("aux-1");
    for command in [&["get", "k"][..], &["set", "k", "v"], &["del", "k"], &["nodes"], &["stats"]] {
        let said = annulus(&[command, &["--url", &url]].concat()).fails(1);
        assert!(said.contains("auxiliary's") && said.contains("name a master"), "{command:?}: {said}");
        assert!(!said.contains("%2F"), "{command:?}: {said}");
    }
    let bench = annulus(&["bench", "-n", "5", "-c", "1", "--warm-up", "0s", "--quiet", "--url", &url]);
    assert!(bench.code == Some(1) && bench.stdout.contains("name a master"), "{bench:?}");
}

#[test]
fn either_signal_stops_it_with_success() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        assert_eq!(Running::dev(&[]).end(signal), (Some(0), "stopped\n".to_owned()));
    }
}

#[test]
fn with_a_folder_for_snapshots_it_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--backup-dir", folder.path().to_str().unwrap()];
    let dev = Running::dev(&flags);
    let url = dev.url("master-1");
    for n in 0..30 {
        annulus(&["set", &format!("k{n}"), "kept", "--url", &url]).ok();
    }
    assert_eq!(dev.end(Signal::SIGINT).0, Some(0));
    assert!(folder.path().join("aux-3").is_dir());

    let dev = Running::dev(&flags);
    let url = dev.url("master-2");
    for n in 0..30 {
        assert_eq!(annulus(&["get", &format!("k{n}"), "--url", &url]).ok(), "kept");
    }
}

#[test]
fn a_port_in_use_is_named_together_with_the_way_out() {
    let dev = Running::dev(&["--masters", "1", "--auxiliaries", "1"]);
    let port = dev.url("master-1").rsplit(':').next().unwrap().to_owned();
    let said = annulus(&["dev", "--port-base", &port]).fails(1);
    assert!(said.contains(&format!("port {port} is in use")), "{said}");
    assert!(said.contains("--port-base"), "{said}");
}

#[test]
fn settings_that_it_decides_itself_are_not_silently_ignored() {
    let mut command = crate::support::program(&["dev", "--port-base", "0", "--set", "master.port=9000"]);
    let mut child =
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(line.contains("master.port") && line.contains("is not used"), "{line}");
}
