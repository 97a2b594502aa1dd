//! Configuration as a user meets it: which layer wins, and what each of them may say.

use std::time::Duration;

use annulus_service::config::{
    Consistency, Flag, LogFormat, Resolved, Role, Settings, Sources, load, schema,
};

/// The layers of one test, by default all empty.
struct Layers {
    sources: Sources,
    folder: tempfile::TempDir,
}

fn layers(role: Role) -> Layers {
    let sources = Sources { role, file: None, env: Vec::new(), flags: Vec::new() };
    Layers { sources, folder: tempfile::tempdir().unwrap() }
}

impl Layers {
    fn file(mut self, text: &str) -> Self {
        let path = self.folder.path().join("annulus.toml");
        std::fs::write(&path, text).unwrap();
        self.sources.file = Some(path);
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.push((name.to_owned(), value.to_owned()));
        self
    }

    fn flag(mut self, flag: Flag) -> Self {
        self.sources.flags.push(flag);
        self
    }

    fn resolved(self) -> Resolved {
        load(&self.sources).unwrap_or_else(|errors| panic!("{errors}"))
    }
}

fn origin(resolved: &Resolved, path: &str) -> String {
    resolved.entry(path).unwrap().origin.to_string()
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let file = "[server]\nidle_timeout = '1m'\nwrite_timeout = '1m'\nbody_timeout = '1m'";
    let resolved = layers(Role::Master)
        .file(file)
        .env("ANNULUS_SERVER__WRITE_TIMEOUT", "2m")
        .env("ANNULUS_SERVER__BODY_TIMEOUT", "2m")
        .flag(Flag::named("--body-timeout", "server.body_timeout", "3m"))
        .resolved();
    let server = &resolved.settings().server;
    let minutes = |n: u64| Duration::from_secs(60 * n);
    assert_eq!(server.header_timeout, Duration::from_secs(5));
    assert_eq!(
        [server.idle_timeout, server.write_timeout, server.body_timeout],
        [minutes(1), minutes(2), minutes(3)]
    );
    assert_eq!(origin(&resolved, "server.header_timeout"), "default");
    assert!(origin(&resolved, "server.idle_timeout").starts_with("file "));
    assert_eq!(origin(&resolved, "server.write_timeout"), "environment ANNULUS_SERVER__WRITE_TIMEOUT");
    assert_eq!(origin(&resolved, "server.body_timeout"), "flag --body-timeout");
}

#[test]
fn the_default_settings_are_those_of_the_schema() {
    let resolved = layers(Role::Dev).resolved();
    assert_eq!(*resolved.settings(), Settings::default());
    for (entry, setting) in resolved.entries().zip(schema()) {
        assert_eq!((entry.path, entry.value.as_str()), (setting.path, setting.default));
    }
    let settings = Settings::default();
    assert_eq!(settings.server.host, "0.0.0.0");
    assert_eq!(settings.server.in_flight_bytes, 32 << 20);
    assert_eq!(settings.cluster.consistency, Consistency::Quorum);
    assert_eq!(settings.cluster.replicas, None);
    assert_eq!(settings.cluster.auxiliaries, Vec::<String>::new());
    assert_eq!((settings.master.port, settings.auxiliary.port), (8000, 3001));
    assert_eq!(settings.log.format, LogFormat::Auto);
}

#[test]
fn the_schema_and_the_types_have_the_same_settings() {
    fn paths(within: &str, value: &serde_json::Value) -> Vec<String> {
        let Some(parts) = value.as_object() else { return vec![within.to_owned()] };
        let path = |part: &String| if within.is_empty() { part.clone() } else { format!("{within}.{part}") };
        parts.iter().flat_map(|(part, value)| paths(&path(part), value)).collect()
    }

    let mut typed = paths("", &serde_json::to_value(Settings::default()).unwrap());
    let mut table: Vec<_> = schema().iter().map(|setting| setting.path.to_owned()).collect();
    typed.sort();
    table.sort();
    assert_eq!(typed, table);
}

#[test]
fn settings_written_as_toml_read_back_as_the_same() {
    let mut settings = Settings::default();
    settings.cluster.auxiliaries = vec!["a=10.0.0.1:3001@east".to_owned(), "[::1]:3002".to_owned()];
    settings.cluster.replicas = Some(3);
    settings.cluster.kubernetes.label_selector = Some("app=cache".to_owned());
    settings.cluster.kubernetes.port = 3002;
    settings.auxiliary.memory = 3 << 20;
    settings.server.idle_timeout = Duration::from_millis(1500);
    let resolved = layers(Role::Auxiliary).file(&toml::to_string(&settings).unwrap()).resolved();
    assert_eq!(*resolved.settings(), settings);
}

