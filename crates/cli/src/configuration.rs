//! The layers of configuration as the command line gives them, and `config show|check`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use annulus_service::config::{Flag, Origin, Resolved, Role, Sources, load, schema};
use anyhow::Result;
use serde_json::json;

use crate::output::{self, Align};
use crate::remote::URL_VARIABLE;

/// What the schema's defaults become under `annulus dev`: a cluster on a laptop, with a readable terminal.
const DEV_DEFAULTS: [(&str, &str); 3] =
    [("server.host", "127.0.0.1"), ("auxiliary.memory", "64Mi"), ("log.level", "warn")];
const DEV_ORIGIN: &str = "default of annulus dev";

/// The layers below the flags of a command.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Layers {
    /// Read settings from a TOML file
    #[arg(long, value_name = "FILE", env = "ANNULUS_CONFIG", hide_env_values = true)]
    config: Option<OsString>,
    /// Set any setting; repeat for several. `annulus config show` lists them
    #[arg(long, value_name = "SECTION.NAME=VALUE", value_parser = parse_set)]
    set: Vec<(String, String)>,
}

/// Decides every setting of one command anew, as its files say now.
pub(crate) type Layered = Arc<dyn Fn() -> Result<Resolved> + Send + Sync>;

impl Layers {
    /// Decides every setting. `flags` are those of the command; `--set` wins over them.
    pub(crate) fn resolve(&self, role: Role, mut flags: Vec<Flag>) -> Result<Resolved> {
        flags.extend(self.set.iter().map(|(path, value)| Flag::set(path, value)));
        // An empty ANNULUS_CONFIG counts as absent, like every other variable.
        let file = self.config.as_ref().filter(|file| !file.is_empty()).map(PathBuf::from);
        let mut sources = Sources { role, file, env: environment(), flags };
        let resolved = load(&sources)?;
        if role != Role::Dev {
            return Ok(resolved);
        }
        let untouched = DEV_DEFAULTS
            .iter()
            .filter(|(path, _)| resolved.entry(path).is_some_and(|entry| entry.origin == Origin::Default));
        sources.flags.extend(untouched.map(|(path, value)| Flag::named(DEV_ORIGIN, *path, *value)));
        Ok(load(&sources)?)
    }
}

/// The environment, but for the variable that is for commands only, which the strict reader does not know.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name != URL_VARIABLE)
        .collect()
}

fn parse_set(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((path, value)) => Ok((path.trim().to_owned(), value.to_owned())),
        None => Err("it reads SECTION.NAME=VALUE, as in limits.deadline=500ms".to_owned()),
    }
}

/// What a flag does, in the words of the setting behind it.
pub(crate) fn help(path: &str) -> String {
    let Some(setting) = schema().iter().find(|setting| setting.path == path) else {
        return String::new();
    };
    let text = setting.help.trim_end_matches('.').replace('`', "");
    if setting.default.is_empty() { text } else { format!("{text} [default: {}]", setting.default) }
}

/// The flags that were given, each as the setting behind it.
pub(crate) fn flags<const N: usize>(given: [(&str, &str, &Option<String>); N]) -> Vec<Flag> {
    let named = |(name, path, value): (&str, &str, &Option<String>)| {
        value.as_ref().map(|value| Flag::named(name, path, value))
    };
    given.into_iter().filter_map(named).collect()
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting, its value and where it came from
    Show {
        #[command(flatten)]
        layers: Layers,
        /// Whose: it decides which plain environment names count, such as PORT
        #[arg(long, value_enum, default_value_t = RoleName::Master)]
        role: RoleName,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Say whether the configuration is valid, and all that is wrong with it
    Check {
        #[command(flatten)]
        layers: Layers,
        /// Whose: it decides which plain environment names count, such as PORT
        #[arg(long, value_enum, default_value_t = RoleName::Master)]
        role: RoleName,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum RoleName {
    Master,
    Auxiliary,
    Refresher,
    Dev,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Master => Self::Master,
            RoleName::Auxiliary => Self::Auxiliary,
            RoleName::Refresher => Self::Refresher,
            RoleName::Dev => Self::Dev,
        }
    }
}

pub(crate) fn run(command: &ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Show { layers, role, json } => {
            let resolved = layers.resolve((*role).into(), Vec::new())?;
            print_notes(&resolved);
            if *json {
                let entries: Vec<_> = shown(&resolved)
                    .map(|(path, value, from)| json!({ "path": path, "value": value, "origin": from }))
                    .collect();
                output::print_json(&entries)?;
            } else {
                output::print_bytes(show(&resolved).as_bytes())?;
            }
        }
        ConfigCommand::Check { layers, role } => {
            let resolved = layers.resolve((*role).into(), Vec::new())?;
            print_notes(&resolved);
            output::print_line("the configuration is valid")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_notes(resolved: &Resolved) {
    for note in resolved.notes() {
        eprintln!("note: {note}");
    }
}

fn show(resolved: &Resolved) -> String {
    let mut rows = vec![["SETTING", "VALUE", "FROM"].map(str::to_owned).to_vec()];
    rows.extend(shown(resolved).map(|(path, value, from)| {
        let value = if value.is_empty() { "-".to_owned() } else { output::harmless(&value) };
        vec![path, value, from]
    }));
    output::table(&[Align::Left; 3], &rows)
}

/// Path, value and origin of every setting, those of datasets last.
fn shown(resolved: &Resolved) -> impl Iterator<Item = (String, String, String)> {
    let settings =
        resolved.entries().map(|entry| (entry.path.to_owned(), entry.value.clone(), origin(&entry.origin)));
    settings.chain(resolved.dataset_entries().map(|(path, value, from)| (path, value, origin(from))))
}

fn origin(origin: &Origin) -> String {
    match origin {
        Origin::Flag(name) if name == DEV_ORIGIN => DEV_ORIGIN.to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_says_what_its_setting_says() {
        assert_eq!(
            help("master.port"),
            "The port of the REST interface; 0 takes any free one [default: 8000]"
        );
    }

    #[test]
    fn every_default_of_dev_is_a_setting() {
        for (path, _) in DEV_DEFAULTS {
            assert!(schema().iter().any(|setting| setting.path == path), "{path}");
        }
    }
}
