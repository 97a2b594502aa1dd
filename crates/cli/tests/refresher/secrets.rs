//! What nobody may see, and replicas that stand alone.

use annulus_testkit::{Process, eventually};
use tokio::process::Command;

use crate::support::{BINARY, Group, LIMIT, NAME, Reply, Shape, Upstream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_reach_the_upstream_and_no_log_health_or_configuration() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "file-secret\n").unwrap();
    let dataset = format!(
        "timeout = '2s'\n[datasets.headers]\nAuthorization = {{ env = 'TOKEN', prefix = 'Bearer ' }}\n\
         X-Key = {{ file = '{}' }}\nX-Plain = 'plain-secret'",
        file.path().display()
    );
    let env = vec![("TOKEN".to_owned(), "env-secret".to_owned())];
    let flags = ["--log-level", "trace", "--set", "refresher.redis_password=redis-secret"];
    let flags = flags.map(str::to_owned).to_vec();
    let shape = Shape { dataset, env, flags, interval: "300ms", ..Shape::default() };
    let mut group = Group::new(shape).await;
    let set = crate::support::redis(group.redis.address(), "CONFIG SET requirepass redis-secret").await;
    assert_eq!(set, "+OK\r\n");
    group.add(group.redis.address()).await;
    group.ready().await;
    let head = group.upstream.calls()[0].head.to_ascii_lowercase();
    for sent in
        ["authorization: bearer env-secret\r\n", "x-key: file-secret\r\n", "x-plain: plain-secret\r\n"]
    {
        assert!(head.contains(sent), "{head}");
    }
    let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n";
    group.upstream.answer(Reply::Raw(answer.to_owned()));
    eventually("it fails", LIMIT, async || group.dataset(0).await["failures"].as_u64() >= Some(1)).await;
    let shown = format!("{}{}", group.replicas[0].log(), group.health(0).await);
    assert!(shown.contains("401 Unauthorized"));
    for secret in ["env-secret", "file-secret", "plain-secret", "redis-secret"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[tokio::test]
async fn the_configuration_is_shown_without_its_secrets_and_with_its_origins() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let text = "[[datasets]]\nname = 'eu-rates'\nurl = 'https://user:url-secret@api.example.org/v1?key=url-secret'\n\
                [datasets.headers]\nX = 'plain-secret'\nAuthorization = { env = 'TOKEN' }\n";
    std::fs::write(file.path(), text).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["config", "show", "--role", "refresher", "--config"]).arg(file.path()).env_clear();
    command.env("TOKEN", "env-secret").env("EU_RATES_REFRESH_INTERVAL", "90");
    command.env("REDIS_ADDR", "redis://:redis-secret@cache:6379/1").env("LEADERSHIP_TTL", "1m");
    let shown = command.output().await.unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success(), "{text}{}", String::from_utf8_lossy(&shown.stderr));
    let line = |path: &str| {
        text.lines().find(|line| line.starts_with(path)).unwrap_or_else(|| panic!("{path}\n{text}"))
    };
    assert!(line("datasets.eu-rates.refresh_interval").contains("90s"));
    assert!(line("datasets.eu-rates.refresh_interval").ends_with("environment EU_RATES_REFRESH_INTERVAL"));
    assert!(line("datasets.eu-rates.url").contains("https://api.example.org/v1?…"));
    assert!(line("refresher.leadership_ttl").contains("1m"));
    assert!(line("refresher.redis ").contains("redis://(hidden)@cache:6379/1"));
    assert!(!text.contains("-secret"), "{text}");
}

#[tokio::test]
async fn what_is_wrong_is_said_before_anything_starts() {
    let fails = async |arguments: &[&str], text: &str| {
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), text).unwrap();
        let mut command = Command::new(BINARY);
        command.args(["refresher", "--port", "0", "--config"]).arg(file.path()).args(arguments).env_clear();
        let ran = command.output().await.unwrap();
        assert_eq!(ran.status.code(), Some(2));
        String::from_utf8(ran.stderr).unwrap()
    };
    let dataset = "[[datasets]]\nname = 'd'\nurl = 'http://h/'\n";
    assert!(fails(&[], dataset).await.contains("ENABLE_LEADER_ELECTION=false"));
    let redis = ["--redis", "h:1"];
    assert!(fails(&redis, &format!("{dataset}key = 'a{{'")).await.contains("datasets.d.key"));
    assert!(fails(&redis, &format!("{dataset}urll = 'x'")).await.contains("did you mean url?"));
    assert!(fails(&redis, &format!("{dataset}ttl = '1m'")).await.contains("longer than refresh_interval"));
    assert!(fails(&redis, &format!("{dataset}{dataset}")).await.contains("the same name"));
    assert!(fails(&redis, "[datasets]\nname = 'd'").await.contains("[[datasets]]"));
    assert!(
        fails(&redis, &format!("{dataset}headers.X = {{ env = 'NONE' }}")).await.contains("NONE is not set")
    );
    let check = ["--redis", "h:1", "--leadership-ttl", "10s", "--leadership-check-interval", "6s"];
    assert!(fails(&check, dataset).await.contains("at most half of"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_election_each_replica_refreshes_for_itself() {
    let upstream = Upstream::start().await;
    let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    let url = format!("http://{}/", upstream.address());
    let text = format!("[[datasets]]\nname = '{NAME}'\nurl = '{url}'\nrefresh_interval = '500ms'\n");
    std::fs::write(file.path(), text).unwrap();
    let args = ["refresher", "--config", &file.path().display().to_string()].map(str::to_owned);
    let env = [("ENABLE_LEADER_ELECTION".to_owned(), "false".to_owned())];
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Process::start_with(BINARY, &args, &env).await.unwrap());
    }
    for replica in &replicas {
        replica.ready().await;
        let health = replica.client().get("/health").await.json();
        assert_eq!(
            (&health["is_leader"], &health["redis_connected"]),
            (&true.into(), &true.into()),
            "{health}"
        );
    }
    eventually("both go on", LIMIT, async || upstream.count() >= 8).await;
}
