//! Upstreams that fail in every way: the last good data stays, calls keep to the backoff, and one line says why.

use std::time::Duration;

use annulus_testkit::eventually;
use tokio::time::Instant;

use crate::support::{Group, LIMIT, NAME, Notices, Reply, Shape, Upstream};

const BACKOFF: Duration = Duration::from_millis(400);

fn shape() -> Shape {
    let dataset = "timeout = '500ms'\nmax_bytes = '1Mi'\nbackoff = '400ms'\nmax_backoff = '2s'\n\
                   key = 'numbers/{id}'\nitems = '/all'";
    Shape { interval: "300ms", dataset: dataset.to_owned(), ..Shape::default() }
}

fn good(call: u64) -> Reply {
    Reply::Json(format!("{{\"all\":[{{\"id\":\"a\",\"call\":{call}}},{{\"id\":\"b\"}}]}}"))
}

/// Two replicas with good data, and an upstream that has failed so from then on, `times` times.
async fn fails(reply: Reply, times: usize, why: &str) -> Group {
    let mut group = Group::new(shape()).await;
    group.upstream.answers(good);
    for _ in 0..2 {
        group.add(group.redis.address()).await;
    }
    group.ready().await;
    let leader = group.leader().await;
    group.upstream.answer(reply);
    eventually("it has failed", LIMIT, async || {
        group.dataset(leader).await["failures"].as_u64() >= Some(times as u64)
    })
    .await;
    says_why(&group, leader, why).await;
    keeps_to_the_backoff(&group, times);
    group
}

/// One line in `/health`, one for each failure in the log, and everybody serves what they have.
async fn says_why(group: &Group, leader: usize, why: &str) {
    let dataset = group.dataset(leader).await;
    let said = dataset["last_error"].as_str().unwrap_or_default();
    assert!(said.contains(why), "{dataset}");
    let failures = dataset["failures"].as_u64().unwrap() as usize;
    let log = group.replicas[leader].log();
    let lines = log.lines().filter(|line| line.contains("not refreshed") && line.contains(why)).count();
    assert!(lines >= 1 && lines.abs_diff(failures) <= 1, "{lines} lines of {failures} failures:\n{log}");
    for replica in &group.replicas {
        let item = replica.client().get(format!("/datasets/{NAME}/a")).await;
        assert_eq!(item.status, 200, "{}", item.text());
    }
}

/// The pauses between the last calls at least half of what the backoff says, for up to half is taken off at random.
fn keeps_to_the_backoff(group: &Group, failures: usize) {
    let calls = group.upstream.calls();
    let failed = &calls[calls.len() - failures..];
    for (at, pair) in failed.windows(2).enumerate() {
        let least = (BACKOFF * 2_u32.pow(at as u32)).min(Duration::from_secs(2)) / 2;
        let pause = pair[1].at - pair[0].at;
        assert!(pause >= least, "the pause {at} was {pause:?}");
    }
}

