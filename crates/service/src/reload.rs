//! Reading the configuration again while a service runs.
//!
//! All of it is read and checked before anything changes. Then what can change under way is taken over in one step, and the
//! rest is named: it needs a restart. Where anything is wrong, everything stays as it was.

use std::sync::Arc;

use annulus_protocol::rest::{ConfigReloaded, SettingChange};
use annulus_protocol::{ErrorCode, Problem};
use parking_lot::Mutex;
use prometheus::{IntCounter, IntGauge, Registry};
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Entry, Resolved, Settings};
use crate::metrics::{counters, gauge};
use crate::net::Clock;
use crate::telemetry::LogLevel;

/// Reads all layers of the configuration; the error says what is wrong with them.
pub type Read = Arc<dyn Fn() -> Result<Resolved, String> + Send + Sync>;

/// Where a service's settings come from.
#[derive(Clone)]
pub struct Source {
    /// As they were read when it started.
    pub resolved: Resolved,
    /// Reads them again.
    pub read: Read,
    /// The level of the process's logs.
    pub log: LogLevel,
}

/// One service's way to its configuration.
pub struct Reload {
    source: Option<Source>,
    /// What the service goes by. Held while it changes, so that this happens once at a time.
    running: Mutex<Option<Resolved>>,
    is_live: IsLive,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// Whether a change of a setting, from one value to another, can be taken over.
pub type IsLive = fn(path: &str, from: &str, to: &str) -> bool;

struct Metrics {
    applied: IntCounter,
    unchanged: IntCounter,
    refused: IntCounter,
    is_successful: IntGauge,
    last_success_s: IntGauge,
}

impl Reload {
    /// Without a `source` there is nothing to be read again.
    ///
    /// # Errors
    /// Where the registry has the metrics already.
    pub fn new(
        source: Option<Source>,
        is_live: IsLive,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> prometheus::Result<Self> {
        let total = counters(
            registry,
            "annulus_config_reloads_total",
            "Times that the configuration was read again, by what came of it.",
            &["outcome"],
        )?;
        let metrics = Metrics {
            applied: total.with_label_values(&["applied"]),
            unchanged: total.with_label_values(&["unchanged"]),
            refused: total.with_label_values(&["refused"]),
            is_successful: gauge(
                registry,
                "annulus_config_last_reload_successful",
                "1 where the configuration was right when it was read last; 0: it was not, and the one before stays.",
            )?,
            last_success_s: gauge(
                registry,
                "annulus_config_last_reload_success_timestamp_seconds",
                "When the configuration was last read and right, since the Unix epoch.",
            )?,
        };
        metrics.is_successful.set(1);
        metrics.last_success_s.set((clock.now_ms() / 1000) as i64);
        let running = Mutex::new(source.as_ref().map(|source| source.resolved.clone()));
        Ok(Self { source, running, is_live, clock, metrics })
    }

    /// Whether there is something to be read again.
    pub fn is_possible(&self) -> bool {
        self.source.is_some()
    }

    /// Reads the configuration again and has `apply` take over what it can; if that says what is wrong, nothing may have
    /// changed. It blocks its thread while it reads.
    ///
    /// # Errors
    /// [`ErrorCode::BadConfiguration`] where something is wrong with it, [`ErrorCode::Conflict`] where there is nothing to read.
    pub fn run(
        &self,
        apply: impl FnOnce(&Settings) -> Result<(), String>,
    ) -> Result<ConfigReloaded, Problem> {
        let mut running = self.running.lock();
        let (Some(source), Some(running)) = (&self.source, running.as_mut()) else {
            let detail = "this node was not started from a configuration that could be read again";
            return Err(Problem::new(ErrorCode::Conflict, detail));
        };
        let reloaded = (source.read)().and_then(|new| self.take_over(source, running, &new, apply));
        match &reloaded {
            Ok(reloaded) => self.metrics.succeeded(reloaded, &*self.clock),
            Err(why) => {
                self.metrics.refused.inc();
                self.metrics.is_successful.set(0);
                tracing::error!(
                    "the configuration was read again and is refused; the one before stays: {why}"
                );
            }
        }
        reloaded.map_err(|why| Problem::new(ErrorCode::BadConfiguration, why))
    }

    fn take_over(
        &self,
        source: &Source,
        running: &mut Resolved,
        new: &Resolved,
        apply: impl FnOnce(&Settings) -> Result<(), String>,
    ) -> Result<ConfigReloaded, String> {
        let mut reloaded = ConfigReloaded::default();
        for (from, to) in running.differences(new) {
            let is_live = (self.is_live)(from.path, &from.value, &to.value);
            let list = if is_live { &mut reloaded.changed } else { &mut reloaded.needs_restart };
            list.push(change(from, to));
        }
        if running.settings().datasets != new.settings().datasets {
            let path = "datasets".to_owned();
            reloaded.needs_restart.push(SettingChange { path, from: String::new(), to: String::new() });
        }
        if !reloaded.changed.is_empty() {
            apply(new.settings())?;
            source.log.set(&new.settings().log.level)?;
            running.take_over(new, |path| reloaded.changed.iter().any(|change| change.path == path));
        }
        Ok(reloaded)
    }
}

impl Metrics {
    fn succeeded(&self, reloaded: &ConfigReloaded, clock: &dyn Clock) {
        self.is_successful.set(1);
        self.last_success_s.set((clock.now_ms() / 1000) as i64);
        let counter = if reloaded.changed.is_empty() { &self.unchanged } else { &self.applied };
        counter.inc();
        for SettingChange { path, from, to } in &reloaded.changed {
            tracing::info!(path, from, to, "a setting has changed");
        }
        for SettingChange { path, .. } in &reloaded.needs_restart {
            tracing::warn!(path, "a setting has changed in the configuration, and needs a restart");
        }
        if reloaded.changed.is_empty() {
            tracing::info!("the configuration was read again; nothing has changed that can be taken over");
        }
    }
}

fn change(from: &Entry, to: &Entry) -> SettingChange {
    SettingChange { path: from.path.to_owned(), from: from.value.clone(), to: to.value.clone() }
}

/// Calls `reload` at each SIGHUP, until cancelled from outside. What comes of it is in the log.
pub async fn at_each_hangup<T>(reload: impl Fn() -> Result<T, Problem> + Send + Sync + 'static)
where
    T: Send + 'static,
{
    let reload = Arc::new(reload);
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            return tracing::error!(%error, "SIGHUP will not have the configuration read again");
        }
    };
    while hangups.recv().await.is_some() {
        let reload = Arc::clone(&reload);
        // Its own task: it reads files.
        let _ = tokio::task::spawn_blocking(move || reload().map(drop)).await;
    }
}

/// What is wrong with a configuration, without the lines of the file that a parser shows: they may hold a secret.
pub fn without_source(errors: &str) -> String {
    let is_source = |line: &str| {
        line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|')
    };
    errors.lines().filter(|line| !is_source(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::SystemNet;
    use crate::config::{Flag, Role, Sources, load};
    use crate::net::Net as _;

    fn resolved(flags: &[(&str, &str)]) -> Result<Resolved, String> {
        let flags = flags.iter().map(|(path, value)| Flag::set(*path, *value)).collect();
        load(&Sources { role: Role::Master, file: None, env: Vec::new(), flags }).map_err(|e| e.to_string())
    }

    fn is_live(path: &str, _: &str, _: &str) -> bool {
        path.starts_with("limits.")
    }

    /// A service that started with the defaults and finds `readings` one after the other.
    fn service(readings: Vec<Result<Resolved, String>>) -> (Reload, Registry) {
        let readings = Mutex::new(readings.into_iter());
        let read: Read = Arc::new(move || readings.lock().next().expect("one more reading"));
        let source = Source { resolved: resolved(&[]).unwrap(), read, log: LogLevel::none() };
        let registry = Registry::new();
        (Reload::new(Some(source), is_live, SystemNet::new().clock(), &registry).unwrap(), registry)
    }

    fn paths(changes: &[SettingChange]) -> Vec<&str> {
        changes.iter().map(|change| change.path.as_str()).collect()
    }

    #[test]
    fn what_can_change_is_taken_over_and_the_rest_is_named_each_time() {
        let new = || resolved(&[("limits.deadline", "2s"), ("master.port", "9")]);
        let (service, _) = service(vec![new(), new()]);
        let mut taken = None;
        let first = service
            .run(|settings| {
                taken = Some(settings.limits.deadline);
                Ok(())
            })
            .unwrap();
        assert_eq!(
            (paths(&first.changed), paths(&first.needs_restart)),
            (vec!["limits.deadline"], vec!["master.port"])
        );
        assert_eq!((first.changed[0].from.as_str(), first.changed[0].to.as_str()), ("1s", "2s"));
        assert_eq!(taken, Some(std::time::Duration::from_secs(2)));
        let second = service.run(|_| unreachable!("nothing has changed")).unwrap();
        assert_eq!((paths(&second.changed), paths(&second.needs_restart)), (vec![], vec!["master.port"]));
    }

    #[test]
    fn what_is_wrong_changes_nothing_and_is_told() {
        let wrong = resolved(&[("limits.deadline", "soon")]);
        let right = || resolved(&[("limits.max_bulk_items", "7")]);
        let (service, registry) = service(vec![wrong, right(), right()]);
        let refused = service.run(|_| unreachable!("it is wrong")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadConfiguration);
        assert!(refused.detail.contains("limits.deadline"), "{}", refused.detail);
        let refused = service.run(|_| Err("not this one".to_owned())).unwrap_err();
        assert_eq!(refused.detail, "not this one");
        assert_eq!(paths(&service.run(|_| Ok(())).unwrap().changed), ["limits.max_bulk_items"]);
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("annulus_config_reloads_total{outcome=\"refused\"} 2"), "{text}");
        assert!(text.contains("annulus_config_reloads_total{outcome=\"applied\"} 1"), "{text}");
    }

    #[test]
    fn a_change_of_a_secret_is_seen_and_not_shown() {
        let new = resolved(&[("cluster.secret", "0123456789abcdef")]);
        let (service, _) = service(vec![new]);
        let reloaded = service.run(|_| Ok(())).unwrap();
        assert_eq!(paths(&reloaded.needs_restart), ["cluster.secret"]);
        assert_eq!(reloaded.needs_restart[0].to, "(hidden)");
    }

    #[test]
    fn a_service_without_a_source_says_so() {
        let reload = Reload::new(None, is_live, SystemNet::new().clock(), &Registry::new()).unwrap();
        assert_eq!(reload.run(|_| Ok(())).unwrap_err().code, ErrorCode::Conflict);
    }

    #[test]
    fn lines_of_the_file_are_not_passed_on() {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("annulus.toml");
        std::fs::write(&path, "[cluster]\nsecret = \"0123456789abcdef\n").unwrap();
        let sources = Sources { role: Role::Master, file: Some(path), env: Vec::new(), flags: Vec::new() };
        let shown = load(&sources).unwrap_err().to_string();
        assert!(shown.contains("0123456789"), "the parser shows it: {shown}");
        let passed_on = without_source(&shown);
        assert!(!passed_on.contains("0123456789") && passed_on.contains("line 2"), "{passed_on}");
    }
}
