//! "Did you mean": what a name that no setting has was probably meant to be.

use super::{Setting, schema};

/// Below this likeness (Jaro-Winkler, 0 to 1) a suggestion confuses more than it helps.
const ALIKE: f64 = 0.88;

/// For a name of a setting in any spelling; `spell` writes a setting as the layer in question does.
pub(super) fn suggest_setting(name: &str, spell: impl Fn(&Setting) -> String) -> String {
    let name = name.to_ascii_lowercase().replace("__", ".");
    let (section, key) = name.split_once('.').unwrap_or(("", &name));
    let elsewhere: Vec<_> =
        schema().iter().filter(|setting| setting.section_and_name().1 == key).map(&spell).collect();
    if !elsewhere.is_empty() {
        return did_you_mean(&elsewhere);
    }
    let likeness = |setting: &Setting| {
        let whole = strsim::jaro_winkler(&flat(&name), &flat(setting.path));
        let (its_section, its_key) = setting.section_and_name();
        if its_section == section || section.is_empty() {
            whole.max(strsim::jaro_winkler(key, its_key))
        } else {
            whole
        }
    };
    let best = schema().iter().max_by(|left, right| likeness(left).total_cmp(&likeness(right)));
    if let Some(best) = best.filter(|best| likeness(best) >= ALIKE) {
        return did_you_mean(&[spell(best)]);
    }
    let same_section = schema().iter().filter(|setting| setting.section_and_name().0 == section);
    let names: Vec<_> = same_section.map(&spell).collect();
    if names.is_empty() { sections_there_are() } else { format!("there are {}", names.join(", ")) }
}

/// For the name of a section.
pub(super) fn suggest_section(name: &str) -> String {
    let best = sections()
        .into_iter()
        .map(|section| (strsim::jaro_winkler(name, section), section))
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match best {
        Some((likeness, section)) if likeness >= ALIKE => did_you_mean(&[format!("[{section}]")]),
        _ => sections_there_are(),
    }
}

fn did_you_mean(names: &[String]) -> String {
    format!("did you mean {}?", names.join(" or "))
}

fn sections_there_are() -> String {
    format!("the sections are {}", sections().join(", "))
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = schema().iter().map(|setting| setting.section_and_name().0).collect();
    sections.dedup();
    sections
}

/// One underscore or two, or a dot: which it was is the usual slip.
fn flat(name: &str) -> String {
    name.replace('.', "_")
}
