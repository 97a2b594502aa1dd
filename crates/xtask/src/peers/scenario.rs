//! What is compared with what, under which load, and which bar is to be held. No IO: definitions and arithmetic.

use std::fmt;

/// The load that all scenarios share.
const KEYS: u32 = 100_000;
const CONNECTIONS: u32 = 32;
const VALUE_BYTES: u32 = 100;
/// One write to ten reads.
const READ_RATIO: f64 = 10.0 / 11.0;
/// Entries of the scenario that weighs them.
pub(crate) const WEIGHED_ENTRIES: u32 = 1_000_000;
/// A key of the weighed entries has 16 bytes, a value 100.
pub(crate) const WEIGHED_BYTES: f64 = 116.0;

/// A set of server processes that does one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum System {
    /// One auxiliary, over its memcached port.
    Auxiliary,
    /// A master and three auxiliaries, with so many copies of a key, over the master's memcached port.
    Router { replicas: u32 },
    /// The same with one copy, over the master's REST interface.
    Rest,
    /// `memcached -t 2`.
    Memcached,
    /// nutcracker and three memcached.
    Nutcracker,
    /// webdis and a Redis.
    Webdis,
    /// A bare axum handler that answers the bytes that a master would.
    BareAxum,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// User and system time of all server processes, divided by the requests.
    CpuMicros,
    /// System calls of the process that clients talk to, divided by the requests.
    FrontSyscalls,
    /// Growth of resident memory an entry, over key and value.
    EntryBytes,
}

/// What has to be held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bar {
    /// At most so many times what the other has in the same run.
    Times(f64),
    /// At most so much, because of `whose` figure.
    Most { most: f64, whose: &'static str },
}

/// One row of the comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scenario {
    /// To pick it by; what stands before the first `-` picks its whole group.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    pub(crate) ours: System,
    pub(crate) theirs: System,
    pub(crate) figure: Figure,
    pub(crate) bar: Bar,
    load: Load,
}

#[derive(Clone, Copy, Debug)]
struct Load {
    pipeline: u32,
    multiget: u32,
    read_ratio: f64,
    /// Requests, relative to what was asked for: cheap ones have to be many to be measured.
    share: f64,
}

const PLAIN: Load = Load { pipeline: 1, multiget: 1, read_ratio: READ_RATIO, share: 1.0 };
const PIPELINE: Load = Load { pipeline: 16, share: 8.0, ..PLAIN };
const MULTIGET: Load = Load { multiget: 100, read_ratio: 1.0, share: 0.05, ..PLAIN };
const REST: Load = Load { read_ratio: 1.0, share: 0.5, ..PLAIN };

const ROUTER: System = System::Router { replicas: 1 };

/// All rows, in the order in which they are measured.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "single-plain",
        title: "one node, no pipelining: CPU per request",
        ours: System::Auxiliary,
        theirs: System::Memcached,
        figure: Figure::CpuMicros,
        bar: Bar::Times(1.1),
        load: PLAIN,
    },
    Scenario {
        name: "single-pipeline",
        title: "one node, pipeline 16: CPU per request",
        ours: System::Auxiliary,
        theirs: System::Memcached,
        figure: Figure::CpuMicros,
        bar: Bar::Most { most: 1.5, whose: "memcached 1.6.45 has 0.85 to 1.03" },
        load: PIPELINE,
    },
    Scenario {
        name: "router-plain",
        title: "router and three nodes, no pipelining: CPU per request",
        ours: ROUTER,
        theirs: System::Nutcracker,
        figure: Figure::CpuMicros,
        bar: Bar::Times(0.85),
        load: PLAIN,
    },
    Scenario {
        name: "router-pipeline",
        title: "router and three nodes, pipeline 16: CPU per request",
        ours: ROUTER,
        theirs: System::Nutcracker,
        figure: Figure::CpuMicros,
        bar: Bar::Most { most: 2.9, whose: "nutcracker with memcached 1.6.45" },
        load: PIPELINE,
    },
    Scenario {
        name: "router-copies",
        title: "router and three nodes, two copies and quorum reads against none, no pipelining: CPU per request",
        ours: System::Router { replicas: 2 },
        theirs: System::Nutcracker,
        figure: Figure::CpuMicros,
        bar: Bar::Times(1.3),
        load: PLAIN,
    },
    Scenario {
        name: "router-multiget",
        title: "router and three nodes, gets of 100 keys: CPU per request",
        ours: ROUTER,
        theirs: System::Nutcracker,
        figure: Figure::CpuMicros,
        bar: Bar::Times(1.0),
        load: MULTIGET,
    },
    Scenario {
        name: "router-syscalls",
        title: "router, no pipelining: its system calls per request",
        ours: ROUTER,
        theirs: System::Nutcracker,
        figure: Figure::FrontSyscalls,
        bar: Bar::Most { most: 2.5, whose: "" },
        load: PLAIN,
    },
    Scenario {
        name: "rest-bare",
        title: "REST GET through a master against a bare axum handler: CPU per request",
        ours: System::Rest,
        theirs: System::BareAxum,
        figure: Figure::CpuMicros,
        bar: Bar::Times(2.5),
        load: REST,
    },
    Scenario {
        name: "rest-webdis",
        title: "REST GET through a master against webdis: CPU per request",
        ours: System::Rest,
        theirs: System::Webdis,
        figure: Figure::CpuMicros,
        bar: Bar::Times(1.2),
        load: REST,
    },
    Scenario {
        name: "memory",
        title: "resident memory of an entry with a TTL, over key and value",
        ours: System::Auxiliary,
        theirs: System::Memcached,
        figure: Figure::EntryBytes,
        bar: Bar::Most { most: 86.0, whose: "memcached's own" },
        load: PLAIN,
    },
];

