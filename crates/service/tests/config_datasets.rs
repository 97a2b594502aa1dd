//! Datasets in the configuration, as a user meets them.

use std::time::Duration;

use annulus_service::config::{DatasetSettings, HeaderSource, Resolved, Role, Sources, dataset_schema, load};

fn read(role: Role, text: &str, env: &[(&str, &str)]) -> Result<Resolved, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("annulus.toml");
    std::fs::write(&path, text).unwrap();
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { role, file: Some(path), env, flags: Vec::new() };
    load(&sources).map_err(|errors| errors.to_string())
}

fn datasets(text: &str, env: &[(&str, &str)]) -> Vec<DatasetSettings> {
    read(Role::Refresher, text, env).unwrap_or_else(|errors| panic!("{errors}")).settings().datasets.clone()
}

const RATES: &str = "[[datasets]]\nname = 'eu-rates'\nurl = 'https://h/v1'\n";

#[test]
fn a_dataset_needs_a_name_and_a_url_and_has_the_defaults_of_the_table() {
    let all = datasets(RATES, &[]);
    assert_eq!(all.len(), 1);
    let rates = &all[0];
    assert_eq!(
        (rates.name.as_str(), rates.url.0.as_str(), rates.key.as_str()),
        ("eu-rates", "https://h/v1", "eu-rates")
    );
    assert_eq!((rates.refresh_interval, rates.timeout), (Duration::from_secs(300), Duration::from_secs(10)));
    assert_eq!((rates.max_bytes, rates.ttl), (16 << 20, Duration::from_secs(86_400)));
    let resolved = read(Role::Refresher, RATES, &[]).unwrap();
    let shown: Vec<_> = resolved.dataset_entries().map(|(path, value, _)| (path, value)).collect();
    for field in dataset_schema().iter().filter(|field| !["name", "url", "key"].contains(&field.name)) {
        let entry = (format!("datasets.eu-rates.{}", field.name), field.default.to_owned());
        assert!(shown.contains(&entry), "{entry:?} {shown:?}");
    }
}

#[test]
fn the_environment_changes_the_interval_of_a_refresher_and_of_nobody_else() {
    let env = [("EU_RATES_REFRESH_INTERVAL", "90")];
    assert_eq!(datasets(RATES, &env)[0].refresh_interval, Duration::from_secs(90));
    let of_dev = read(Role::Dev, RATES, &env).unwrap();
    assert_eq!(of_dev.settings().datasets[0].refresh_interval, Duration::from_secs(300));
    let error = read(Role::Refresher, RATES, &[("EU_RATES_REFRESH_INTERVAL", "soon")]).unwrap_err();
    assert!(
        error.contains("environment EU_RATES_REFRESH_INTERVAL: datasets.eu-rates.refresh_interval"),
        "{error}"
    );
}

#[test]
fn the_plain_names_of_the_original_count_for_a_refresher() {
    let env = [
        ("PORT", "7001"),
        ("REDIS_ADDR", "cache:6379"),
        ("LEADERSHIP_TTL", "60"),
        ("LEADERSHIP_CHECK_INTERVAL", "10s"),
        ("ENABLE_LEADER_ELECTION", "false"),
    ];
    let resolved = read(Role::Refresher, "", &env).unwrap();
    let refresher = &resolved.settings().refresher;
    assert_eq!((refresher.port, refresher.redis.as_deref()), (7001, Some("cache:6379")));
    assert_eq!(refresher.leadership_ttl, Duration::from_secs(60));
    assert_eq!(refresher.leadership_check_interval, Duration::from_secs(10));
    assert!(!refresher.enable_leader_election);
    assert_eq!(read(Role::Master, "", &env[..1]).unwrap().settings().refresher.port, 7000);
}

#[test]
fn headers_come_from_the_file_the_environment_or_another_file_and_are_never_shown() {
    let text = format!(
        "{RATES}[datasets.headers]\nAccept = 'text/csv'\nAuthorization = {{ env = 'TOKEN', prefix = 'Bearer ' }}\n\
         X-Key = {{ file = '/run/key' }}\n"
    );
    let all = datasets(&text, &[("TOKEN", "topsecret")]);
    let headers = &all[0].headers;
    assert_eq!(headers["Accept"], HeaderSource::Value("text/csv".to_owned()));
    assert_eq!(headers["Authorization"], HeaderSource::Value("Bearer topsecret".to_owned()));
    let file = HeaderSource::File { path: "/run/key".to_owned(), prefix: String::new() };
    assert_eq!(headers["X-Key"], file);
    assert!(!format!("{all:?}").contains("topsecret"));
    let resolved = read(Role::Refresher, &text, &[("TOKEN", "topsecret")]).unwrap();
    let shown = resolved
        .dataset_entries()
        .map(|(path, value, _)| format!("{path}={value}"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(shown.contains("datasets.eu-rates.headers.Authorization=(hidden)"), "{shown}");
    assert!(!shown.contains("topsecret"));
}

#[test]
fn a_url_is_shown_without_user_and_query() {
    let text = RATES.replace("https://h/v1", "https://user:pw@h:8443/v1?key=topsecret");
    let all = datasets(&text, &[]);
    assert_eq!(all[0].url.shown(), "https://h:8443/v1?…");
    assert!(!format!("{all:?}").contains("topsecret") && !format!("{all:?}").contains("pw"));
}

#[test]
fn all_mistakes_are_named_with_their_place() {
    let wrong = |more: &str| read(Role::Refresher, &format!("{RATES}{more}"), &[]).unwrap_err();
    for (more, said) in [
        ("intervall = '5m'", "datasets.eu-rates.intervall: no such field"),
        ("refresh_intervall = '5m'", "did you mean refresh_interval?"),
        ("timeout = '5'", "datasets.eu-rates.timeout: a duration needs a unit"),
        ("ttl = '5m'", "datasets.eu-rates.ttl: must be longer than refresh_interval"),
        ("items = 'rates'", "must be a JSON pointer"),
        ("items = '/rates'", "only with a key that has placeholders"),
        ("headers = 'x'", "must be a table"),
        ("headers.'a b' = 'x'", "is no name of a header"),
        ("headers.X = { env = 'NONE' }", "the environment variable NONE is not set"),
        ("headers.X = { env = 'A', file = 'b' }", "must be a text"),
        ("[[datasets]]\nname = 'EU_rates'\nurl = 'http://h'", "another dataset has the same name"),
        ("[[datasets]]\nname = 'a b'\nurl = 'http://h'", "must be 1 to 64 letters"),
        ("[[datasets]]\nname = 'x'", "datasets.x.url: must be given"),
        ("[[datasets]]\nurl = 'http://h'", "datasets.#2.name"),
    ] {
        let errors = wrong(more);
        assert!(errors.contains(said), "{more}: {errors}");
    }
    let errors = read(Role::Refresher, "[datasets]\nname = 'x'", &[]).unwrap_err();
    assert!(errors.contains("under [[datasets]]"), "{errors}");
}