/// Once the upstream is well, everybody has new data and nobody complains.
async fn recovers(group: &Group) {
    let before = group.all_above(0, LIMIT).await;
    group.upstream.answers(good);
    group.each_above(before, LIMIT).await;
    let leader = group.leader().await;
    eventually("all is well", LIMIT, async || group.dataset(leader).await["last_error"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_answers_500_is_left_alone_ever_longer() {
    let reply = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
    let group = fails(Reply::Raw(reply.to_owned()), 4, "500 Internal Server Error").await;
    recovers(&group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_json_changes_nothing() {
    let group = fails(Reply::Json("{\"all\":[{\"id\":\"a\"},".to_owned()), 2, "not JSON").await;
    recovers(&group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_which_one_item_has_no_name_changes_nothing() {
    let group =
        fails(Reply::Json("{\"all\":[{\"id\":\"a\"},{}]}".to_owned()), 2, "no id that could name it").await;
    recovers(&group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_never_ends_is_given_up() {
    let group = fails(Reply::Endless(1, Duration::from_millis(20)), 2, "did not answer whole within").await;
    recovers(&group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_a_hundred_megabytes_is_given_up_at_the_limit() {
    let declared = "HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n";
    let group = fails(Reply::Raw(declared.to_owned()), 2, "over max_bytes").await;
    let leader = group.leader().await;
    let before = group.replicas[leader].usage().peak_rss_bytes;
    group.upstream.answer(Reply::Endless(1 << 20, Duration::ZERO));
    let calls = group.upstream.count();
    eventually("it was asked again", LIMIT, async || group.upstream.count() > calls + 1).await;
    let grown = group.replicas[leader].usage().peak_rss_bytes.saturating_sub(before);
    println!("without a declared length: memory grew by {grown} bytes");
    assert!(grown < 32 << 20, "{grown}");
    recovers(&group).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_breaks_off_or_is_not_there_is_waited_for() {
    let group =
        fails(Reply::Raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".to_owned()), 2, "broke off").await;
    recovers(&group).await;

    let mut group = Group::new(shape()).await;
    group.upstream.answers(good);
    group.add(group.redis.address()).await;
    group.ready().await;
    let before = group.revision(0).await;
    let address = group.upstream.address();
    group.upstream = Upstream::start().await;
    eventually("it is missed", LIMIT, async || group.dataset(0).await["failures"].as_u64() >= Some(2)).await;
    says_why(&group, 0, "cannot connect to 127.0.0.1").await;
    group.upstream = Upstream::start_on(address).await;
    group.upstream.answers(good);
    group.each_above(before, LIMIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_asks_to_be_left_alone_is() {
    let reply = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n";
    let mut group = Group::new(shape()).await;
    group.upstream.answers(good);
    group.add(group.redis.address()).await;
    group.ready().await;
    group.upstream.answer(Reply::Raw(reply.to_owned()));
    eventually("it has asked for it", LIMIT, async || group.dataset(0).await["failures"] == 1).await;
    let calls = group.upstream.count();
    eventually("it is asked again", LIMIT, async || group.upstream.count() > calls).await;
    let calls = group.upstream.calls();
    let pause = calls[calls.len() - 1].at - calls[calls.len() - 2].at;
    assert!(pause >= Duration::from_secs(3), "{pause:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_the_same_is_published_once_whether_the_upstream_says_so_or_not() {
    for tagged in [true, false] {
        let body = "{\"all\":{\"a\":1,\"b\":2}}".to_owned();
        let reply = if tagged { Reply::Tagged(body, "v1".to_owned()) } else { Reply::Json(body) };
        let mut group = Group::new(shape()).await;
        group.upstream.answer(reply);
        let notices = Notices::listen(group.redis.address()).await;
        for _ in 0..2 {
            group.add(group.redis.address()).await;
        }
        group.ready().await;
        let first = group.all_above(0, LIMIT).await;
        let calls = group.upstream.count();
        eventually("it was asked some times", LIMIT, async || group.upstream.count() >= calls + 5).await;
        let leader = group.leader().await;
        assert_eq!(group.all_above(0, LIMIT).await, first);
        assert_eq!(notices.rising(), [first]);
        // It is fresh all the same, and the next leader goes on with what the upstream said.
        assert_eq!(group.dataset(leader).await["age_seconds"], 0);
        group.replicas[leader].kill();
        let next = group.leader().await;
        let calls = group.upstream.count();
        eventually("the next leader asks", LIMIT, async || group.upstream.count() > calls).await;
        let head = group.upstream.calls().last().unwrap().head.to_ascii_lowercase();
        assert_eq!(head.contains("if-none-match: \"v1\""), tagged, "{head}");
        assert_eq!(group.revision(next).await, first);
        let unchanged = group.metrics(next).await;
        let series = format!("annulus_refresh_total{{dataset=\"{NAME}\",outcome=\"unchanged\"}}");
        eventually("it found nothing new", LIMIT, async || group.metrics(next).await.value(&series) >= 1.0)
            .await;
        assert!(
            unchanged.value(&format!("annulus_refresh_total{{dataset=\"{NAME}\",outcome=\"published\"}}"))
                < 1.0
        );
        assert_eq!(notices.rising(), [first]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_follow_one_another_at_the_interval_also_over_a_change_of_leaders() {
    let shape = Shape { interval: "2s", ttl: "1s", check: "200ms", ..Shape::default() };
    let mut group = Group::start(shape, 2).await;
    let start = Instant::now();
    eventually("two calls", LIMIT, async || group.upstream.count() >= 2).await;
    let leader = group.leader().await;
    let status = group.replicas[leader].terminate(LIMIT).await;
    assert!(status.success());
    eventually("four calls", LIMIT, async || group.upstream.count() >= 4).await;
    let calls = group.upstream.calls();
    for pair in calls.windows(2) {
        // What the store knows of the last call is some milliseconds younger or older than the call.
        assert!(pair[1].at - pair[0].at >= Duration::from_millis(1_900), "{:?}", pair[1].at - pair[0].at);
    }
    assert!(start.elapsed() >= Duration::from_secs(5), "{:?}", start.elapsed());
}