/// The scenarios that `picks` name, by name or by group; all where there are none.
///
/// # Errors
/// The first pick that names none, with those there are.
pub(crate) fn pick(picks: &[String]) -> Result<Vec<&'static Scenario>, String> {
    let names = |scenario: &Scenario, pick: &str| {
        let group = scenario.name.split_once('-').map(|(group, _)| group);
        scenario.name == pick || group == Some(pick)
    };
    if let Some(pick) = picks.iter().find(|pick| !SCENARIOS.iter().any(|scenario| names(scenario, pick))) {
        let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(format!("no scenario {pick:?}: there are {}, and their first words", known.join(", ")));
    }
    let is_picked = |scenario: &&Scenario| picks.is_empty() || picks.iter().any(|pick| names(scenario, pick));
    Ok(SCENARIOS.iter().filter(is_picked).collect())
}

impl Scenario {
    /// Requests of one round, where `base` were asked for.
    pub(crate) fn requests(&self, base: u64) -> u64 {
        ((base as f64 * self.load.share) as u64).max(1)
    }

    /// The load generator's options for `requests` requests against `system`.
    pub(crate) fn options(&self, system: System, requests: u64) -> String {
        let Load { pipeline, multiget, read_ratio, .. } = self.load;
        let how = match system.interface() {
            Some(interface) => format!("--interface {interface}"),
            None => format!("--pipeline {pipeline} --multiget {multiget}"),
        };
        format!(
            "--keys {KEYS} --value-size {VALUE_BYTES} --distribution uniform --connections {CONNECTIONS} \
             --read-ratio {read_ratio:.6} --warm-up 0s --requests {requests} {how}"
        )
    }

    /// What stores all keys once before the load, if `system` stores any.
    pub(crate) fn preload(&self, system: System) -> Option<String> {
        let how = match system {
            System::BareAxum => return None,
            _ => system
                .interface()
                .map_or_else(|| "--pipeline 16".to_owned(), |interface| format!("--interface {interface}")),
        };
        let (keys, ttl) = match self.figure {
            Figure::EntryBytes => (WEIGHED_ENTRIES, "--ttl 1h"),
            Figure::CpuMicros | Figure::FrontSyscalls => (KEYS, ""),
        };
        Some(format!(
            "--keys {keys} --value-size {VALUE_BYTES} --connections {CONNECTIONS} --preload --read-ratio 1 \
             --requests 1 --warm-up 0s {ttl} {how}"
        ))
    }
}

impl System {
    /// The HTTP interface to load; `None` over memcached's protocol.
    pub(crate) fn interface(self) -> Option<&'static str> {
        match self {
            Self::Rest | Self::BareAxum => Some("json"),
            Self::Webdis => Some("webdis"),
            Self::Auxiliary | Self::Router { .. } | Self::Memcached | Self::Nutcracker => None,
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auxiliary => f.write_str("auxiliary"),
            Self::Router { replicas: 1 } => f.write_str("master and 3 auxiliaries"),
            Self::Router { replicas } => write!(f, "master and 3 auxiliaries, {replicas} copies"),
            Self::Rest => f.write_str("master and 3 auxiliaries, REST"),
            Self::Memcached => f.write_str("memcached -t 2"),
            Self::Nutcracker => f.write_str("nutcracker and 3 memcached"),
            Self::Webdis => f.write_str("webdis and Redis"),
            Self::BareAxum => f.write_str("bare axum handler"),
        }
    }
}

