//! Axes: where a number lies between 0 and 1, and which numbers are written beside it.

/// One axis of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Axis {
    Linear {
        high: f64,
        step: f64,
    },
    Log {
        low: f64,
        high: f64,
    },
    /// Percentiles, each nine as wide as the one before it, up to `nines` of them.
    Percentile {
        nines: f64,
    },
}

impl Axis {
    /// From 0 to a round number at or above `max`.
    pub(crate) fn linear(max: f64) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let power = 10_f64.powf((max / 4.0).log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .map(|part| part * power)
            .into_iter()
            .find(|step| step * 4.0 >= max * 0.999);
        let step = step.unwrap_or(10.0 * power);
        Self::Linear { high: (max / step - 1e-9).ceil() * step, step }
    }

    /// From and to the next of 1, 2, 5, 10, … round `min` and `max`, a decade at least. Where `min` is over `max`, as
    /// the least and most of nothing are, it is the first decade.
    pub(crate) fn log(min: f64, max: f64) -> Self {
        let low = if min <= max { round_below(min.max(1.0)) } else { 1.0 };
        let high = low * 10.0;
        let mut axis = (low, high);
        while axis.1 < max {
            axis.1 = next_round(axis.1);
        }
        Self::Log { low: axis.0, high: axis.1 }
    }

    /// As many nines as so many requests can show.
    pub(crate) fn percentile(requests: u64) -> Self {
        Self::Percentile { nines: (requests.max(10) as f64).log10().ceil().min(7.0) }
    }

    /// 0 at the axis' start, 1 at its end; beyond them the nearer.
    pub(crate) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear { high, .. } => value / high,
            Self::Log { low, high } => (value.max(low) / low).ln() / (high / low).ln(),
            Self::Percentile { nines } => (100.0 / (100.0 - value).max(1e-9)).log10() / nines,
        };
        place.clamp(0.0, 1.0)
    }

    /// The values to mark, in order.
    pub(crate) fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear { high, step } => {
                (0..=(high / step).round() as u32).map(|at| f64::from(at) * step).collect()
            }
            Self::Log { low, high } => {
                let all = std::iter::successors(Some(low), |tick| Some(next_round(*tick)));
                let all: Vec<f64> = all.take_while(|tick| *tick <= high * 1.001).collect();
                if all.len() <= 8 {
                    all
                } else {
                    all.into_iter().filter(|tick| is_power_of_ten(*tick)).collect()
                }
            }
            Self::Percentile { nines } => {
                let nines = (1..=nines as i32).map(|nine| 100.0 - 10_f64.powi(2 - nine));
                [0.0, 50.0].into_iter().chain(nines).collect()
            }
        }
    }
}

fn is_power_of_ten(value: f64) -> bool {
    (value.log10() - value.log10().round()).abs() < 1e-6
}

fn round_below(value: f64) -> f64 {
    let power = 10_f64.powf((value.log10() + 1e-9).floor());
    [5.0, 2.0, 1.0]
        .map(|part| part * power)
        .into_iter()
        .find(|round| *round <= value * 1.000_001)
        .unwrap_or(power)
}

/// The next of 1, 2, 5, 10, …
fn next_round(value: f64) -> f64 {
    let power = 10_f64.powf((value.log10() + 1e-9).floor());
    match (value / power).round() as u32 {
        1 => 2.0 * power,
        2 => 5.0 * power,
        _ => 10.0 * power,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ticks: &[f64], expected: &[f64]) -> bool {
        ticks.len() == expected.len()
            && ticks.iter().zip(expected).all(|(a, b)| (a - b).abs() <= b.abs() * 1e-6)
    }

    #[test]
    fn linear_axes_end_at_a_round_number() {
        assert!(close(&Axis::linear(0.0).ticks(), &[0.0, 0.25, 0.5, 0.75, 1.0]));
        assert!(close(&Axis::linear(9_400.0).ticks(), &[0.0, 2500.0, 5000.0, 7500.0, 10_000.0]));
        assert!((Axis::linear(40_000.0).place(40_000.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn log_axes_mark_ones_twos_and_fives_or_decades() {
        assert!(close(&Axis::log(73.0, 410.0).ticks(), &[50.0, 100.0, 200.0, 500.0]));
        assert!(close(&Axis::log(12.0, 90_000.0).ticks(), &[10.0, 100.0, 1e3, 1e4, 1e5]));
        assert!((Axis::log(10.0, 1000.0).place(100.0) - 0.5).abs() < 1e-6);
        assert!(close(&Axis::log(f64::MAX, 0.0).ticks(), &[1.0, 2.0, 5.0, 10.0]), "of no values");
        assert!(close(&Axis::log(0.0, 0.0).ticks(), &[1.0, 2.0, 5.0, 10.0]));
    }

    #[test]
    fn each_nine_is_as_wide_as_the_last() {
        let axis = Axis::percentile(10_000);
        assert!(close(&axis.ticks(), &[0.0, 50.0, 90.0, 99.0, 99.9, 99.99]));
        for (percentile, place) in [(0.0, 0.0), (90.0, 0.25), (99.0, 0.5), (99.99, 1.0), (100.0, 1.0)] {
            assert!((axis.place(percentile) - place).abs() < 1e-6, "{percentile}");
        }
    }
}
