//! One thread's cost of reading a memcached request and of writing its answer, without a store.
//! `cargo bench -p annulus-protocol --bench memcached`

use std::hint::black_box;

use annulus_protocol::memcached::{
    Action, AnswerLimits, AnswerParser, AnswerStep, Hit, Item, KeyScratch, Limits, Now, Outcome, Parser,
    Request, Step, Update,
};
use criterion::{Criterion, criterion_group, criterion_main};

const NOW: Now = Now { unix_ms: 1_800_000_000_000 };

fn request<'b>(parser: &mut Parser, line: &'b [u8]) -> Request<'b> {
    match parser.next(line) {
        Step::Request { request, .. } => request,
        other => panic!("{other:?}"),
    }
}

/// What a server does for one request, with an item that it has found.
fn answer(request: &Request<'_>, item: &Item<'_>, out: &mut Vec<u8>) {
    let mut scratch = KeyScratch::default();
    let found = Outcome::Hit(Hit::from(*item));
    match request.action {
        Action::Read(keys) => {
            for key in keys {
                request.wants.render(black_box(key.bytes(&mut scratch)), &found, out);
            }
            request.wants.render_end(out);
        }
        action => {
            let Some((key, update)) = action.update() else { return };
            let current = if matches!(update, Update::Store(_)) { None } else { Some(item) };
            let verdict = black_box(update.apply(black_box(current), NOW));
            request.wants.render(black_box(key.bytes(&mut scratch)), &verdict.outcome.written(7), out);
        }
    }
}

fn requests(criterion: &mut Criterion) {
    let value = [b'v'; 100];
    let item = Item { value: &value, cas: 1 << 60, ttl_ms: Some(30_000), ..Item::default() };
    let many =
        format!("get {}\r\n", (0..100).map(|i| format!("memtier-{i:08}")).collect::<Vec<_>>().join(" "));
    let stored = String::from_utf8_lossy(&value).into_owned();
    for (name, line) in [
        ("get", "get memtier-00012345\r\n".to_owned()),
        ("gets", "gets memtier-00012345\r\n".to_owned()),
        ("get of 100 keys", many),
        ("mg v", "mg memtier-00012345 v\r\n".to_owned()),
        ("mg v f c t k O", "mg memtier-00012345 v f c t k O1234\r\n".to_owned()),
        ("mg b v k", "mg bWVtdGllci0wMDAxMjM0NQ== b v k\r\n".to_owned()),
        ("set", format!("set memtier-00012345 0 0 100\r\n{stored}\r\n")),
        ("ms T c O", format!("ms memtier-00012345 100 T60 c O1234\r\n{stored}\r\n")),
        ("delete", "delete memtier-00012345\r\n".to_owned()),
        ("md q", "md memtier-00012345 q\r\n".to_owned()),
    ] {
        let mut parser = Parser::new(Limits::default());
        criterion.bench_function(&format!("parse {name}"), |bencher| {
            bencher.iter(|| black_box(request(&mut parser, black_box(line.as_bytes()))));
        });
        let mut out = Vec::with_capacity(64 << 10);
        criterion.bench_function(&format!("parse, apply, render {name}"), |bencher| {
            bencher.iter(|| {
                out.clear();
                let request = request(&mut parser, black_box(line.as_bytes()));
                answer(&request, &item, &mut out);
                out.len()
            });
        });
    }
}

fn answers(criterion: &mut Criterion) {
    let value = "v".repeat(100);
    for (name, line) in [
        ("VALUE", format!("VALUE memtier-00012345 0 100\r\n{value}\r\n")),
        ("VA", format!("VA 100 c1152921504606846976 t30 O1234\r\n{value}\r\n")),
        ("HD", "HD O1234\r\n".to_owned()),
        ("STORED", "STORED\r\n".to_owned()),
    ] {
        let mut parser = AnswerParser::new(AnswerLimits::default());
        criterion.bench_function(&format!("parse answer {name}"), |bencher| {
            bencher.iter(|| match parser.next(black_box(line.as_bytes())) {
                AnswerStep::Answer { answer, .. } => black_box(answer),
                other => panic!("{other:?}"),
            });
        });
    }
}

criterion_group!(benches, requests, answers);
criterion_main!(benches);
