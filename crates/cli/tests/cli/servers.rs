//! `annulus master` and `annulus auxiliary`: one server a process.

use nix::sys::signal::Signal;

use crate::support::{Running, annulus};

/// The URL in the line that programs wait for.
fn url(server: &Running) -> String {
    server.greeting.trim().rsplit(' ').next().unwrap().to_owned()
}

fn auxiliary(flags: &[&str]) -> Running {
    let args = [&["auxiliary", "--host", "127.0.0.1", "--port", "0"], flags].concat();
    Running::start(&args, "listening on http://")
}

fn master(flags: &[&str]) -> Running {
    let args = [&["master", "--host", "127.0.0.1", "--port", "0"], flags].concat();
    Running::start(&args, "listening on http://")
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
