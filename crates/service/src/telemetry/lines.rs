//! Keeps one event on one line.
//!
//! `tracing-subscriber` 0.3.23 escapes what steers a terminal in messages and `?` fields, but not in `%` fields, and
//! lets line breaks through. So fields are escaped where human lines are put together ([`fields`]), and what is left,
//! such as names and JSON's C1 controls and line separators, where the finished line passes ([`Lines`]).

use std::fmt::{self, Write as _};
use std::io;

use tracing::Metadata;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, FormatFields, Writer};

/// Writes fields as `name=value`, values escaped, so that the only ESC in a human line are the formatter's own.
pub(super) fn fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    format::debug_fn(|to: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let value = escape(&format!("{value:?}"), false);
        match field.name() {
            "message" => to.write_str(&value),
            name if to.has_ansi_escapes() => write!(to, "\x1b[3m{name}\x1b[0m\x1b[2m=\x1b[0m{value}"),
            name => write!(to, "{name}={value}"),
        }
    })
    .delimited(" ")
}

/// Makes writers whose every `write` is one line, in which control characters are spelt as JSON spells them.
pub(super) struct Lines<M> {
    inner: M,
    colours: bool,
}

impl<M> Lines<M> {
    /// With `colours`, ESC passes: what [`fields`] leaves of it is the formatter's own.
    pub(super) fn new(inner: M, colours: bool) -> Self {
        Self { inner, colours }
    }
}

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for Lines<M> {
    type Writer = LineWriter<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter { inner: self.inner.make_writer(), colours: self.colours }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        LineWriter { inner: self.inner.make_writer_for(meta), colours: self.colours }
    }
}

pub(super) struct LineWriter<W> {
    inner: W,
    colours: bool,
}

impl<W: io::Write> io::Write for LineWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let body = line.strip_suffix(b"\n").unwrap_or(line);
        let harmless = |byte: &u8| matches!(byte, b' '..=b'~') || (self.colours && *byte == 0x1b);
        if body.iter().all(harmless) {
            self.inner.write_all(line)?;
        } else {
            let mut safe = escape(&String::from_utf8_lossy(body), self.colours);
            safe.push_str(if body.len() < line.len() { "\n" } else { "" });
            self.inner.write_all(safe.as_bytes())?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Control characters, line separators and marks that reverse the direction of text, in the spelling of JSON, so that
/// a JSON line stays JSON.
fn escape(body: &str, colours: bool) -> String {
    let mut safe = String::with_capacity(body.len() + 16);
    for c in body.chars() {
        match c {
            '\u{1b}' if colours => safe.push(c),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => spell(c, &mut safe),
            c if c.is_control() => spell(c, &mut safe),
            c => safe.push(c),
        }
    }
    safe
}

fn spell(c: char, safe: &mut String) {
    write!(safe, "\\u{:04x}", u32::from(c)).expect("a String takes all text");
}