#[test]
fn a_list_reads_as_an_array_and_as_text() {
    let expected = ["a=10.0.0.1:3001", "10.0.0.2:3001"];
    let array = "[cluster]\nauxiliaries = ['a=10.0.0.1:3001', '10.0.0.2:3001']";
    let text = "[cluster]\nauxiliaries = 'a=10.0.0.1:3001, 10.0.0.2:3001'";
    for file in [array, text] {
        let resolved = layers(Role::Master).file(file).resolved();
        assert_eq!(resolved.settings().cluster.auxiliaries, expected);
        assert_eq!(resolved.entry("cluster.auxiliaries").unwrap().value, expected.join(","));
    }
}

#[test]
fn the_plain_names_of_the_original_count_for_their_role() {
    let plain = |role| {
        layers(role)
            .env("PORT", "9000")
            .env("CACHE_SIZE", "5000")
            .env("REPLICATION_FACTOR", "100")
            .env("HEALTH_CHECK_INTERVAL", "7")
            .env("MASTER_ADDRESS", "http://master:8000")
            .env("BACKUP_DIR", "/data")
            .env("BACKUP_INTERVAL", "10")
            .resolved()
    };
    let master = plain(Role::Master);
    assert_eq!((master.settings().master.port, master.settings().auxiliary.port), (9000, 3001));
    assert_eq!(master.settings().cluster.health_check_interval, Duration::from_secs(7));
    assert_eq!(master.settings().cluster.virtual_nodes, 100);
    assert_eq!(master.settings().auxiliary.cache_size, 0);
    assert_eq!(origin(&master, "master.port"), "environment PORT");

    let auxiliary = plain(Role::Auxiliary);
    assert_eq!((auxiliary.settings().master.port, auxiliary.settings().auxiliary.port), (8000, 9000));
    assert_eq!(auxiliary.settings().auxiliary.cache_size, 5000);
    assert_eq!(auxiliary.settings().cluster, Settings::default().cluster);
    assert_eq!(auxiliary.settings().auxiliary.master_address, ["http://master:8000"]);
    assert_eq!(auxiliary.settings().auxiliary.backup_dir.as_deref(), Some("/data"));
    assert_eq!(auxiliary.settings().auxiliary.backup_interval, Duration::from_secs(10));

    assert_eq!(*plain(Role::Dev).settings(), Settings::default());
}

#[test]
fn whoever_sets_replication_factor_is_told_what_it_does() {
    let resolved = layers(Role::Master).env("REPLICATION_FACTOR", "100").resolved();
    assert_eq!(
        resolved.notes(),
        [
            "REPLICATION_FACTOR=100 means 100 virtual nodes a node on the ring (cluster.virtual_nodes), as in the \
          original; how many copies of a key are kept is cluster.replicas"
        ]
    );
    assert_eq!(layers(Role::Master).resolved().notes(), [""; 0]);
}

#[test]
fn what_must_stay_secret_is_not_shown() {
    let resolved = layers(Role::Master)
        .env("ANNULUS_CLUSTER__SECRET", "open-sesame")
        .env("ANNULUS_CLUSTER__REDIS", "redis://me:open-sesame@redis:6379/0")
        .resolved();
    assert_eq!(resolved.settings().cluster.secret.as_deref(), Some("open-sesame"));
    let shown: Vec<_> = resolved.entries().map(|entry| entry.value.as_str()).collect();
    assert!(!shown.join("\n").contains("sesame"), "{shown:?}");
    assert_eq!(resolved.entry("cluster.redis").unwrap().value, "redis://(hidden)@redis:6379/0");
    assert_eq!(resolved.entry("cluster.secret").unwrap().value, "(hidden)");
}

#[test]
fn the_precise_name_wins_over_the_plain_one() {
    for swap in [false, true] {
        let mut layers = layers(Role::Master).env("PORT", "1").env("ANNULUS_MASTER__PORT", "2");
        if swap {
            layers.sources.env.reverse();
        }
        assert_eq!(layers.resolved().settings().master.port, 2);
    }
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let resolved = layers(Role::Master).env("PORT", "").env("ANNULUS_SERVER__HOST", "").resolved();
    assert_eq!(*resolved.settings(), Settings::default());
}

#[test]
fn variables_of_others_are_passed_over() {
    let resolved = layers(Role::Master)
        .env("PATH", "/bin")
        .env("ANNULUS_CONFIG", "annulus.toml")
        .env("ANNULUS_MASTER_SERVICE_HOST", "10.0.0.1")
        .env("ANNULUS_MASTER_SERVICE_PORT_HTTP", "8000")
        .env("ANNULUS_MASTER_PORT", "tcp://10.0.0.1:8000")
        .env("ANNULUS_MASTER_PORT_8000_TCP_ADDR", "10.0.0.1")
        .resolved();
    assert_eq!(*resolved.settings(), Settings::default());
}
