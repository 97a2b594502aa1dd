//! The exchanges, on a server in memory.

use proptest::prelude::*;

use super::exchange::{Case, SCRIPTS, is_answered};
use super::invariants::check_stream;
use super::reference::{Connection, Reference};
use super::{Limits, Now};

const NOW: Now = Now { unix_ms: 1_800_000_000_000 };

#[test]
fn every_exchange_goes_as_it_is_written() {
    let mut failures = Vec::new();
    for case in SCRIPTS.iter().flat_map(|(_, script)| Case::all(script)) {
        let (mut server, mut connection) = (Reference::default(), Connection::new(Limits::default()));
        failures.extend(case.run(|bytes| connection.answer(bytes, &mut server, NOW)).err());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn an_exchange_is_over_when_all_answers_have_come() {
    assert!(is_answered(b"get a\r\nmn\r\n", b"END\r\nMN\r\n"));
    assert!(!is_answered(b"mn\r\nmn\r\n", b"MN\r\n"), "the first of two came alone");
    assert!(is_answered(b"mn\r\nmn\r\n", b"MN\r\nMN\r\n"));
    assert!(!is_answered(b"mn\r\n", b"MN\r"));
}

/// Requests and what is nearly one, put together from pieces that mean something.
fn streams() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "get",
        "gets",
        "gat",
        "set",
        "add",
        "append",
        "cas",
        "incr",
        "delete",
        "touch",
        "flush_all",
        "stats",
        "mg",
        "ms",
        "md",
        "ma",
        "mn",
        "me",
        "a",
        "b",
        "Zm9v",
        "0",
        "1",
        "2",
        "5",
        "10",
        "100",
        "-1",
        "4294967296",
        "noreply",
        "v",
        "k",
        "c",
        "t",
        "q",
        "I",
        "Oabc",
        "N30",
        "R100",
        "T0",
        "ME",
        "MA",
        "MD",
        "C1",
        "E7",
        "D2",
        "J9",
        "F3",
        "x",
        "s",
        "detail",
        "dump",
        "on",
    ]);
    let separators =
        prop::sample::select(vec![" ", " ", " ", " ", "  ", "\r\n", "\r\n", "\n", "\r", "\0", ""]);
    prop::collection::vec((words, separators), 0..60)
        .prop_map(|pieces| {
            pieces.into_iter().flat_map(|(word, separator)| [word, separator]).collect::<String>()
        })
        .prop_map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn requests_are_answered_the_same_however_the_stream_is_cut(
        stream in streams(),
        cuts in prop::collection::vec(1..40_usize, 1..8),
    ) {
        check_stream(&stream, &cuts, Limits::default()).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn any_bytes_are_taken_in_step_by_step(
        stream in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(1..40_usize, 1..8),
    ) {
        check_stream(&stream, &cuts, Limits { max_value_bytes: 100, max_line_bytes: 200 })
            .map_err(TestCaseError::fail)?;
    }
}

#[test]
fn every_exchange_is_answered_the_same_byte_by_byte_and_cut_at_every_byte() {
    for case in SCRIPTS.iter().flat_map(|(_, script)| Case::all(script)) {
        let whole = case.sent();
        check_stream(&whole, &[1], Limits::default()).unwrap();
        for cut in 1..whole.len() {
            check_stream(&whole, &[cut, whole.len()], Limits::default()).unwrap();
        }
    }
}

/// A server, a connection to it and a clock that the test moves.
struct Session {
    server: Reference,
    connection: Connection,
    now: Now,
}

impl Session {
    fn new() -> Self {
        Self { server: Reference::default(), connection: Connection::new(Limits::default()), now: NOW }
    }

    /// Sends lines and compares all that comes back, line ends left out.
    #[track_caller]
    fn check(&mut self, sent: &str, expected: &str) {
        let sent_bytes = format!("{sent}\n").replace('\n', "\r\n").into_bytes();
        let came = self.connection.answer(&sent_bytes, &mut self.server, self.now);
        let came = String::from_utf8_lossy(&came).replace("\r\n", "\n");
        assert_eq!(came.trim_end_matches('\n'), expected, "{sent}");
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now.unix_ms += ms;
    }
}

#[test]
fn an_item_lives_until_its_time_is_over_and_a_touch_gives_it_more() {
    let mut session = Session::new();
    session.check("set a 0 1 1\nx\nset b 0 1 1\ny", "STORED\nSTORED");
    session.wait_ms(999);
    session.check("mg a t\ntouch b 10\nget a b", "HD t1\nTOUCHED\nVALUE a 0 1\nx\nVALUE b 0 1\ny\nEND");
    session.wait_ms(1);
    session.check("get a b\nadd a 0 0 1\nz", "VALUE b 0 1\ny\nEND\nSTORED");
    session.wait_ms(9_998);
    session.check("mg b t", "HD t1");
    session.wait_ms(1);
    session.check("mg b t\nincr b 1", "EN\nNOT_FOUND");
}

