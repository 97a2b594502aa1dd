//! `annulus master` and `annulus auxiliary`: one server a process.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Running, annulus, annulus_with};

const SECRET: (&str, &str) = ("ANNULUS_CLUSTER__SECRET", "a-secret-of-the-tests");

/// The URL in the line that programs wait for.
fn url(server: &Running) -> String {
    server.greeting.trim().rsplit(' ').next().unwrap().to_owned()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let attempts = 600;
    for _ in 0..attempts {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("not so: {what}");
}

/// A server on free ports.
fn server(role: &str, env: &[(&str, &str)], flags: &[&str]) -> Running {
    let args = [&[role, "--port", "0", "--memcached-port", "0"], flags].concat();
    Running::start_with(env, &args, "listening on http://")
}

fn auxiliary(flags: &[&str]) -> Running {
    server("auxiliary", &[], &[&["--host", "127.0.0.1"], flags].concat())
}

fn master(flags: &[&str]) -> Running {
    server("master", &[], &[&["--host", "127.0.0.1"], flags].concat())
}

#[test]
fn a_cluster_of_processes_serves_and_each_ends_well_on_sigterm() {
    let (one, two) = (auxiliary(&["--name", "one"]), auxiliary(&["--name", "two", "--memory", "1Mi"]));
    let address = |server: &Running| url(server).strip_prefix("http://").unwrap().to_owned();
    let list = format!("one={},two={}@east", address(&one), address(&two));
    let master = master(&["--name", "m", "--auxiliaries", &list]);
    let master_url = url(&master);

    annulus(&["set", "a", "1", "--url", &master_url]).ok();
    assert_eq!(annulus(&["get", "a", "--url", &master_url]).ok(), "1");
    let nodes = annulus(&["nodes", "--url", &master_url]).ok();
    assert!(nodes.contains("one") && nodes.contains("east") && nodes.contains("1.0 MiB"), "{nodes}");

    for server in [master, one, two] {
        assert_eq!(server.end(Signal::SIGTERM), (Some(0), String::new()));
    }
}

#[test]
fn auxiliaries_register_through_a_master_and_leave_it_on_sigterm() {
    let master = server("master", &[SECRET], &["--host", "127.0.0.1"]);
    let master_url = url(&master);
    let join =
        |name: &str| server("auxiliary", &[SECRET], &["--name", name, "--master-address", &master_url]);
    let (one, two) = (join("one"), join("two"));
    let members = || {
        let nodes = annulus(&["nodes", "--json", "--url", &master_url]).ok();
        let nodes: serde_json::Value = serde_json::from_str(&nodes).unwrap();
        (nodes["settled"] == true).then(|| nodes["nodes"].as_array().unwrap().len())
    };
    eventually("both are members", || members() == Some(2));
    annulus(&["set", "a", "1", "--url", &master_url]).ok();
    assert_eq!(two.end(Signal::SIGTERM), (Some(0), String::new()));
    eventually("one is left", || members() == Some(1));
    assert_eq!(annulus(&["get", "a", "--url", &master_url]).ok(), "1");
    assert_eq!(one.end(Signal::SIGTERM), (Some(0), String::new()));
}

#[test]
fn with_redis_the_secret_is_asked_for() {
    for role in ["master", "auxiliary"] {
        let said = annulus(&[role, "--port", "0", "--redis", "127.0.0.1:1"]).fails(2);
        assert!(said.contains("ANNULUS_CLUSTER__SECRET") && said.contains("openssl rand -hex 32"), "{said}");
        let short = [("ANNULUS_CLUSTER__SECRET", "short")];
        let said = annulus_with(&short, &[role, "--port", "0", "--redis", "127.0.0.1:1"]).fails(2);
        assert!(said.contains("5 bytes") && said.contains("openssl rand -hex 32"), "{said}");
        let said = annulus_with(&[SECRET], &[role, "--port", "0", "--redis", "http://h"]).fails(2);
        assert!(said.contains("redis://host:port"), "{said}");
    }
}

#[test]
fn a_folder_for_snapshots_that_cannot_be_had_is_an_error_at_the_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let folder = file.path().join("below-a-file");
    let said = annulus(&["auxiliary", "--port", "0", "--backup-dir", folder.to_str().unwrap()]).fails(1);
    assert!(said.contains("--backup-dir") && said.contains(folder.to_str().unwrap()), "{said}");
}

#[test]
fn the_line_that_says_where_it_listens_has_a_fixed_shape() {
    let named = auxiliary(&["--name", "cache-1"]);
    let port = url(&named).rsplit(':').next().unwrap().to_owned();
    assert_eq!(named.greeting, format!("annulus auxiliary cache-1 listening on http://127.0.0.1:{port}\n"));

    let unnamed = auxiliary(&[]);
    let name = unnamed.greeting.split(' ').nth(2).unwrap().to_owned();
    let port = url(&unnamed).rsplit(':').next().unwrap().to_owned();
    assert!(name.ends_with(&format!(":{port}")) && name.len() > port.len() + 1, "{name}");
}

#[test]
fn a_port_in_use_is_named_together_with_the_way_out() {
    let first = auxiliary(&[]);
    let port = url(&first).rsplit(':').next().unwrap().to_owned();
    let args = ["auxiliary", "--host", "127.0.0.1", "--port", &port, "--log-format", "human"];
    let said = annulus(&args).fails(1);
    assert!(said.contains(&format!("port {port} is in use")) && said.contains("--port"), "{said}");
}
