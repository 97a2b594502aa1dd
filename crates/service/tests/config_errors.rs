//! What a user is told about a configuration that is wrong.

use std::path::PathBuf;

use annulus_service::config::{Flag, Role, Sources, load};

/// The complaint about these layers for a master, without the name of the temporary folder.
fn complaint(file: &str, env: &[(&str, &str)], flags: &[Flag]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("annulus.toml");
    std::fs::write(&path, file).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { role: Role::Master, file: Some(path), env, flags: flags.to_vec() };
    let errors = load(&sources).expect_err("the configuration is wrong");
    errors.to_string().replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let complaint = complaint(
        "[server]\nidle_timeout = 75\nhots = 'a'\n[servr]\nport = 1\n[cluster]\nreplicas = 0",
        &[
            ("PORT", "80000"),
            ("HEALTH_CHECK_INTERVAL", "often"),
            ("ANNULUS_MASTER_PORT", "8000"),
            ("ANNULUS_AUXILIARY__MEMORY", "64MB"),
        ],
        &[
            Flag::set("cluster.consistency", "two"),
            Flag::set("server.port", "1"),
            Flag::named("--log-level", "log.level", "inof"),
        ],
    );
    insta::assert_snapshot!(complaint, @r#"
    11 things are wrong with the configuration:
      - file annulus.toml: server.hots: no such setting; did you mean server.host?
      - file annulus.toml: [servr]: no such section; did you mean [server]?
      - environment ANNULUS_MASTER_PORT: no such setting; did you mean ANNULUS_MASTER__PORT?
      - flag --set server.port: no such setting; did you mean master.port or auxiliary.port or refresher.port?
      - file annulus.toml: cluster.replicas = "0": must be a whole number from 1 to 7, or empty
      - file annulus.toml: server.idle_timeout = "75": a duration needs a unit, as in 75s or 75ms; must be a duration from 10ms to 10m
      - environment PORT: master.port = "80000": must be a whole number from 0 to 65535
      - environment HEALTH_CHECK_INTERVAL: cluster.health_check_interval = "often": a duration reads 250ms, 30s or 5m; must be a duration from 100ms to 1h
      - environment ANNULUS_AUXILIARY__MEMORY: auxiliary.memory = "64MB": a size reads 64Mi, 1Gi or a plain number of bytes; must be a size from 1Mi to 16Ti
      - flag --set cluster.consistency: cluster.consistency = "two": must be `quorum` or `one`
      - flag --log-level: log.level = "inof": must be `off`, `error`, `warn`, `info`, `debug` or `trace`, with exceptions as in `info,annulus_master=debug`
    "#);
}

#[test]
fn one_mistake_is_one_line_whatever_it_holds() {
    let complaint = complaint("", &[("PORT", "80\n80\u{1b}[31m")], &[]);
    insta::assert_snapshot!(complaint, @r#"environment PORT: master.port = "80\n80\u{1b}[31m": must be a whole number from 0 to 65535"#);
}

#[test]
fn a_name_like_no_other_is_answered_with_what_there_is() {
    let complaint = complaint(
        "verbose = true\n[log]\nzebra = 1\n[zebra]\nx = 1",
        &[("ANNULUS_ZEBRA", "1"), ("ANNULUS_LOG__ZEBRA", "1")],
        &[],
    );
    insta::assert_snapshot!(complaint, @r"
    5 things are wrong with the configuration:
      - file annulus.toml: log.zebra: no such setting; there are log.format, log.level
      - file annulus.toml: verbose: no such setting; the sections are server, limits, cluster, master, auxiliary, refresher, log
      - file annulus.toml: [zebra]: no such section; the sections are server, limits, cluster, master, auxiliary, refresher, log
      - environment ANNULUS_ZEBRA: no such setting; the sections are server, limits, cluster, master, auxiliary, refresher, log
      - environment ANNULUS_LOG__ZEBRA: no such setting; there are ANNULUS_LOG__FORMAT, ANNULUS_LOG__LEVEL
    ");
}

#[test]
fn settings_that_contradict_each_other_are_named_with_their_origins() {
    let complaint = complaint(
        "",
        &[("ANNULUS_LIMITS__DEADLINE", "2s"), ("ANNULUS_LIMITS__MAX_DEADLINE", "1s")],
        &[Flag::named("--max-value", "limits.max_value_bytes", "64Mi")],
    );
    insta::assert_snapshot!(complaint, @r"
    2 things are wrong with the configuration:
      - limits.deadline (2s, environment ANNULUS_LIMITS__DEADLINE) must not be longer than limits.max_deadline (1s, environment ANNULUS_LIMITS__MAX_DEADLINE)
      - limits.max_value_bytes (64Mi, flag --max-value) must not be larger than server.in_flight_bytes (32Mi, default)
    ");
}

#[test]
fn members_are_listed_or_kept_in_redis_and_a_password_is_in_no_error() {
    let complaint = complaint(
        "[cluster]\nauxiliaries = ['a=10.0.0.1:3001']",
        &[("ANNULUS_CLUSTER__REDIS", "redis://:sesame@redis:6379")],
        &[],
    );
    insta::assert_snapshot!(complaint, @"cluster.auxiliaries (a=10.0.0.1:3001, file annulus.toml) and cluster.redis (redis://(hidden)@redis:6379, environment ANNULUS_CLUSTER__REDIS) cannot both say who the members are: leave one out");
}

#[test]
fn a_file_that_is_no_toml_is_an_error_that_shows_the_line() {
    let complaint = complaint("[server]\nhost = a", &[("PORT", "x")], &[]);
    insta::assert_snapshot!(complaint, @r#"
    2 things are wrong with the configuration:
      - file annulus.toml: TOML parse error at line 2, column 8
          |
        2 | host = a
          |        ^
        string values must be quoted, expected literal string
      - environment PORT: master.port = "x": must be a whole number from 0 to 65535
    "#);
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let file = Some(PathBuf::from("/nowhere/annulus.toml"));
    let sources = Sources { role: Role::Dev, file, env: Vec::new(), flags: Vec::new() };
    let complaint = load(&sources).expect_err("the file is missing").to_string();
    insta::assert_snapshot!(complaint, @"file /nowhere/annulus.toml: No such file or directory (os error 2)");
}

#[test]
fn a_section_or_a_value_of_the_wrong_shape_is_an_error() {
    let complaint =
        complaint("server = 1\n[limits]\ndeadline = { seconds = 1 }\nmax_bulk_items = [1, 2]", &[], &[]);
    insta::assert_snapshot!(complaint, @r#"
    3 things are wrong with the configuration:
      - file annulus.toml: server: no such setting; it is a section, to be written [server]
      - file annulus.toml: limits.deadline = "{…}": a duration reads 250ms, 30s or 5m; must be a duration from 1ms to 2s
      - file annulus.toml: limits.max_bulk_items = "1,2": must be a whole number from 1 to 100000
    "#);
}

#[test]
fn kubernetes_needs_a_selector_and_keeps_no_company() {
    let without = complaint("", &[("ANNULUS_CLUSTER__KUBERNETES__STATEFULSET", "cache")], &[]);
    insta::assert_snapshot!(without, @"cluster.kubernetes.statefulset (cache, environment ANNULUS_CLUSTER__KUBERNETES__STATEFULSET) needs cluster.kubernetes.label_selector, which says what its pods are, as in app=cache");
    let file = "[cluster]\nredis = 'h:1'\n[cluster.kubernetes]\nlabel_selector = 'app=cache'";
    let both = complaint(file, &[], &[]);
    insta::assert_snapshot!(both, @"cluster.redis ((hidden), file annulus.toml) and cluster.kubernetes.label_selector (app=cache, file annulus.toml) cannot both say who the members are: leave one out");
    let misspelt = complaint("[cluster.kubernetes]\nlabel_selektor = 'app=cache'\nport = 0", &[], &[]);
    insta::assert_snapshot!(misspelt, @r#"
    2 things are wrong with the configuration:
      - file annulus.toml: cluster.kubernetes.label_selektor: no such setting; did you mean cluster.kubernetes.label_selector?
      - file annulus.toml: cluster.kubernetes.port = "0": must be a whole number from 1 to 65535
    "#);
}