#[test]
fn a_date_ends_an_item_when_it_comes() {
    let mut session = Session::new();
    session.check("ms a 1 T1800000010\nx\nmg a t", "HD\nHD t10");
    session.wait_ms(9_999);
    session.check("mg a t", "HD t1");
    session.wait_ms(1);
    session.check("mg a t", "EN");
}

#[test]
fn append_and_counting_keep_the_time_that_is_left() {
    let mut session = Session::new();
    session.check("ms a 1 T10\n1", "HD");
    session.wait_ms(4_000);
    session.check("append a 0 99 1\n0\nincr a 5\nmg a t v", "STORED\n15\nVA 2 t6\n15");
}

#[test]
fn a_client_wins_once_less_is_left_than_it_asked_for() {
    let mut session = Session::new();
    session.check("ms a 1 T30\nx\nmg a R20", "HD\nHD");
    session.wait_ms(10_000);
    session.check("mg a R20 t", "HD t20");
    session.wait_ms(1_000);
    session.check("mg a R20 t\nmg a R20 t", "HD t19 W\nHD t19 Z");
}

#[test]
fn a_delayed_flush_takes_what_was_written_before_it() {
    let mut session = Session::new();
    session.check("set a 0 0 1\nx\nflush_all 5\nget a", "STORED\nOK\nVALUE a 0 1\nx\nEND");
    session.wait_ms(5_000);
    session.check("set b 0 0 1\ny\nget a b", "STORED\nVALUE b 0 1\ny\nEND");
}

#[test]
fn seconds_since_the_last_use_are_told_as_they_were_before_this_one() {
    let mut session = Session::new();
    session.check("ms a 1\nx", "HD");
    session.wait_ms(7_000);
    session.check("mg a l u\nmg a l h\nmg a l h", "HD l7\nHD l7 h0\nHD l0 h1");
    session.wait_ms(2_000);
    session.check("me a", "ME a exp=-1 la=2 cas=1 fetch=yes cls=1 size=1");
}

#[test]
fn what_was_asked_is_counted_as_memcached_counts_it() {
    let mut session = Session::new();
    session.check(
        "get a\nset a 0 0 1\n1\nget a a\ngat 0 a b",
        "END\nSTORED\nVALUE a 0 1\n1\nVALUE a 0 1\n1\nEND\nVALUE a 0 1\n1\nEND",
    );
    session
        .check("incr a 1\nincr b 1\ndecr b 1\nma a MD\ntouch b 0", "2\nNOT_FOUND\nNOT_FOUND\nHD\nNOT_FOUND");
    session.check("cas b 0 0 1 1\nx\ncas a 0 0 1 99\nx\nms a 1 C3\nx", "NOT_FOUND\nEXISTS\nHD");
    session.check("delete b\nmd a\nflush_all\nme a\nmg a\nmg a T0", "NOT_FOUND\nHD\nOK\nEN\nEN\nEN");
    let answer = session.connection.answer(b"stats\r\n", &mut session.server, NOW);
    let answer = String::from_utf8(answer).unwrap();
    for figure in [
        "cmd_get 4",
        "get_hits 2",
        "get_misses 2",
        "cmd_set 4",
        "cmd_touch 4",
        "touch_hits 1",
        "touch_misses 3",
        "incr_hits 1",
        "incr_misses 1",
        "decr_hits 1",
        "decr_misses 1",
        "cas_hits 1",
        "cas_misses 1",
        "cas_badval 1",
        "delete_hits 1",
        "delete_misses 1",
        "cmd_flush 1",
        "cmd_meta 1",
        "curr_items 0",
    ] {
        assert!(answer.contains(&format!("STAT {figure}\r\n")), "{figure} in {answer}");
    }
    session.check("stats reset", "RESET");
    let answer = session.connection.answer(b"stats\r\n", &mut session.server, NOW);
    assert!(String::from_utf8(answer).unwrap().contains("STAT cmd_get 0\r\n"));
}

#[test]
fn an_item_is_dumped_with_its_length_and_end() {
    let mut session = Session::new();
    session.check("set a 0 10 3\nxyz\nms Zm9v 1 b\ny", "STORED\nHD");
    session.check("stats cachedump 1 0", "ITEM a [3 b; 1800000010 s]\nITEM Zm9v [1 b; 0 s]\nEND");
    session.check("stats cachedump 1 1", "ITEM a [3 b; 1800000010 s]\nEND");
}

#[test]
fn a_value_over_the_limit_leaves_nothing_to_be_taken_for_it() {
    let mut session = Session::new();
    session.check("set a 0 0 1\nx", "STORED");
    let large = "v".repeat((1 << 20) + 1);
    session.check(&format!("set a 0 0 {}\n{large}", large.len()), "SERVER_ERROR object too large for cache");
    session.check("get a", "END");
    let largest = "v".repeat(1 << 20);
    session.check(&format!("set a 0 0 {}\n{largest}", largest.len()), "STORED");
}

#[test]
fn a_request_owns_no_memory_so_reading_one_takes_none() {
    fn is_plain<T: Copy>() {}
    is_plain::<super::Request<'_>>();
    is_plain::<super::Step<'_>>();
    is_plain::<super::Wants>();
    is_plain::<super::Verdict<'_>>();
}
