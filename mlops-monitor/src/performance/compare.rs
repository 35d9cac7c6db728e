//! Is a metric different from what it was, beyond chance and by enough to matter?
//!
//! Invariant: a verdict of change needs an effect, significance after correction for all metrics
//! of the report, and enough rows. Which change is for the worse is the metric's to say.

use mlops_metrics::{Estimate, Evidence, Interval, Measure, special::normal_quantile};
use serde::{Deserialize, Serialize};

use super::settings::PerformanceSettings;
use crate::stats::{POWER, Tail, chi_squared_tail, fisher, student_tail, two_proportions};

/// Expected count below which proportions are compared by Fisher's exact test (Cochran's rule).
const EXPECTED_MIN: f64 = 5.0;

/// The verdict on a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
#[non_exhaustive]
pub enum PerformanceVerdict {
    /// No change that matters was found.
    Ok,
    /// Worse than the reference.
    Degraded,
    /// Better than the reference.
    Improved,
    /// Too few rows on one side.
    Insufficient {
        /// Rows on the smaller side.
        n: u64,
        /// Rows that are needed.
        min_n: u64,
    },
    /// There is nothing to compare with, or no test for this metric.
    NoReference,
    /// The metric does not exist for these rows, as an area under the curve with one class.
    Undefined,
}

/// A change from the reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    pub(crate) difference: f64,
    pub(crate) interval: Option<Interval>,
    pub(crate) tail: Option<Tail>,
    /// The smallest change that would have been found with a power of 80 %.
    pub(crate) mde: Option<f64>,
}

impl Change {
    pub(crate) fn between(current: &Estimate, reference: &Estimate) -> Self {
        let interval = current.difference(reference);
        let mde = interval.map(|interval| {
            let z = normal_quantile(0.5 + 0.5 * interval.level);
            (interval.high - interval.low) / 2.0 * (z + normal_quantile(POWER)) / z
        });
        Self { difference: current.value - reference.value, interval, tail: tail(current, reference), mde }
    }

    /// The verdict, given the tail after correction.
    pub(crate) fn judge(
        &self,
        measure: Measure,
        (current, reference): (&Estimate, &Estimate),
        corrected: Option<Tail>,
        settings: &PerformanceSettings,
    ) -> PerformanceVerdict {
        let n = current.n.min(reference.n);
        if n < settings.n_min {
            return PerformanceVerdict::Insufficient { n, min_n: settings.n_min };
        }
        let Some(tail) = corrected else { return PerformanceVerdict::NoReference };
        let matters = self.difference.abs() >= settings.change_min * reference.value.abs() && self.difference != 0.0;
        if !matters || tail.ln() > settings.fdr.ln() {
            return PerformanceVerdict::Ok;
        }
        if measure.loss(current.value) > measure.loss(reference.value) {
            PerformanceVerdict::Degraded
        } else {
            PerformanceVerdict::Improved
        }
    }
}

/// Two-sided tail of the difference of two independent estimates of one metric; `None` where there
/// is no test.
pub(crate) fn tail(current: &Estimate, reference: &Estimate) -> Option<Tail> {
    match (current.evidence, reference.evidence) {
        (Evidence::Proportion { successes: b, trials: m }, Evidence::Proportion { successes: a, trials: n }) => {
            proportions((a, n), (b, m))
        }
        (Evidence::Mean { n: m, mean: b, variance: of_b }, Evidence::Mean { n, mean: a, variance: of_a }) => {
            Some(welch((n, a, of_a), (m, b, of_b)))
        }
        (
            Evidence::Normal { center: b, standard_error: of_b },
            Evidence::Normal { center: a, standard_error: of_a },
        ) => Some(normal(b - a, f64::hypot(of_a, of_b))),
        _ => None,
    }
}

fn proportions((a, n): (u64, u64), (b, m): (u64, u64)) -> Option<Tail> {
    use crate::stats::float;
    let (with, all) = (float(a) + float(b), float(n) + float(m));
    let expected = with.min(all - with) * float(n.min(m)) / all;
    if expected < EXPECTED_MIN {
        return Some(fisher((a, n.checked_sub(a)?), (b, m.checked_sub(b)?)));
    }
    two_proportions((a, n), (b, m)).map(|(_, tail)| tail)
}

/// Welch's test from moments.
fn welch((n, a, of_a): (u64, f64, f64), (m, b, of_b): (u64, f64, f64)) -> Tail {
    use crate::stats::float;
    let (n, m) = (float(n), float(m));
    let (x, y) = (of_a / n, of_b / m);
    if x + y <= 0.0 {
        return certain(a - b);
    }
    let df = (x + y).powi(2) / (x * x / (n - 1.0) + y * y / (m - 1.0));
    student_tail((b - a) / (x + y).sqrt(), df)
}

fn normal(difference: f64, standard_error: f64) -> Tail {
    if standard_error <= 0.0 {
        return certain(difference);
    }
    chi_squared_tail((difference / standard_error).powi(2), 1)
}

/// Without spread a difference is certain.
fn certain(difference: f64) -> Tail {
    if difference == 0.0 { Tail::ONE } else { Tail::from_ln(f64::NEG_INFINITY) }
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;
    use mlops_metrics::{EstimateOptions, ScoredRows};

    use super::*;

    fn estimate(measure: &str, seed: u64, rows: usize) -> Estimate {
        let data = SplitMix64::new(seed);
        let labels: Vec<f64> = (0..rows as u64).map(|row| f64::from(u8::from(data.uniform(2 * row) < 0.4))).collect();
        let noise = labels.iter().enumerate().map(|(row, y)| 0.3 * y + 0.7 * data.uniform(2 * row as u64 + 1));
        let scores: Vec<f64> = noise.collect();
        let rows = ScoredRows::Binary { labels: &labels, scores: &scores, threshold: 0.5 };
        measure.parse::<Measure>().unwrap().estimate(&rows, &EstimateOptions::default()).unwrap()
    }

    #[test]
    fn equal_performance_is_rejected_as_often_as_said() {
        for measure in ["accuracy", "f1", "mcc", "roc_auc", "log_loss", "balanced_accuracy"] {
            let rejected = (0..400_u64).filter(|seed| {
                let pair = (estimate(measure, 2 * seed + 1, 200), estimate(measure, 2 * seed + 2, 400));
                tail(&pair.0, &pair.1).unwrap().p() < 0.05
            });
            let share = rejected.count() as f64 / 400.0;
            // Three standard errors of a share of 0.05 in 400 are 0.033.
            assert!((0.017..=0.083).contains(&share), "{measure}: {share}");
        }
    }

    #[test]
    fn means_match_welch_of_scipy() {
        // scipy.stats.ttest_ind_from_stats(1.2, 2 ** .5, 50, 0.9, 3 ** .5, 80, equal_var=False)
        let mean = |n, mean, variance| Estimate {
            value: mean,
            n,
            interval: None,
            evidence: Evidence::Mean { n, mean, variance },
        };
        let p = tail(&mean(50, 1.2, 2.0), &mean(80, 0.9, 3.0)).unwrap().p();
        assert!((p - 0.283_376_949).abs() < 1e-6, "{p}");
        assert_eq!(tail(&mean(50, 1.0, 0.0), &mean(80, 1.0, 0.0)), Some(Tail::ONE));
        assert_eq!(tail(&mean(50, 1.0, 0.0), &mean(80, 2.0, 0.0)).map(Tail::p), Some(0.0));
    }
}