impl Figure {
    /// A figure with its unit.
    pub(crate) fn text(self, figure: f64) -> String {
        let digits = if figure < 10.0 { 2 } else { usize::from(figure < 100.0) };
        match self {
            Self::CpuMicros => format!("{figure:.digits$} µs"),
            Self::FrontSyscalls => format!("{figure:.2}"),
            Self::EntryBytes => format!("{figure:.0} bytes"),
        }
    }
}

impl Bar {
    /// The most that holds it, where the other has `theirs`; `None` where it depends on that and there is none.
    pub(crate) fn most(self, theirs: Option<f64>) -> Option<f64> {
        match self {
            Self::Times(times) => theirs.map(|theirs| theirs * times),
            Self::Most { most, .. } => Some(most),
        }
    }

    /// What it says.
    pub(crate) fn text(self, figure: Figure) -> String {
        match self {
            Self::Times(times) => format!("≤ {times:.2} ×"),
            Self::Most { most, whose: "" } => format!("≤ {}", figure.text(most)),
            Self::Most { most, whose } => format!("≤ {} ({whose})", figure.text(most)),
        }
    }
}

#[cfg(test)]
mod tests {
    use annulus_bench::Args;
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        args: Args,
    }

    fn picked(picks: &[&str]) -> Result<Vec<&'static str>, String> {
        let picks: Vec<_> = picks.iter().map(|pick| (*pick).to_owned()).collect();
        Ok(pick(&picks)?.iter().map(|scenario| scenario.name).collect())
    }

    #[test]
    fn scenarios_are_picked_by_name_or_by_group() {
        assert_eq!(picked(&[]).unwrap().len(), SCENARIOS.len());
        assert_eq!(picked(&["single"]).unwrap(), ["single-plain", "single-pipeline"]);
        assert_eq!(picked(&["rest-bare", "memory"]).unwrap(), ["rest-bare", "memory"]);
        let error = picked(&["single", "rou"]).unwrap_err();
        assert!(error.contains("\"rou\"") && error.contains("router-plain"), "{error}");
    }

    #[test]
    fn names_are_unique_and_ours_is_compared_with_theirs() {
        for (at, scenario) in SCENARIOS.iter().enumerate() {
            assert!(SCENARIOS[..at].iter().all(|other| other.name != scenario.name), "{}", scenario.name);
            let is_ours = |system| matches!(system, System::Auxiliary | System::Router { .. } | System::Rest);
            assert!(is_ours(scenario.ours) && !is_ours(scenario.theirs), "{}", scenario.name);
        }
    }

    #[test]
    fn both_sides_get_the_load_of_the_scenario_as_the_generator_takes_it() {
        for scenario in SCENARIOS {
            for system in [scenario.ours, scenario.theirs] {
                let scheme = if system.interface().is_some() { "http" } else { "memcached" };
                let parse = |options: &str| {
                    let words = format!("load --url {scheme}://127.0.0.1:1 {options}");
                    Options::try_parse_from(words.split_whitespace()).unwrap().args
                };
                let args = parse(&scenario.options(system, 1000));
                assert_eq!(
                    (args.keys, args.effective_connections(), args.requests),
                    (100_000, 32, Some(1000))
                );
                let Load { pipeline, multiget, read_ratio, .. } = scenario.load;
                assert_eq!((args.pipeline, args.multiget), (pipeline, multiget), "{}", scenario.name);
                assert!((args.read_ratio - read_ratio).abs() < 1e-6);
                if let Some(preload) = scenario.preload(system) {
                    let args = parse(&preload);
                    assert!(args.preload && args.keys >= 100_000);
                    assert_eq!(args.ttl.is_some(), scenario.figure == Figure::EntryBytes);
                }
            }
        }
    }

    #[test]
    fn a_bar_is_relative_or_absolute() {
        assert_eq!(Bar::Times(0.5).most(Some(8.0)), Some(4.0));
        assert_eq!(Bar::Times(0.5).most(None), None);
        let bar = Bar::Most { most: 2.9, whose: "nutcracker" };
        assert_eq!((bar.most(Some(8.0)), bar.most(None)), (Some(2.9), Some(2.9)));
        assert_eq!(bar.text(Figure::CpuMicros), "≤ 2.90 µs (nutcracker)");
        assert_eq!(Bar::Most { most: 86.0, whose: "" }.text(Figure::EntryBytes), "≤ 86 bytes");
        assert_eq!(Bar::Times(0.85).text(Figure::CpuMicros), "≤ 0.85 ×");
        assert_eq!([1.5, 17.5, 350.0].map(|us| Figure::CpuMicros.text(us)), ["1.50 µs", "17.5 µs", "350 µs"]);
    }
}
