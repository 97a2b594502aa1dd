//! docs/configuration.md and the schema say the same.

use std::path::Path;

use annulus_service::config::{DatasetField, Role, Setting, Sources, dataset_schema, load, schema};

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    std::fs::read_to_string(path).unwrap()
}

fn row(setting: &Setting) -> String {
    let plain = setting.plain.map_or_else(String::new, |plain| {
        let role = match plain.role {
            Role::Master => "master",
            Role::Auxiliary => "auxiliary",
            Role::Refresher => "refresher",
            Role::Dev => "dev",
        };
        format!(", {role}: `{}`", plain.name)
    });
    let default =
        if setting.default.is_empty() { "none".to_owned() } else { format!("`{}`", setting.default) };
    let (path, env, help, allowed) = (setting.path, setting.env_name(), setting.help, setting.kind.allowed());
    format!("| `{path}` | {default} | {help} | {allowed} | `{env}`{plain} |")
}

fn field_row(field: &DatasetField) -> String {
    let DatasetField { name, default, kind, help } = field;
    let default = if default.is_empty() { "none".to_owned() } else { format!("`{default}`") };
    format!("| `{name}` | {default} | {help} | {} |", kind.allowed())
}

#[test]
fn the_tables_have_exactly_the_settings_of_the_schema() {
    let text = documentation();
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    let fields = dataset_schema().iter().map(field_row);
    let expected: Vec<String> = schema().iter().map(row).chain(fields).collect();
    assert_eq!(documented, expected, "the rows should read:\n{}\n", expected.join("\n"));
}

#[test]
fn the_example_loads_and_differs_from_the_defaults_where_it_says() {
    let text = documentation();
    let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("annulus.toml");
    std::fs::write(&path, example).unwrap();
    let sources = Sources { role: Role::Master, file: Some(path), env: Vec::new(), flags: Vec::new() };
    let resolved = load(&sources).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(resolved.settings().cluster.auxiliaries.len(), 3);
    assert_eq!(resolved.settings().cluster.replicas, Some(2));
    assert_eq!(resolved.settings().auxiliary.memory, 4 << 30);
}
