//! A memcached in memory, made of nothing but this module: what tests compare servers with, and the shortest example of
//! how the parts go together. It is bounded only by what it is sent, so it is no server.

use std::collections::BTreeMap;

use super::stats::{self, Counts, Figures, PrefixCounts, Settings};
use super::{
    Action, Change, Detail, END, Exptime, Item, KeyScratch, Keys, Limits, Marks, Now, Outcome, Parser,
    Refused, Request, Step, Topic, Ttl, Update, Verdict, WireKey,
};

/// Items in a map, under versions that count up from 1.
#[derive(Debug, Default)]
pub struct Reference {
    items: BTreeMap<Vec<u8>, Stored>,
    last_version: u64,
    /// When everything written before is gone, in milliseconds since the Unix epoch.
    flush_at_ms: Option<u64>,
    scratch: Vec<u8>,
    counts: Counts,
    prefixes: PrefixCounts,
    counts_prefixes: bool,
}

#[derive(Debug, Clone)]
struct Stored {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    deadline_ms: Option<u64>,
    marks: Marks,
    fetched: bool,
    used_ms: u64,
    written_ms: u64,
}

/// One connection to a [`Reference`]: its parser, and what has arrived and is not used up.
#[derive(Debug)]
pub struct Connection {
    parser: Parser,
    buffer: Vec<u8>,
    closed: bool,
}

impl Connection {
    /// A new one.
    pub fn new(limits: Limits) -> Self {
        Self { parser: Parser::new(limits), buffer: Vec::new(), closed: false }
    }

    /// Whether the server has closed it.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// As [`Connection::receive`], and gives back what the client gets.
    pub fn answer(&mut self, bytes: &[u8], server: &mut Reference, now: Now) -> Vec<u8> {
        let mut out = Vec::new();
        self.receive(bytes, server, now, &mut out);
        out
    }

    /// Takes what a client sent, and appends what it gets back.
    pub fn receive(&mut self, bytes: &[u8], server: &mut Reference, now: Now, out: &mut Vec<u8>) {
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while !self.closed {
            at += match self.parser.next(&self.buffer[at..]) {
                Step::Incomplete { .. } => break,
                Step::Skipped { consumed } => consumed,
                Step::Request { request, consumed } => {
                    self.closed = matches!(request.action, Action::Quit);
                    server.answer(&request, now, out);
                    consumed
                }
                Step::Refused(Refused { answer, consumed, close, forget }) => {
                    if let Some(key) = forget {
                        server.update(key, &Update::DELETE, now);
                    }
                    out.extend_from_slice(answer);
                    self.closed = close;
                    consumed
                }
            };
        }
        self.buffer.drain(..at);
    }
}

impl Reference {
    /// Carries one request out and appends its answer.
    pub fn answer(&mut self, request: &Request<'_>, now: Now, out: &mut Vec<u8>) {
        self.flush_if_due(now);
        match request.action {
            Action::Read(keys) => self.each(keys, &Update::Show, request, now, out),
            Action::ReadTouch { keys, exptime } => {
                self.each(keys, &Update::Touch { exptime, shows: true }, request, now, out);
            }
            Action::FlushAll { at } => {
                self.flush(at, now);
                self.counts.count(&request.wants, &Outcome::Done);
                request.wants.render(b"", &Outcome::Done, out);
            }
            Action::Stats(topic) => self.stats(topic, now, out),
            Action::Version => out.extend_from_slice(b"VERSION 1.6\r\n"),
            Action::Noop => request.wants.render(b"", &Outcome::Done, out),
            Action::Quit => {}
            Action::Answer(bytes) => out.extend_from_slice(bytes),
            action => {
                let Some((key, update)) = action.update() else { return };
                self.one(key, &update, request, now, out);
            }
        }
    }

    fn each(
        &mut self,
        keys: Keys<'_>,
        update: &Update<'_>,
        request: &Request<'_>,
        now: Now,
        out: &mut Vec<u8>,
    ) {
        for key in keys {
            self.one(key, update, request, now, out);
        }
        request.wants.render_end(out);
    }

    fn one(
        &mut self,
        key: WireKey<'_>,
        update: &Update<'_>,
        request: &Request<'_>,
        now: Now,
        out: &mut Vec<u8>,
    ) {
        let mut scratch = KeyScratch::default();
        let key_bytes = key.bytes(&mut scratch);
        // An outcome borrows from the item that it changes, so it is rendered from a copy.
        let before = self.live(key_bytes, now).cloned();
        let item = before.as_ref().map(|stored| stored.item(now));
        let verdict = update.apply(item.as_ref(), now);
        let version = self.change(key_bytes, &verdict, now);
        let outcome = version.map_or(verdict.outcome, |version| verdict.outcome.written(version));
        self.counts.count(&request.wants, &outcome);
        if self.counts_prefixes {
            self.prefixes.count(&request.wants, key_bytes, &outcome);
        }
        request.wants.render(key_bytes, &outcome, out);
    }

