//! What the command line says without any cluster.

use std::net::TcpListener;

use crate::support::{annulus, annulus_with};

#[test]
fn help_says_what_there_is() {
    for command in [
        "",
        "dev",
        "master",
        "auxiliary",
        "refresher",
        "get",
        "set",
        "del",
        "nodes",
        "backup",
        "stats",
        "health",
        "config",
    ] {
        let args: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let name = if command.is_empty() { "annulus" } else { command };
        insta::assert_snapshot!(name, annulus(&args).ok());
    }
    assert!(annulus(&["bench", "--help"]).ok().contains("[env: ANNULUS_URL]"));
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = annulus(&["completions", shell]).ok();
        assert!(script.contains("annulus") && script.contains("port-base"), "{shell}");
    }
    assert!(annulus(&["completions", "csh"]).fails(2).contains("possible values"));
}

#[test]
fn config_show_says_where_each_value_came_from() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[limits]\ndeadline = \"500ms\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    let env = [("ANNULUS_CONFIG", path), ("PORT", "8100"), ("ANNULUS_URL", "http://127.0.0.1:1")];
    let shown = annulus_with(&env, &["config", "show", "--set", "log.level=debug"]).ok();
    let row = |setting: &str| {
        let line = shown.lines().find(|line| line.starts_with(setting)).unwrap();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(row("limits.deadline"), format!("500ms file {path}"));
    assert_eq!(row("master.port"), "8100 environment PORT");
    assert_eq!(row("log.level"), "debug flag --set log.level");
    assert_eq!(row("auxiliary.memory"), "256Mi default");

    let json = annulus_with(&env, &["config", "show", "--json"]).ok();
    let entries: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let port = entries.iter().find(|entry| entry["path"] == "master.port").unwrap();
    assert_eq!((&port["value"], &port["origin"]), (&"8100".into(), &"environment PORT".into()));
}

#[test]
fn dev_has_defaults_of_its_own_and_says_so() {
    let shown = annulus(&["config", "show", "--role", "dev", "--set", "log.level=info"]).ok();
    let line = |setting: &str| shown.lines().find(|line| line.starts_with(setting)).unwrap().to_owned();
    assert!(line("server.host").contains("127.0.0.1"));
    assert!(line("auxiliary.memory").ends_with("default of annulus dev"));
    assert!(line("log.level").ends_with("flag --set log.level"));
}

#[test]
fn all_that_is_wrong_with_the_configuration_is_said_at_once_with_exit_code_2() {
    for command in [&["config", "check"][..], &["auxiliary", "--port", "0"], &["dev", "--port-base", "0"]] {
        let args = [command, &["--set", "server.hots=1", "--set", "limits.deadline=5"]].concat();
        let said = annulus(&args).fails(2);
        assert!(said.contains("did you mean server.host?"), "{said}");
        assert!(said.contains("a duration needs a unit"), "{said}");
    }
    assert_eq!(annulus(&["config", "check"]).ok(), "the configuration is valid\n");
    let missing = annulus(&["config", "check", "--config", "/no/such.toml"]).fails(2);
    assert!(missing.contains("/no/such.toml"), "{missing}");
    assert!(annulus(&["config", "check", "--set", "x"]).fails(2).contains("SECTION.NAME=VALUE"));
}

#[test]
fn empty_variables_count_as_absent() {
    let env = [("ANNULUS_CONFIG", ""), ("ANNULUS_URL", ""), ("ANNULUS_LOG__LEVEL", "")];
    annulus_with(&env, &["config", "check"]).ok();
    assert!(annulus_with(&env, &["bench", "--output", "x.pdf"]).fails(2).contains("must end in"));
}

#[test]
fn a_name_that_means_something_else_than_it_seems_is_explained() {
    let env = [("REPLICATION_FACTOR", "100")];
    let ran = annulus_with(&env, &["config", "check"]);
    assert!(ran.stderr.contains("100 virtual nodes"), "{ran:?}");
    let show = annulus_with(&env, &["config", "show", "--role", "auxiliary"]);
    assert_eq!(show.stderr, "");
}

#[test]
fn when_no_master_answers_the_error_says_what_to_do() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    for command in [
        &["get", "a"][..],
        &["set", "a", "b"],
        &["del", "a"],
        &["nodes"],
        &["stats"],
        &["health"],
        &["bench", "--quiet"],
    ] {
        let said = annulus_with(&[("ANNULUS_URL", &nobody)], command).fails(1);
        assert!(said.contains(&nobody), "{command:?}: {said}");
        assert!(said.contains("annulus dev") && said.contains("--url"), "{command:?}: {said}");
    }
}

#[test]
fn what_is_wrong_with_the_command_line_is_exit_code_2() {
    for (args, says) in [
        (&["set", "a", "b", "--ttl", "soon"][..], "a time to live is whole seconds"),
        (&["set", "a", "b", "--ttl", "-5"], "a time to live is whole seconds"),
        (&["set", "a", "b", "--ttl", "315360001"], "ten years"),
        (&["bench", "--ttl", "-5"], "a time to live is whole seconds"),
        (&["get", "a", "--timeout", "5"], "a duration needs a unit"),
        (&["bench", "--timeout", "5"], "a duration needs a unit"),
        (&["bench", "--duration", "5"], "a duration needs a unit"),
        (&["bench", "--trace", "/no/such", "--keys", "5"], "cannot be used with"),
        (&["bench", "--trace", "/no/such"], "cannot read the trace /no/such"),
        (&["get", ""], "1 to 250 bytes"),
        (&["get", &"k".repeat(251)], "1 to 250 bytes"),
        (&["set", "..", "x"], "choose another key"),
        (&["set", "a", "@/no/such"], "cannot read /no/such"),
        (&["set", "a", "b", "--content-type", "a\nb"], "Content-Type"),
        (&["set", "a", "b", "--if-match", "new"], "the number that `annulus set` prints"),
        (&["get", "a", "--url", "https://a"], "no TLS"),
        (&["get", "a", "--url", "a b"], "is no URL"),
        (&["dev", "--masters", "0"], "1..=64"),
        (&["dev", "--port-base", "65100"], "0..=65000"),
        (&["dev", "--port-base", "0", "--auxiliaries", "1", "--replicas", "2"], "cluster.replicas is 2"),
        (&["master", "--port", "80000"], "from 0 to 65535"),
        (&["master", "--port", "0"], "--auxiliaries a=10.0.0.1:3001"),
        (&["master", "--port", "0", "--auxiliaries", "a"], "[name=]host:port"),
        (&["bench", "--read-ratio", "0.9", "--delete-ratio", "0.9"], "more than 1 together"),
        (&["bench", "--pipeline", "2"], "--pipeline needs --protocol memcached"),
        (&["bench", "--protocol", "memcached", "--url", "http://a:1"], "memcached://HOST:PORT"),
    ] {
        let said = annulus(args).fails(2);
        assert!(said.contains(says), "{args:?}: {said}");
    }
}
