//! What was measured, and whether it holds the bar. No IO.

use super::scenario::{Scenario, System};
use crate::load::median;

/// One scenario's outcome.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) scenario: &'static Scenario,
    pub(crate) ours: Side,
    pub(crate) theirs: Side,
}

#[derive(Debug)]
pub(crate) enum Side {
    Measured(Measured),
    /// Why it was not.
    Missing(String),
}

#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) system: System,
    pub(crate) rounds: Vec<Round>,
    /// Of all processes, per request.
    pub(crate) syscalls: Option<f64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// In the scenario's unit.
    pub(crate) figure: f64,
    pub(crate) rate_per_s: f64,
    /// CPU time of the load generator per request.
    pub(crate) generator_us: f64,
}

impl Side {
    pub(crate) fn measured(&self) -> Option<&Measured> {
        match self {
            Self::Measured(measured) => Some(measured),
            Self::Missing(_) => None,
        }
    }

    /// The median of its rounds.
    pub(crate) fn figure(&self) -> Option<f64> {
        let rounds = &self.measured()?.rounds;
        (!rounds.is_empty()).then(|| median(rounds.iter().map(|round| round.figure).collect()))
    }
}

impl Comparison {
    /// Ours, as a multiple of theirs.
    pub(crate) fn ratio(&self) -> Option<f64> {
        Some(self.ours.figure()? / self.theirs.figure()?)
    }

    /// The most that holds the bar.
    pub(crate) fn most(&self) -> Option<f64> {
        self.scenario.bar.most(self.theirs.figure())
    }

    /// Whether ours holds the bar; `None` where that is not known.
    pub(crate) fn holds(&self) -> Option<bool> {
        Some(self.ours.figure()? <= self.most()?)
    }
}

/// Outcomes as tests make them.
#[cfg(test)]
pub(crate) mod tests {
    use super::super::scenario::SCENARIOS;
    use super::*;

    /// The outcome of a scenario with so much in each round.
    pub(crate) fn outcome(name: &str, ours: &[f64], theirs: &[f64]) -> Comparison {
        let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).unwrap();
        let side = |system, figures: &[f64]| {
            if figures.is_empty() {
                return Side::Missing("it | does not start".to_owned());
            }
            let round = |figure: &f64| Round { figure: *figure, rate_per_s: 50_000.0, generator_us: 5.0 };
            Side::Measured(Measured {
                system,
                rounds: figures.iter().map(round).collect(),
                syscalls: Some(2.25),
            })
        };
        Comparison { scenario, ours: side(scenario.ours, ours), theirs: side(scenario.theirs, theirs) }
    }

    #[test]
    fn the_median_decides_whether_a_bar_is_held() {
        let held = outcome("single-plain", &[30.0, 8.0, 8.8], &[8.0, 7.0, 90.0]);
        assert_eq!(
            (held.ours.figure(), held.theirs.figure(), held.holds()),
            (Some(8.8), Some(8.0), Some(true))
        );
        assert!((held.ratio().unwrap() - 1.1).abs() < 1e-9);
        assert_eq!(outcome("single-plain", &[8.9], &[8.0]).holds(), Some(false));
        assert_eq!(outcome("single-pipeline", &[1.4], &[0.2]).holds(), Some(true), "an absolute bar");
        assert_eq!(outcome("single-pipeline", &[1.4], &[]).holds(), Some(true));
    }

    #[test]
    fn what_was_not_measured_holds_nothing_and_breaks_nothing() {
        for missing in [outcome("single-plain", &[], &[8.0]), outcome("single-plain", &[8.0], &[])] {
            assert_eq!((missing.holds(), missing.ratio()), (None, None));
        }
    }
}
