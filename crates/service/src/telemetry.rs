//! Logs and trace context.
//!
//! A log line is one line whatever its fields hold: [`init`] escapes control characters, so that a key or a header
//! cannot forge a line or steer a terminal. A request carries the W3C trace context from the client through the master
//! to the auxiliary; its trace id is the request id of every line that is logged about it.

mod lines;
mod trace;

use std::io::IsTerminal;
use std::sync::Arc;

use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::reload;

use crate::config::{LogFormat, LogSettings};
use lines::Lines;
pub use trace::{RequestId, TRACEPARENT, TraceContext, TraceIds};

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level is neither a level nor directives.
    #[error("log.level: {0}")]
    Level(#[from] ParseError),
    /// The process has a subscriber already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] SetGlobalDefaultError),
}

/// The level of the process's logs, to be changed while it runs.
#[derive(Clone)]
pub struct LogLevel(Arc<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>);

impl LogLevel {
    /// For a process that logs nothing.
    pub fn none() -> Self {
        Self(Arc::new(|_| Ok(())))
    }

    /// Logs at this level from now on: a level, or directives.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn set(&self, level: &str) -> Result<(), String> {
        let filter = EnvFilter::builder().parse(level).map_err(|error| format!("log.level: {error}"))?;
        (self.0)(filter)
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Human { colours: bool },
    Json,
}

/// Logs to stderr from now on, for the whole process: lines for people or JSON objects, filtered by level.
///
/// Colours appear only on a terminal, and not where `NO_COLOR` is set (<https://no-color.org>).
///
/// # Errors
/// A level that does not parse, or a process that logs already: `main` calls this once, a library never.
pub fn init(log: &LogSettings) -> Result<LogLevel, TelemetryError> {
    let terminal = std::io::stderr().is_terminal();
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let (subscriber, level) = subscriber(&log.level, look(log.format, terminal, plain), std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(level)
}

fn look(format: LogFormat, terminal: bool, plain: bool) -> Look {
    match format {
        LogFormat::Auto if !terminal => Look::Json,
        LogFormat::Auto | LogFormat::Human => Look::Human { colours: terminal && !plain },
        LogFormat::Json => Look::Json,
    }
}

fn subscriber<W>(
    level: &str,
    look: Look,
    writer: W,
) -> Result<(Box<dyn Subscriber + Send + Sync>, LogLevel), TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = Lines::new(writer, look == Look::Human { colours: true });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse(level)?)
        .with_writer(lines)
        .log_internal_errors(false);
    Ok(match look {
        Look::Human { colours } => {
            let builder = builder.fmt_fields(lines::fields()).compact().with_ansi(colours);
            let builder = builder.with_filter_reloading();
            let level = log_level(builder.reload_handle());
            (Box::new(builder.finish()), level)
        }
        Look::Json => {
            let builder = builder.json().flatten_event(true).with_span_list(false).with_filter_reloading();
            let level = log_level(builder.reload_handle());
            (Box::new(builder.finish()), level)
        }
    })
}

fn log_level<S: Subscriber + 'static>(handle: reload::Handle<EnvFilter, S>) -> LogLevel {
    LogLevel(Arc::new(move |filter| handle.reload(filter).map_err(|error| error.to_string())))
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What `events` log at `level`.
    fn logged(level: &str, look: Look, events: impl FnOnce()) -> String {
        logged_under_way(level, look, |_| events())
    }

    /// The same where the events may change it.
    fn logged_under_way(level: &str, look: Look, events: impl FnOnce(LogLevel)) -> String {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, level) = subscriber(level, look, move || writer.clone()).unwrap();
        let events = || events(level);
        tracing::subscriber::with_default(subscriber, events);
        let bytes = page.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    const NASTY: &str = "a\nb\r\t\u{1b}[31m\u{7}\u{9b}2J\u{2028}\0é";

    fn nasty_events() {
        tracing::info!(display = %NASTY, debug = ?NASTY, text = NASTY, "message {NASTY}");
        let _span = tracing::info_span!("request", key = %NASTY).entered();
        tracing::info!("second");
    }

    #[test]
    fn no_field_can_forge_a_line_or_steer_a_terminal() {
        for look in [Look::Human { colours: false }, Look::Json] {
            let text = logged("info", look, nasty_events);
            assert_eq!(text.lines().count(), 2, "{text}");
            let dangerous = |c: char| (c.is_control() && c != '\n') || c == '\u{2028}';
            assert!(!text.contains(dangerous), "{text:?}");
            assert!(text.contains("a\\nb\\r\\t"), "{text}");
            assert!(text.contains('é'), "{text}");
        }
    }

    #[test]
    fn colours_are_ours_alone() {
        let text = logged("info", Look::Human { colours: true }, nasty_events);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("\u{1b}["), "colours were asked for");
        assert!(!text.contains("\u{1b}[31m"), "{text:?}");
    }

    #[test]
    fn a_json_line_is_an_object_that_holds_what_was_logged() {
        let text = logged("info", Look::Json, nasty_events);
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["text"], NASTY);
        assert_eq!(line["display"], NASTY);
        assert_eq!(line["level"], "INFO");
        let line: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
        assert_eq!(line["span"]["name"], "request");
    }

    #[test]
    fn directives_let_one_module_say_more() {
        let events = || {
            tracing::debug!(target: "annulus_ring", "seen");
            tracing::debug!(target: "annulus_master", "unseen");
        };
        let text = logged("info,annulus_ring=debug", Look::Human { colours: false }, events);
        assert!(text.contains("seen") && !text.contains("unseen"), "{text}");
    }

    #[test]
    fn the_level_can_be_changed_under_way() {
        let events = |level: LogLevel| {
            tracing::debug!("first");
            level.set("debug").unwrap();
            tracing::debug!("second");
            assert!(level.set("annulus=[").is_err());
            level.set("off").unwrap();
            tracing::error!("third");
        };
        for look in [Look::Human { colours: false }, Look::Json] {
            let text = logged_under_way("info", look, events);
            assert!(text.contains("second") && text.lines().count() == 1, "{text}");
        }
    }

    #[test]
    fn auto_is_json_unless_a_person_is_looking() {
        assert_eq!(look(LogFormat::Auto, false, false), Look::Json);
        assert_eq!(look(LogFormat::Auto, true, false), Look::Human { colours: true });
        assert_eq!(look(LogFormat::Auto, true, true), Look::Human { colours: false });
        assert_eq!(look(LogFormat::Human, false, false), Look::Human { colours: false });
        assert_eq!(look(LogFormat::Json, true, false), Look::Json);
    }
}