    /// Applies an update and says nothing.
    fn update(&mut self, key: WireKey<'_>, update: &Update<'_>, now: Now) {
        let mut scratch = KeyScratch::default();
        let key = key.bytes(&mut scratch);
        let before = self.live(key, now).cloned();
        let item = before.as_ref().map(|stored| stored.item(now));
        self.change(key, &update.apply(item.as_ref(), now), now);
    }

    /// Gives back the version of a write.
    fn change(&mut self, key: &[u8], verdict: &Verdict<'_>, now: Now) -> Option<u64> {
        let deadline = |ttl_ms: Option<u64>| ttl_ms.map(|ttl| now.unix_ms.saturating_add(ttl));
        if let Some(stored) = self.items.get_mut(key).filter(|_| verdict.used) {
            (stored.fetched, stored.used_ms) = (true, now.unix_ms);
        }
        match &verdict.change {
            Change::Keep => None,
            Change::Refresh { ttl_ms, marks } => {
                if let Some(stored) = self.items.get_mut(key) {
                    (stored.deadline_ms, stored.marks) = (deadline(*ttl_ms), *marks);
                }
                None
            }
            Change::Delete => {
                self.items.remove(key);
                None
            }
            Change::Write(new) => {
                self.last_version += 1;
                let current = self.items.get(key).map_or(&[][..], |stored| &stored.value);
                let value = new.value.in_one_piece(current, &mut self.scratch).to_vec();
                let cas = new.cas.unwrap_or(self.last_version);
                let stored = Stored {
                    value,
                    flags: new.flags,
                    cas,
                    deadline_ms: deadline(new.ttl_ms),
                    marks: new.marks,
                    fetched: new.fetched,
                    used_ms: now.unix_ms,
                    written_ms: now.unix_ms,
                };
                self.items.insert(key.to_vec(), stored);
                Some(cas)
            }
        }
    }

    fn stats(&mut self, topic: Topic, now: Now, out: &mut Vec<u8>) {
        match topic {
            Topic::General => {
                let figures = Figures {
                    version: "1.6",
                    time_unix_s: now.unix_ms / 1000,
                    curr_items: self.items.len() as u64,
                    total_items: self.last_version,
                    ..Figures::default()
                };
                figures.render(&self.counts, out);
            }
            Topic::Sizes => out.extend_from_slice(stats::SIZES),
            Topic::Reset => {
                self.counts = Counts::default();
                self.prefixes.reset();
                out.extend_from_slice(stats::RESET);
            }
            Topic::Detail(Detail::Dump) => self.prefixes.render(out),
            Topic::Detail(switch) => {
                self.counts_prefixes = switch == Detail::On;
                out.extend_from_slice(b"OK\r\n");
            }
            Topic::CacheDump { limit } => {
                let limit = if limit == 0 { usize::MAX } else { limit as usize };
                for (key, stored) in self.items.iter().take(limit) {
                    let expires_unix_s = stored.deadline_ms.unwrap_or_default() / 1000;
                    let binary = stored.marks.has(Marks::BINARY_KEY);
                    stats::put_dumped_item(key, binary, stored.value.len(), expires_unix_s, out);
                }
                out.extend_from_slice(END);
            }
            Topic::Settings => {
                let settings = Settings {
                    maxbytes: 0,
                    maxconns: 1024,
                    tcpport: 0,
                    inter: "NULL",
                    num_threads: 1,
                    item_size_max: Limits::default().max_value_bytes as u64,
                    detail_enabled: self.counts_prefixes,
                    flush_enabled: true,
                };
                settings.render(out);
            }
            Topic::Items | Topic::Slabs | Topic::Connections => out.extend_from_slice(END),
        }
    }

    fn live(&self, key: &[u8], now: Now) -> Option<&Stored> {
        self.items.get(key).filter(|stored| stored.deadline_ms.is_none_or(|deadline| deadline > now.unix_ms))
    }

    fn flush(&mut self, at: Exptime, now: Now) {
        match at.ttl(now) {
            Ttl::Ms(ms) => self.flush_at_ms = Some(now.unix_ms + ms),
            Ttl::Never | Ttl::Over => {
                self.items.clear();
                self.flush_at_ms = None;
            }
        }
    }

    fn flush_if_due(&mut self, now: Now) {
        if let Some(at) = self.flush_at_ms.filter(|at| *at <= now.unix_ms) {
            self.items.retain(|_, stored| stored.written_ms >= at);
            self.flush_at_ms = None;
        }
    }
}

impl Stored {
    fn item(&self, now: Now) -> Item<'_> {
        Item {
            value: &self.value,
            flags: self.flags,
            cas: self.cas,
            ttl_ms: self.deadline_ms.map(|deadline| deadline.saturating_sub(now.unix_ms)),
            marks: self.marks,
            fetched: self.fetched,
            idle_s: (now.unix_ms.saturating_sub(self.used_ms) / 1000) as u32,
            memory_bytes: self.value.len(),
        }
    }
}
